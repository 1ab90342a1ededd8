"""Which generative model is right for whom: all families on the same pairs, by quality, calibration and cost."""

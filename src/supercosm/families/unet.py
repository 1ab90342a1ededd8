"""Regression: minimising D(OUTPUT, TARGET) teaches the mean (mse) or the median (l1) of what may be."""

from __future__ import annotations

from supercosm.families.base import Family
from supercosm.family_settings import Unet


class UnetFamily(Family):
    """One network, one loss."""

    settings: Unet

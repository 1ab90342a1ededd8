"""The one-cycle schedule: a rise, a peak, a fall to nothing."""

import pytest

from supercosm.schedule import one_cycle


@pytest.mark.parametrize("rise", [0.1, 0.2])
def test_one_cycle_rises_to_its_peak_and_falls_to_nothing(rise):
    assert one_cycle(0.0, rise) == pytest.approx(0.1)
    assert one_cycle(rise, rise) == 1.0
    assert one_cycle((1 + rise) / 2, rise) == pytest.approx(0.5)
    assert one_cycle(1.0, rise) == one_cycle(1.1, rise) == pytest.approx(0.0)

"""Fields with their power spectrum or their phases taken away, to see which of the two tells classes apart.

Convention: x_k = (1/N) Σ_x x exp(−2πi n·x / p) over the N = p^d cells of a periodic example, so that Σ_k |x_k|² = ⟨x²⟩.
Ring r holds all modes whose |n|, in units of the fundamental one, rounds to r; ring 0 is the mean alone. The rings go
on beyond the Nyquist frequency, p/2, into the corners of the lattice: every mode belongs to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from supercosm.errors import DataError
from supercosm.statistics.shells import frequencies

PHASES = 11  # the draw of phases: apart from every other use of a seed
ROUNDING = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Rings:
    """Half the Fourier lattice of a real field, cut into rings.

    number: ring of each mode, int (p, …, p/2 + 1). multiplicity: how many modes of the whole lattice each index along
    the last axis stands for, (p/2 + 1,). modes: number of modes in each ring, of the whole lattice, (rings,).
    """

    number: np.ndarray
    multiplicity: np.ndarray
    modes: np.ndarray


@lru_cache(maxsize=8)
def rings(side: int, dimensions: int) -> Rings:
    """Cut the lattice of fields of `side` cells along each of 2 or 3 axes into rings."""
    last = np.arange(side // 2 + 1)
    axes = [frequencies(side)] * (dimensions - 1) + [last]
    squares = sum(n**2 for n in np.meshgrid(*axes, indexing="ij", sparse=True))
    number = np.round(np.sqrt(squares)).astype(np.int64)
    multiplicity = np.where((last == 0) | (2 * last == side), 1.0, 2.0)
    return Rings(number, multiplicity, _sum(number, np.broadcast_to(multiplicity, number.shape)))


def ring_powers(x: np.ndarray) -> np.ndarray:
    """Return the mean |x_k|² in each ring of each example, in the square of the field's unit, (n, rings) float64.

    x: periodic fields (n, p, p) or (n, p, p, p). Index r is the wave number 2π r / L; index 0 the square of the mean.
    """
    x = checked(x)
    lattice = rings(x.shape[-1], x.ndim - 1)
    return np.stack([_powers(_transform(one), lattice) for one in x])


def ring_power(x: np.ndarray) -> np.ndarray:
    """Return the mean |x_k|² over the modes of each ring and over n examples, (rings,) float64.

    x: periodic fields (n, p, p) or (n, p, p, p). Index r holds |n| from r − 1/2 to r + 1/2, index 0 the mean square of
    the examples' means; times the volume of an example, L^d, it is P(k) in (Mpc/h)^d.
    """
    return ring_powers(x).mean(axis=0)


def randomised(x: np.ndarray, seed: int) -> np.ndarray:
    """Replace the phases of fields by those of white Gaussian noise, and keep every |x_k| and the mean.

    x: (n, p, p) or (n, p, p, p); float32 of the same shape is returned. What is left of a field is its P(k). The noise
    is a function of the seed and of the number of the example among the n. Phases at random know no border: what
    comes out is periodic, with the power of the jump between opposite faces where x was not.
    """
    return np.stack([_randomise(one, seed, number) for number, one in enumerate(checked(x))])


def matched(x: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Rescale the modes of each field, ring by ring, to the given mean |x_k|², and keep all phases.

    x: (n, p, p) or (n, p, p, p); float32 of the same shape is returned. power: (rings,), `ring_power` of training
    fields of all classes. What is left lies beyond P(k). The mean, too, is taken away: it becomes 0 and power[0] is
    not used, for the root of a power has no sign. It is the P(k) of the periodic field that is made equal: through
    the window of a field that is not periodic, classes may still differ. Raises DataError when there is nothing to
    rescale: a constant example, or an empty ring.
    """
    x, power = checked(x), np.asarray(power, float)
    lattice = rings(x.shape[-1], x.ndim - 1)
    if power.shape != lattice.modes.shape or not np.isfinite(power).all() or (power < 0).any():
        raise DataError(
            f"fields of shape {x.shape[1:]} have {len(lattice.modes)} rings, each of a finite power ≥ 0, but the "
            f"power to match has shape {power.shape}; take it from ring_power of fields of the same size"
        )
    return np.stack([_match(one, power, lattice, number) for number, one in enumerate(x)])


def checked(x: np.ndarray) -> np.ndarray:
    """Return fields (n, p, p) or (n, p, p, p) as they are; raise DataError when they are not such fields."""
    x = np.asarray(x)
    if x.ndim not in (3, 4) or len(set(x.shape[1:])) != 1 or not x.size:
        raise DataError(
            f"fields of shape {x.shape} are no examples; give (n, p, p) or (n, p, p, p), n and p at least 1"
        )
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        raise DataError(f"example {np.argmin(finite)} holds NaN or infinite values; make it again or leave it out")
    return x


def _transform(field: np.ndarray) -> np.ndarray:
    return np.fft.rfftn(field.astype(np.float64), norm="forward")


def _invert(modes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.fft.irfftn(modes, s=shape, axes=range(len(shape)), norm="forward").astype(np.float32)


def _sum(number: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.bincount(number.ravel(), weights=values.ravel())


def _powers(modes: np.ndarray, lattice: Rings) -> np.ndarray:
    squares = (modes.real**2 + modes.imag**2) * lattice.multiplicity
    return _sum(lattice.number, squares) / lattice.modes


def _randomise(field: np.ndarray, seed: int, number: int) -> np.ndarray:
    modes = _transform(field)
    # noise is real, so its phases have the symmetry of a real field, on the Nyquist planes as well
    noise = np.fft.rfftn(np.random.default_rng([seed, PHASES, number]).standard_normal(field.shape))
    altered = np.abs(modes) * noise / np.abs(noise)
    altered.flat[0] = modes.flat[0]
    return _invert(altered, field.shape)


def _match(field: np.ndarray, power: np.ndarray, lattice: Rings, number: int) -> np.ndarray:
    modes = _transform(field)
    own = _powers(modes, lattice)
    # below the power that rounding to float32 has, phases are those of the rounding
    rounding = ROUNDING**2 * np.mean(field.astype(np.float64) ** 2) / field.size
    empty = own <= rounding
    if empty[1:].all():
        raise DataError(f"example {number} is constant and has no power to rescale; leave it out")
    missing = empty & (power > rounding)
    if missing[1:].any():
        ring = 1 + np.argmax(missing[1:])
        raise DataError(
            f"example {number} has no power in ring {ring}, where {power[ring]:.3g} is to be matched; leave it out"
        )
    factor = np.sqrt(np.divide(power, own, out=np.zeros_like(own), where=~empty))
    factor[0] = 0
    return _invert(modes * factor[lattice.number], field.shape)

"""Lossless coding of integers that are mostly near zero: one distribution for every channel, and a range coder.

An integer, less the median of its channel, becomes a bucket (exact up to ±8, then four buckets an octave) and the
place within the bucket. Places are stored as they are; buckets go to a range coder, under a distribution that is one
of a family (bits for zero and for the scale and shape of the tails) or, where that is shorter, a histogram.

The probabilities are integers that add up to 2²⁴, made in integer and decimal arithmetic, which is exactly specified:
no machine decodes with other ones than it was encoded with. Floating point only chooses among them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache

import constriction
import numpy as np

from supercosm.errors import DataError

LOW = np.array([*range(8), *((4 + part) << octave for octave in range(1, 31) for part in range(4))], np.int64)
BITS = np.array([0] * 8 + [octave for octave in range(1, 31) for _ in range(4)])  # of the place within a bucket
SIDE = len(LOW) - 1  # buckets of either sign
BUCKETS = 2 * SIDE + 1
TOTAL = (1 << 24) - BUCKETS  # the range coder works with 24 bits and gives every bucket one of them beforehand

SHAPES = ("1/2", "1", "3/2", "2")  # β of the tails exp(−(|x|/s)^β): heavier than Laplace's, … , Gauss's
SCALES = 128  # s = 2^((i − 16)/4)
HISTOGRAM = len(SHAPES)  # stands in the place of a shape
ODDS = 256  # odds of a zero: 2^((i − 128)/8)
COUNTS = np.array([v if v < 8 else (8 + v % 8) << (v // 8 - 1) for v in range(256)], np.int64)  # floats of one byte
EXACT = Context(prec=30, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


@dataclass(frozen=True)
class Distribution:
    """What the stream says about one channel.

    centre: the median. shape: index into SHAPES, with indices scale and zero; or HISTOGRAM, of the buckets from
    `scale` to `zero`, with one byte for each count.
    """

    centre: int
    shape: int
    scale: int
    zero: int
    counts: bytes = b""

    def weights(self) -> np.ndarray:
        """Return integers (BUCKETS,) that add up to TOTAL, as the floats that the range coder takes."""
        if self.shape == HISTOGRAM:
            return _histogram_weights(self.scale, self.counts)
        return _family_weights(self.shape, self.scale, self.zero)


def pack(symbols: np.ndarray) -> bytes:
    """Code integers (channels, n), every channel under its own distribution; `unpack` needs the shape again.

    Costs about the entropy of every channel and 2 to 4 bytes for each (up to one for every bucket in use where a
    histogram pays). Raises DataError for anything but integers that fit 32 bits.
    """
    values = _checked(symbols)
    channels, n = values.shape
    head = _varint(channels) + _varint(n)
    if not values.size:
        return head
    centres = np.partition(values, n // 2, axis=1)[:, n // 2]
    buckets, places = _to_buckets(values - centres[:, None])
    distributions = _choose(centres, buckets)
    coder = constriction.stream.queue.RangeEncoder()
    for row, distribution in zip(buckets, distributions, strict=True):
        coder.encode(row, _model(distribution))
    tables, words = zlib.compress(_tables(distributions), 9), coder.get_compressed().astype("<u4").tobytes()
    return head + _varint(len(tables)) + _varint(len(words)) + tables + words + _pack_places(buckets, places)


def unpack(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decode what `pack` coded: int32 of the given shape (channels, n); raise DataError when it is something else."""
    channels, at = _read_varint(data, 0)
    n, at = _read_varint(data, at)
    if (channels, n) != tuple(shape):
        raise DataError(f"the coded integers have the shape ({channels}, {n}), not {tuple(shape)}: these are others")
    if not channels * n:
        return np.zeros((channels, n), np.int32)
    sizes = []
    for _ in range(2):
        size, at = _read_varint(data, at)
        sizes.append(size)
    tables, words, rest = data[at : at + sizes[0]], data[at + sizes[0] : at + sum(sizes)], data[at + sum(sizes) :]
    try:
        distributions = _read_tables(zlib.decompress(tables), channels)
        coder = constriction.stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))
        buckets = np.stack([coder.decode(_model(distribution), n) for distribution in distributions])
        places = _unpack_places(rest, buckets)
    except (zlib.error, ValueError, AssertionError, IndexError) as error:
        raise DataError(f"the coded integers are damaged ({error}); make the file again") from error
    centres = np.array([distribution.centre for distribution in distributions])
    magnitude = LOW[np.abs(buckets - SIDE)] + places
    return (np.sign(buckets - SIDE) * magnitude + centres[:, None]).astype(np.int32)


def _checked(symbols: np.ndarray) -> np.ndarray:
    if symbols.ndim != 2 or symbols.dtype.kind not in "iu":
        raise DataError(f"integers (channels, n) can be coded, not {symbols.dtype} of the shape {symbols.shape}")
    limits = np.iinfo(np.int32)
    if symbols.size and (symbols.min() < limits.min or symbols.max() > limits.max):
        raise DataError(
            f"integers from {symbols.min()} to {symbols.max()} do not fit 32 bits; quantise them more coarsely"
        )
    return symbols.astype(np.int64)


def _to_buckets(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bucket of every value, int32 0 … BUCKETS − 1, and its place within the bucket."""
    magnitude = np.abs(values)
    bucket = np.searchsorted(LOW, magnitude, side="right") - 1
    return (SIDE + np.sign(values) * bucket).astype(np.int32), magnitude - LOW[bucket]


def _pack_places(buckets: np.ndarray, places: np.ndarray) -> bytes:
    """Write the places within buckets, bit plane by bit plane of all that have equally many bits."""
    bits = BITS[np.abs(buckets - SIDE)]
    planes = [(places[bits == b] >> plane & 1).astype(bool) for b in np.unique(bits) for plane in range(b)]
    return np.packbits(np.concatenate([np.zeros(0, bool), *planes])).tobytes()


def _unpack_places(data: bytes, buckets: np.ndarray) -> np.ndarray:
    bits = BITS[np.abs(buckets - SIDE)]
    if len(data) != (bits.sum() + 7) // 8:
        raise ValueError(f"{len(data)} bytes where {(bits.sum() + 7) // 8} are expected")
    stored, places, at = np.unpackbits(np.frombuffer(data, np.uint8)), np.zeros(buckets.shape, np.int64), 0
    for b in np.unique(bits):
        these = bits == b
        count, found = np.count_nonzero(these), np.int64(0)
        for plane in range(b):
            found = found | stored[at : at + count].astype(np.int64) << plane
            at += count
        places[these] = found
    return places


def _choose(centres: np.ndarray, buckets: np.ndarray) -> list[Distribution]:
    """Return the distribution of every channel that makes it shortest."""
    counts = np.stack([np.bincount(row, minlength=BUCKETS) for row in buckets])
    zeros = counts[:, SIDE]
    tails = counts[:, SIDE + 1 :] + counts[:, SIDE - 1 :: -1]
    odds = np.log2(np.maximum(zeros, 0.5) / np.maximum(tails.sum(axis=1), 0.5))
    zero = np.clip(np.round(8 * odds) + 128, 0, ODDS - 1).astype(int)
    costs = -tails @ _log_tails().T
    best = costs.argmin(axis=1)
    found = []
    for channel, centre in enumerate(centres.tolist()):
        family = Distribution(centre, *divmod(int(best[channel]), SCALES), int(zero[channel]))
        histogram = _histogram(centre, counts[channel])
        found.append(min(family, histogram, key=lambda d: _length(d, counts[channel])))
    return found


@lru_cache(maxsize=1)
def _log_tails() -> np.ndarray:
    """Return about log₂ of the probability of every bucket of either sign but 0: (shapes × scales, SIDE)."""
    middle = LOW[1:] + (2.0 ** BITS[1:] - 1) / 2
    x = middle / 2 ** ((np.arange(SCALES)[:, None] - 16) / 4)
    powers = np.stack([np.sqrt(x), x, x**1.5, x**2]).reshape(-1, SIDE)
    tails = np.exp(powers[:, :1] - powers) * 2.0 ** BITS[1:]
    return np.log2(np.maximum(tails / tails.sum(axis=1, keepdims=True), 2.0**-24))


def _histogram(centre: int, counts: np.ndarray) -> Distribution:
    used = np.flatnonzero(counts)
    first, last = int(used[0]), int(used[-1])
    inside = counts[first : last + 1]
    above = np.searchsorted(COUNTS, inside)  # the next number that one byte can hold, then the nearest
    nearest = np.where(COUNTS[above] - inside > inside - COUNTS[np.maximum(above - 1, 0)], above - 1, above)
    return Distribution(centre, HISTOGRAM, first, last, nearest.astype(np.uint8).tobytes())


def _length(distribution: Distribution, counts: np.ndarray) -> float:
    """Return how many bits the buckets of a channel and its distribution take."""
    used = counts > 0
    information = -counts[used] @ np.log2((distribution.weights()[used] + 1) / (TOTAL + BUCKETS))
    return float(information) + 8 * len(distribution.counts)


def _histogram_weights(first: int, counts: bytes) -> np.ndarray:
    values = COUNTS[np.frombuffer(counts, np.uint8)]
    weights = np.zeros(BUCKETS, np.int64)
    weights[first : first + len(values)] = values * TOTAL // values.sum()
    weights[weights.argmax()] += TOTAL - weights.sum()
    return weights.astype(np.float64)


@lru_cache(maxsize=4096)
def _family_weights(shape: int, scale: int, zero: int) -> np.ndarray:
    with localcontext(EXACT):
        odds = _power_of_two(zero - 128, 8)
        inside = int(TOTAL * odds / (1 + odds))
        tail = _tail(shape, scale)
        share = (TOTAL - inside) / (2 * sum(tail))
        half = [int(share * value) for value in tail]
    weights = np.array([*reversed(half), TOTAL - 2 * sum(half), *half], np.float64)
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=len(SHAPES) * SCALES)
def _tail(shape: int, scale: int) -> list[Decimal]:
    """Return how probable every bucket of one sign but 0 is, relative to 1."""
    with localcontext(EXACT):
        s, sides = _power_of_two(scale - 16, 4), list(zip(LOW[1:].tolist(), BITS[1:].tolist(), strict=True))
        powers = [_power((low + Decimal((1 << bits) - 1) / 2) / s, shape) for low, bits in sides]
        return [(powers[0] - power).exp() * (1 << bits) for power, (_, bits) in zip(powers, sides, strict=True)]


def _power(x: Decimal, shape: int) -> Decimal:
    """Return x^β by operations that are rounded correctly everywhere, which x ** β is not."""
    return (x.sqrt(), x, x * x.sqrt(), x * x)[shape]


def _power_of_two(numerator: int, denominator: int) -> Decimal:
    """Return 2^(numerator/denominator), the denominator being a power of two."""
    root = Decimal(2)
    while denominator > 1:
        root, denominator = root.sqrt(), denominator // 2
    result = Decimal(1)
    for _ in range(abs(numerator)):
        result *= root
    return result if numerator >= 0 else 1 / result


def _model(distribution: Distribution) -> constriction.stream.model.Categorical:
    """Return the model whose probabilities are (weights + 1)/2²⁴: they add up, so that it has nothing to round."""
    return constriction.stream.model.Categorical(distribution.weights(), perfect=False)


def _tables(distributions: list[Distribution]) -> bytes:
    """Write what describes the channels, like beside like."""
    centres = b"".join(_varint(d.centre * 2 if d.centre >= 0 else -2 * d.centre - 1) for d in distributions)
    columns = [bytes(getattr(d, name) for d in distributions) for name in ("shape", "scale", "zero")]
    return b"".join([centres, *columns, *(d.counts for d in distributions)])


def _read_tables(data: bytes, channels: int) -> list[Distribution]:
    at, centres = 0, []
    for _ in range(channels):
        value, at = _read_varint(data, at)
        centres.append(-(value + 1) // 2 if value % 2 else value // 2)
    columns = [data[at + i * channels : at + (i + 1) * channels] for i in range(3)]
    at += 3 * channels
    found = []
    for centre, shape, scale, zero in zip(centres, *columns, strict=True):
        size = zero + 1 - scale if shape == HISTOGRAM else 0
        found.append(Distribution(centre, shape, scale, zero, data[at : at + size]))
        at += size
    return found


def _varint(value: int) -> bytes:
    """Write a number that is not negative in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that starts at a place, and the place behind it; raise DataError at the end of the data."""
    value = shift = 0
    while at < len(data):
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
    raise DataError("the coded integers end too early; make the file again")

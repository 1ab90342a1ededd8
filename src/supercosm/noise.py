"""Gaussian noise as a pure function of (seed, integer coordinates).

Nothing is stored and nothing depends on the order of drawing: any part of a field, at any resolution, on
any number of tiles, gets the same numbers. Coordinates and seed go through the splitmix64 finaliser
(Steele, Lea & Flood 2014, OOPSLA), the hash becomes two uniform numbers, and Box–Muller makes them
Gaussian.
"""

from __future__ import annotations

import math

import torch

_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SPAN = 21  # bits per coordinate: meshes up to 2^20 cells per side, with signed wave vectors

Coordinates = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _signed(value: int) -> int:
    """Map an unsigned 64-bit number to the int64 with the same bits, torch's only 64-bit arithmetic."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift right filling with zeros; torch's own shift of int64 repeats the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _splitmix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _shift(x, 30)) * _signed(_MIX[0])
    x = (x ^ _shift(x, 27)) * _signed(_MIX[1])
    return x ^ _shift(x, 31)


def _splitmix_int(x: int) -> int:
    mask = (1 << 64) - 1
    x = ((x ^ (x >> 30)) * _MIX[0]) & mask
    x = ((x ^ (x >> 27)) * _MIX[1]) & mask
    return x ^ (x >> 31)


def key_of(seed: int, *stream: int) -> int:
    """Mix a seed and any further integers (what it is for, which step, which channel) into one 64-bit key."""
    key = _splitmix_int(seed + _GOLDEN)
    for number in stream:
        key = _splitmix_int((key ^ (number & ((1 << 64) - 1))) + _GOLDEN)
    return key


def gaussian_pair(key: int, coordinates: Coordinates) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two independent standard normal float64 fields at integer coordinates, which are broadcast."""
    x, y, z = (c.to(torch.int64) + (1 << (_SPAN - 1)) for c in coordinates)
    cell = x + (y << _SPAN) + (z << (2 * _SPAN))
    first = _splitmix(cell * _signed(_GOLDEN) + _signed(key))
    second = _splitmix(first + _signed(_GOLDEN))
    u = (_shift(first, 11).double() + 0.5) * 2.0**-53
    angle = (_shift(second, 11).double() + 0.5) * (2 * math.pi * 2.0**-53)
    radius = torch.sqrt(-2 * torch.log(u))
    return radius * torch.cos(angle), radius * torch.sin(angle)


def white_noise(key: int, coordinates: Coordinates) -> torch.Tensor:
    """Return one standard normal float32 field at integer coordinates (broadcast against each other)."""
    return gaussian_pair(key, coordinates)[0].float()


def white_modes(key: int, wave: Coordinates, fixed: bool = False) -> torch.Tensor:
    """Return complex64 white-noise modes at integer wave vectors: mode(−k) = conj mode(k), <|mode|²> = 1.

    wave: integer components, broadcast. fixed: every modulus is 1, the phase stays (Angulo & Pontzen 2016).
    """
    x, y, z = torch.broadcast_tensors(*wave)
    negative = (z < 0) | ((z == 0) & ((y < 0) | ((y == 0) & (x < 0))))
    sign = torch.where(negative, -1, 1)
    real, imaginary = gaussian_pair(key, (sign * x, sign * y, sign * z))
    modes = torch.complex(real, sign * imaginary)
    modes = modes / modes.abs() if fixed else modes / math.sqrt(2)
    return modes.to(torch.complex64)

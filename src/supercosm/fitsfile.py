"""Slices of the density as FITS images that ds9 and its kin open, with the box's coordinates in the header."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from astropy.io import fits

from supercosm.files import whole


def write_slab(path: str | Path, density: np.ndarray, box_size: float, depth: float, scale_factor: float) -> None:
    """Write the mean of 1 + δ (m, m, m) over 0 ≤ z < depth [Mpc/h] as an image: x to the right, y up."""
    layers = layers_of(len(density), box_size, depth)
    write_image(path, density[:, :, :layers].mean(axis=2, dtype=np.float64), layers, box_size, scale_factor)


def layers_of(cells: int, box_size: float, depth: float) -> int:
    """Return how many layers of cells are as thick as `depth` [Mpc/h], one at least."""
    return min(cells, max(1, round(depth / box_size * cells)))


def write_image(path: str | Path, mean: np.ndarray, layers: int, box_size: float, scale_factor: float) -> None:
    """Write the mean of 1 + δ over so many layers along z (m, m), as `write_slab` does."""
    cells = len(mean)
    image = fits.PrimaryHDU(mean.astype(np.float32).T)
    header = image.header
    for axis, name in ((1, "X"), (2, "Y")):
        header[f"CTYPE{axis}"] = (name, "comoving coordinate, linear")
        header[f"CUNIT{axis}"] = ("Mpc/h", "not a FITS unit: h is H0 / (100 km/s/Mpc)")
        header[f"CRPIX{axis}"] = (0.5, "left edge of the first pixel")
        header[f"CRVAL{axis}"] = (0.0, "[Mpc/h] there")
        header[f"CDELT{axis}"] = (box_size / cells, "[Mpc/h] per pixel")
    header["BUNIT"] = ("1", "density in units of the mean, 1 + delta")
    header["BOXSIZE"] = (box_size, "[Mpc/h] side of the periodic box")
    header["DEPTH"] = (layers * box_size / cells, "[Mpc/h] along z, from 0")
    header["SCALEFAC"] = (scale_factor, "1 / (1 + z)")
    image.add_checksum(when="undated, so that equal boxes give equal files")
    content = BytesIO()  # written to a file by astropy, a full disk would not be known as one
    image.writeto(content, output_verify="exception")
    with whole(path) as part:
        part.write_bytes(content.getvalue())

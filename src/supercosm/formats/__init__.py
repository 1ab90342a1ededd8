"""Snapshots of other codes: one module for each format, and one way in."""

from supercosm.formats.header import LengthUnit
from supercosm.formats.particles import Particles, read_particles
from supercosm.formats.reading import MADE_FOR, checksum, files_of, is_hdf5

__all__ = ["MADE_FOR", "LengthUnit", "Particles", "checksum", "files_of", "is_hdf5", "read_particles"]

"""Measure a box larger than memory: in one process slab after slab, or each slab's share by a job of its own.

Whatever is finished lies in the scratch folder and is not made again; the folder is removed when the tables are there.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from supercosm.config import Statistics
from supercosm.errors import ConfigurationError, DataError
from supercosm.files import hdf5_reader
from supercosm.fitsfile import layers_of, write_image
from supercosm.formats import is_hdf5
from supercosm.formats.blocks import Blocks, open_blocks
from supercosm.halofile import write_haloes
from supercosm.measure import CATALOGUE, SLAB, check_names, header, measure, write_tables
from supercosm.particlesummaries import OF_PARTICLES
from supercosm.progress import progress, silent
from supercosm.slabs import groups, smoothing, spectrum
from supercosm.slabs.meshes import Planes, image_of
from supercosm.slabs.scratch import FOLDER, Scratch, check_room, fingerprint, remove_others
from supercosm.slabs.sorting import COLUMNS, LARGEST, POSITIONS, is_sorted, layout_of, sort
from supercosm.stages import BY_SLABS
from supercosm.statistics.assignment import Assignment
from supercosm.statistics.haloes import Haloes
from supercosm.statistics.onepoint import Distribution, Moments
from supercosm.statistics.power import Spectra, bin_edges
from supercosm.summaries import DENSITIES, OF_FIELDS, SMALLEST

log = logging.getLogger(__name__)

MOTIONS = tuple(name for name in COLUMNS if name != POSITIONS)
OWN = ".scratch"  # folder beside the tables where no other is named
PORTIONS = 2  # velocities and IDs are on disk for one half of the slabs at a time
FIELDS = tuple(name for name in BY_SLABS if name in OF_FIELDS)


@dataclass(frozen=True)
class Task:
    """What is asked for: a snapshot, a folder for tables, settings, statistics (none: all), and a scratch folder."""

    path: Path
    output: Path
    settings: Statistics
    only: tuple[str, ...] = ()
    scratch: Path | None = None

    @property
    def names(self) -> list[str]:
        """Statistics in the order of measuring: haloes first, which leave the most room to the others."""
        return [name for name in reversed(BY_SLABS) if name in (self.only or BY_SLABS)]


@dataclass(frozen=True)
class SlabBox:
    """A box in slabs: what of `summaries.Box` can be measured so; each is finished when it is asked for."""

    snapshot: Blocks
    settings: Statistics
    scratch: Scratch

    @property
    def box_size(self) -> float:
        """Side of the box [Mpc/h]."""
        return self.snapshot.box_size

    @property
    def count(self) -> int:
        """Number of particles."""
        return self.snapshot.count

    @property
    def side(self) -> int:
        """Particles per side; of particles on no lattice the whole number next to it."""
        return round(self.count ** (1 / 3))

    @cached_property
    def layout(self):
        """Borders of the slabs."""
        return layout_of(self.snapshot, self.settings.slabs, self.settings.linking_length)

    @property
    def edges(self) -> np.ndarray:
        """Bins of the spectrum in |n|."""
        return bin_edges(self.side, self.settings.bins)

    @cached_property
    def meshes(self) -> list[Planes]:
        """Meshes of the spectrum, which go up to the Nyquist frequency of the particles."""
        assignment = Assignment(2 * self.side, self.settings.scheme, self.settings.interlacing)
        return spectrum.meshes(assignment, self.side // 2)

    @cached_property
    def density(self) -> Planes:
        """Mesh of the density that is smoothed."""
        cells = self.settings.mesh * self.side
        return Planes("density", Assignment(cells, "cic"), cells // 2)

    @cached_property
    def spheres(self) -> smoothing.Spheres:
        """What the density is averaged over."""
        layers = layers_of(self.density.cells, self.box_size, self.settings.slab)
        return smoothing.Spheres(self.settings.smoothing, DENSITIES, layers)

    @cached_property
    def haloes(self) -> Haloes:
        """Friends-of-friends haloes."""
        minimum = self.settings.halo_particles
        with progress("haloes", 2 * self.layout.number) as tick:
            for slabs in np.array_split(np.arange(self.layout.number), min(PORTIONS, self.layout.number)):
                self._find(slabs, tick)
            self.scratch.remove(*(f"{name}-*" for name in MOTIONS))
            groups.gather(self.scratch, self.layout, minimum, tick)
        return groups.result(self.scratch, self.snapshot, self.settings.linking_length, minimum)

    def _find(self, slabs: np.ndarray, tick) -> None:
        if self.scratch.has(groups.RESULT):
            return
        if not all(self.scratch.has(*groups.share_names(slab)) for slab in slabs):
            self.sort_particles(slabs)
        for slab in slabs:
            groups.find_share(self.scratch, self.layout, slab, self.settings.halo_particles, tick)
        self.scratch.remove(*(f"{name}-{slabs[0]}-{slabs[-1]}" for name in MOTIONS))

    @cached_property
    def spectra(self) -> Spectra:
        """P(k)."""
        if not self.scratch.has(spectrum.RESULT):
            self.sort_particles()
        steps = len(self.meshes) * (self.layout.number + len(self.meshes[0].blocks))
        with progress("spectrum", steps) as tick:
            spectrum.gather(self.scratch, self.layout, self.meshes, self.count, self.edges, tick)
        return spectrum.result(self.scratch, self.meshes[0], self.box_size, self.edges)

    @cached_property
    def _smoothed(self) -> tuple[Moments, Distribution]:
        radii = len(self.spheres.radii)
        if not self.scratch.has(*smoothing.names(radii)):
            self.sort_particles()
        with progress("densities", self.layout.number + radii * (1 + len(self.density.blocks))) as tick:
            smoothing.gather(self.scratch, self.layout, self.density, self.count, self.spheres, tick)
        return smoothing.result(self.scratch, self.density, self.spheres)

    @property
    def moments(self) -> Moments:
        """Moments of δ in spheres."""
        return self._smoothed[0]

    @property
    def distribution(self) -> Distribution:
        """Distribution of log10(1 + δ) in spheres."""
        return self._smoothed[1]

    def sort_particles(self, motions: Sequence[int] = ()) -> None:
        """Sort positions of all particles, and velocities and IDs of those of some slabs, unless that was done."""
        every = range(self.layout.number)
        wanted = {} if is_sorted(self.scratch, POSITIONS, every) else {POSITIONS: every}
        if len(motions):
            wanted |= {name: motions for name in MOTIONS if not is_sorted(self.scratch, name, motions)}
        if wanted:
            with progress("sort particles", self.snapshot.number) as tick:
                sort(self.snapshot, self.layout, self.scratch, wanted, tick)


def measure_by_slabs(task: Task, slab: int | None = None, only_sort: bool = False) -> None:
    """Measure a box by slabs and write tables, catalogue and slab image, as `measure.measure` does.

    slab: do this slab's share alone. only_sort: only sort the particles, for all shares. Raises DataError for what
    cannot be measured so, ConfigurationError for settings that make no sense.
    """
    _check(task, slab)
    if _is_density(task.path):
        if slab is None and not only_sort:
            log.info("%s holds a density field, which is measured whole", task.path)
            measure(task.path, task.output, task.settings, task.only or FIELDS, image=not task.only)
        return
    box = _box(task)
    if slab is not None:
        _share(box, task, slab)
        return
    with box.scratch.locked(passing=not only_sort):
        _check_room(box, task, PORTIONS if not only_sort else 1)
        if only_sort:
            box.sort_particles(range(box.settings.slabs) if "haloes" in task.names else ())
            return
        _write(box, task)
        shutil.rmtree(box.scratch.folder)
    if task.scratch is None:
        remove_others(task.output / OWN)


def _check(task: Task, slab: int | None) -> None:
    check_names(task.only)
    whole_only = [name for name in task.only if name not in BY_SLABS]
    if whole_only:
        raise ConfigurationError(
            f"'{whole_only[0]}' cannot be measured by slabs; what can is {', '.join(BY_SLABS)}: leave --slabs out"
        )
    if slab is not None and not 0 <= slab < task.settings.slabs:
        raise ConfigurationError(f"there is no slab {slab}: {task.settings.slabs} slabs count from 0 on")


def _is_density(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    with hdf5_reader(path, "snapshot") as file:
        return "density" in file


def _box(task: Task) -> SlabBox:
    blocks = open_blocks(task.path)
    mark = fingerprint(blocks.paths, task.settings.model_dump())
    folder = task.output / OWN if task.scratch is None else task.scratch
    box = SlabBox(blocks, task.settings, Scratch(folder / f"{FOLDER}{mark}"))
    if box.side < SMALLEST:
        raise DataError(f"{box.count} particles are too few to measure; the statistics need {SMALLEST}³ or more")
    return box


def _share(box: SlabBox, task: Task, slab: int) -> None:
    with box.scratch.locked(slab), progress(f"slab {slab}", 4) as tick:
        if "haloes" in task.names and not box.scratch.has(groups.RESULT):
            groups.find_share(box.scratch, box.layout, slab, box.settings.halo_particles, tick)
        if "spectrum" in task.names and not box.scratch.has(spectrum.RESULT):
            spectrum.paint_share(box.scratch, box.layout, box.meshes, box.count, slab, tick)
        fields = {"moments", "distribution"} & set(task.names)
        if fields and not box.scratch.has(*smoothing.names(len(box.spheres.radii))):
            layers = box.spheres.layers
            smoothing.paint_share(box.scratch, box.layout, box.density, box.count, slab, layers, tick)


def _write(box: SlabBox, task: Task) -> None:
    """Measure and write what is asked for, and say what is left out."""
    every = {**OF_FIELDS, **OF_PARTICLES}
    if not task.only:
        left = ", ".join(name for name in every if name not in BY_SLABS)
        log.info("not measured by slabs: %s", left)
    chosen = {name: every[name] for name in task.names}
    write_tables(task.output, box, chosen, header(task.output, box, box.snapshot), silent)
    if "haloes" in chosen:
        write_haloes(task.output / CATALOGUE, box.haloes)
    if not task.only:
        image, layers = image_of(box.scratch, box.layout, box.density), box.spheres.layers
        write_image(task.output / SLAB, image, layers, box.box_size, box.snapshot.scale_factor)


def _check_room(box: SlabBox, task: Task, portions: int) -> None:
    """Raise DataError where the disk is too small for what is sorted, or for the largest mesh beside the positions."""
    if any(box.scratch.folder.glob("[!.]*")):  # what is there already was counted
        return
    motions = (16 if box.snapshot.origin and box.count < LARGEST else 20) / min(portions, box.layout.number)
    needs = [(12 + motions + groups.members_room(box.layout)) * box.count] if "haloes" in task.names else []
    if "spectrum" in task.names:
        needs.append(_modes(box, box.meshes[0], box.meshes[0].lines * (len(box.meshes) - 1)))
    if {"moments", "distribution"} & set(task.names):
        needs.append(_modes(box, box.density, box.density.cells))
    check_room(box.scratch.folder, max(needs))


def _modes(box: SlabBox, mesh: Planes, more: int) -> int:
    """Return the bytes of all positions, of the planes of a mesh, and of `more` planes."""
    planes = mesh.cells + box.layout.number * (mesh.assignment.order + 1)
    return 12 * box.count + 8 * (planes + more) * mesh.lines * (mesh.keep + 1)

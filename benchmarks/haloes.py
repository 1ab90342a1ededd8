"""What the halo finder costs beside a k-d tree, and how haloes compare with fits to other simulations.

    python benchmarks/haloes.py cost         SNAPSHOT     [--tiles 2] [--output FILE.ecsv]
    python benchmarks/haloes.py massfunction SNAPSHOTS... [--corrected] [--output FILE.ecsv]
    python benchmarks/haloes.py bias         SNAPSHOTS... [--output FILE.ecsv]
    python benchmarks/haloes.py profile      SNAPSHOTS... [--output FILE.ecsv]

`cost` puts copies of the box side by side: 2 per side make 256³ particles of 128³. The others take snapshots of
different seeds of one box at one time.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numba
import numpy as np
from astropy.table import Table
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from supercosm.provenance import machine
from supercosm.snapshot import Snapshot, read_snapshot
from supercosm.statistics.friends import friends_of_friends
from supercosm.statistics.haloes import Haloes, find_haloes
from supercosm.statistics.haloprofile import overdensity_masses, profiles, shell_counts, stack
from supercosm.statistics.massfunction import (
    corrected_masses,
    halo_bias,
    mass_edges,
    mass_function,
    predicted_bias,
    predicted_mass_function,
)

LARGEST_TREE = 2_500_000  # particles: the tree's pairs of more fill tens of GB
FITS = {"watson13": "fof", "bhattacharya11": "fof", "courtin11": "fof", "tinker08": "200m", "despali16": "200m"}


def tiled(snapshot: Snapshot, tiles: int) -> Snapshot:
    """Put copies of a box side by side."""
    steps = np.arange(tiles, dtype=np.float32) * np.float32(snapshot.box_size)
    corners = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (snapshot.positions[None] + corners[:, None]).reshape(-1, 3)
    return replace(
        snapshot,
        positions=positions,
        velocities=np.tile(snapshot.velocities, (tiles**3, 1)),
        ids=np.arange(1, len(positions) + 1, dtype=np.uint64),
        box_size=tiles * snapshot.box_size,
    )


def tree(positions: np.ndarray, box: float, length: float) -> np.ndarray:
    """Label groups through all pairs of scipy's k-d tree."""
    pairs = cKDTree(positions.astype(float) % box, boxsize=box).query_pairs(length, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(positions),) * 2)
    groups, group = connected_components(links, directed=False)
    smallest = np.full(groups, len(positions))
    np.minimum.at(smallest, group, np.arange(len(positions)))
    return smallest[group]


def timed(action: Callable, *arguments: object) -> tuple[float, object]:
    start = time.perf_counter()
    result = action(*arguments)
    return time.perf_counter() - start, result


def cost(snapshots: list[str], tiles: int) -> Table:
    one = read_snapshot(snapshots[0])
    find_haloes(one)  # compiles the kernels
    rows = []
    for number in range(1, tiles + 1):
        particles = tiled(one, number)
        count, box = len(particles.ids), particles.box_size
        length = 0.2 * box / count ** (1 / 3)
        seconds, labels = timed(friends_of_friends, particles.positions, box, length)
        whole, haloes = timed(find_haloes, particles)
        against, same = float("nan"), ""
        if count < LARGEST_TREE:
            against, other = timed(tree, particles.positions, box, length)
            same = str(np.array_equal(labels, other))
        rows.append((count, len(haloes), seconds, whole, against, same))
    return Table(rows=rows, names=("particles", "haloes", "friends_s", "catalogue_s", "tree_s", "same_groups"))


def catalogues(snapshots: list[str]) -> Iterator[tuple[Snapshot, Haloes]]:
    for path in snapshots:
        particles = read_snapshot(path)
        yield particles, find_haloes(particles)


def massfunction(snapshots: list[str], corrected: bool) -> Table:
    """Ratios of dn/dlog10 M to fits, with Poisson errors and the error of the mean over seeds.

    `m200m`: of masses within 200 mean densities around the haloes' centres, over Tinker et al. (2008).
    """
    found, spheres = [], []
    edges = np.concatenate([[0], np.geomspace(0.1, 4, 41)])
    for particles, haloes in catalogues(snapshots):
        found.append(haloes)
        counts = shell_counts(haloes.centres, particles.positions, particles.box_size, edges)
        spheres.append(overdensity_masses(counts, edges, len(particles.ids) / particles.box_size**3))
    one = found[0]
    bins = mass_edges(one.particle_mass, one.minimum, max(h.particles[0] for h in found), 16, corrected)
    volume = one.box_size**3
    masses = [corrected_masses(h.particles, h.particle_mass) if corrected else h.masses for h in found]
    each = np.array([mass_function(m, bins, volume).density for m in masses])
    total = mass_function(np.concatenate(masses), bins, volume * len(found))
    table = Table({"from": bins[:-1], "to": bins[1:], "particles_from": bins[:-1] / one.particle_mass})
    table["haloes"] = total.numbers
    for name, definition in FITS.items():
        fit = predicted_mass_function(one.cosmology, one.scale_factor, bins, name, definition)
        table[name] = total.density / fit
        if name == "watson13":
            table["poisson"] = (total.upper - total.lower) / 2 / fit
            table["of_mean"] = each.std(axis=0, ddof=1) / np.sqrt(len(found)) / fit if len(found) > 1 else np.nan
            cut = predicted_mass_function(one.cosmology, one.scale_factor, bins, name, definition, one.box_size)
            table["box_effect"] = cut / fit
        if name == "tinker08":
            inside = np.concatenate(spheres) * one.particle_mass
            table["m200m"] = mass_function(inside[np.isfinite(inside)], bins, volume * len(found)).density / fit
    table["from"].unit = table["to"].unit = "solMass / littleh"
    return table


def bias(snapshots: list[str], k_max: float) -> Table:
    """Bias of haloes in bins of mass, averaged over seeds with weights 1/error², beside Tinker et al. (2010)."""
    bins = np.array([8.2e11, 2e12, 5e12, 1.25e13, 3e13, 8e13, 2e15])
    measured = np.full((2, len(snapshots), len(bins) - 1), np.nan)
    expected, numbers = np.zeros(len(bins) - 1), np.zeros(len(bins) - 1, int)
    for seed, (particles, haloes) in enumerate(catalogues(snapshots)):
        fit = predicted_bias(haloes.cosmology, haloes.scale_factor, haloes.masses)
        for b in range(len(bins) - 1):
            chosen = (haloes.masses >= bins[b]) & (haloes.masses < bins[b + 1])
            found = halo_bias(haloes.positions[chosen], particles.positions, haloes.box_size, k_max)
            measured[:, seed, b] = found.value, found.error
            expected[b] += fit[chosen].sum()
            numbers[b] += np.count_nonzero(chosen)
    weight = 1 / measured[1] ** 2
    mean = (weight * measured[0]).sum(axis=0) / weight.sum(axis=0)
    chi2 = (weight * (measured[0] - mean) ** 2).sum(axis=0) / max(1, len(snapshots) - 1)
    columns = [bins[:-1], bins[1:], numbers, mean, weight.sum(axis=0) ** -0.5, chi2, expected / numbers]
    return Table(columns, names=("from", "to", "haloes", "bias", "error", "chi2_per_seed", "tinker10"))


def profile(snapshots: list[str]) -> Table:
    """Stacked density in units of the mean, a column per decade-third of mass."""
    edges, bins = np.geomspace(0.1, 5, 18), 10 ** np.arange(12.5, 15.1, 0.5)
    densities, masses = [], []
    for particles, haloes in catalogues(snapshots):
        densities.append(profiles(haloes.centres, particles.positions, haloes.box_size, edges))
        masses.append(haloes.masses)
    found = stack(np.concatenate(densities), np.concatenate(masses), bins, edges)
    table = Table({"radius": found.radii})
    for b, number in enumerate(found.numbers):
        table[f"lg{np.log10(bins[b]):.1f}_n{number}"] = found.density[b]
        table[f"error_{np.log10(bins[b]):.1f}"] = found.error[b]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "massfunction", "bias", "profile"])
    parser.add_argument("snapshots", nargs="+")
    parser.add_argument("--tiles", type=int, default=2)
    parser.add_argument("--corrected", action="store_true")
    parser.add_argument("--k-max", type=float, default=0.2)
    parser.add_argument("--output")
    options = parser.parse_args()
    if options.what == "cost":
        table = cost(options.snapshots, options.tiles)
    elif options.what == "massfunction":
        table = massfunction(options.snapshots, options.corrected)
    elif options.what == "bias":
        table = bias(options.snapshots, options.k_max)
    else:
        table = profile(options.snapshots)
    for name in table.colnames:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".4g"
    one = read_snapshot(options.snapshots[0])
    table.meta = {
        "what": options.what,
        "corrected": options.corrected,
        "k_max": options.k_max,
        "snapshots": len(options.snapshots),
        "particles": len(one.ids),
        "box_size": one.box_size,
        "scale_factor": one.scale_factor,
        "threads": numba.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        **machine(),
    }
    table.pprint_all()
    if options.output:
        table.write(options.output, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()

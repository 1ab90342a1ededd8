"""What a simulation costs, against its FFTs alone, and how its power compares with HMcode-2020.

    python benchmarks/simulation.py cost  [--cells 128] [--mesh 2] [--steps 20] [--output FILE.ecsv]
    python benchmarks/simulation.py power [--cells 128] [--box 100] [--seeds 8] [--output FILE.ecsv]

`cost` runs one forward and one backward FFT between any two steps: both are timed on an equally busy machine.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import contextmanager

import camb
import numpy as np
import torch
from astropy.table import Table

from supercosm import mesh, nbody
from supercosm.config import Cosmology, Simulation
from supercosm.cosmology import camb_parameters, growth, linear_power
from supercosm.device import choose_device
from supercosm.initial import Phases
from supercosm.provenance import machine
from supercosm.statistics.power import CLOUD_IN_CELL, compare

PLANCK = Cosmology()


class Clock:
    """Sums of the time spent in named pieces."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, name: str):
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def cost(cells: int, factor: int, steps: int, device: torch.device) -> Table:
    """Time the pieces of one run and the same number of FFTs."""
    simulation = Simulation(low=cells // 2, high=cells, mesh=factor, steps=steps)
    linear_power(PLANCK), growth(PLANCK, 1.0)  # CAMB's seconds come once per process and are not gravity's
    warm_up(device)
    clock, box = Clock(device), simulation.box_size
    field = torch.randn((factor * cells,) * 3, device=device)
    times = nbody.time_steps(simulation, PLANCK)
    torch.fft.irfftn(torch.fft.rfftn(field), s=field.shape)
    with clock.time("start: 2LPT"):
        particles = nbody.start(Phases(1), PLANCK, box, cells, times[0], device)
    with clock.time("start: Green function"):
        gravity = nbody.Gravity(factor * cells, box, device)
    for a in times[1:]:
        with clock.time("FFTs alone"):
            torch.fft.irfftn(torch.fft.rfftn(field), s=field.shape)
        half = (growth(PLANCK, a).D - growth(PLANCK, particles.a).D) / 2
        weights = nbody.bullfrog_weights(PLANCK, particles.a, a)
        with clock.time("drift"):
            particles.positions.add_(particles.velocities, alpha=half)
        with clock.time("paint"):
            density = mesh.paint(particles.positions, box, factor * cells)
        with clock.time("potential: FFTs and Green function"):
            modes = torch.fft.rfftn(density)
            torch.view_as_real(modes).mul_(gravity.inverse_laplacian[..., None])
            potential = torch.fft.irfftn(modes, s=density.shape)
        with clock.time("kick"):
            mesh.kick(particles.positions, particles.velocities, potential, box, weights)
        with clock.time("drift"):
            particles.positions.add_(particles.velocities, alpha=half)
        particles.a = a
    alone = clock.seconds.pop("FFTs alone")
    rows = [(name, seconds, seconds / alone) for name, seconds in clock.seconds.items()]
    total = sum(clock.seconds.values())
    rows += [("whole run", total, total / alone), ("FFTs alone", alone, 1.0)]
    return Table(rows=rows, names=("piece", "seconds", "of_ffts"))


def warm_up(device: torch.device) -> None:
    """Compile the numba kernels and start the thread pools."""
    list(nbody.run(Simulation(low=8, high=16, steps=1), PLANCK, Phases(1), 16, device))


def hmcode(k: np.ndarray) -> np.ndarray:
    """Non-linear power of Mead et al. (2021) today [(Mpc/h)³]."""
    A_s = 2e-9
    for _ in range(2):
        results = camb.get_results(camb_parameters(PLANCK, A_s, halofit_version="mead2020"))
        A_s *= (PLANCK.sigma8 / results.get_sigma8_0()) ** 2
    wave_numbers, _, power = results.get_matter_power_spectrum(minkh=1e-3, maxkh=20, npoints=500)
    return np.exp(np.interp(np.log(k), np.log(wave_numbers), np.log(power[0])))


def power(cells: int, box: float, seeds: int, device: torch.device) -> Table:
    """Average P(k) / P_HMcode over seeds of fixed amplitude, in bins up to half the Nyquist frequency."""
    simulation = Simulation(box_size=box, low=cells // 2, high=cells)
    fundamental = 2 * np.pi / box
    start = max(0.1 / fundamental, 0.5)
    edges = np.unique(np.round(np.append(np.geomspace(start, cells / 8, 7), cells / 4), 3))
    ratios = []
    for seed in range(1, seeds + 1):
        (particles,) = nbody.run(simulation, PLANCK, Phases(seed, fixed=True), cells, device)
        field = mesh.paint(particles.positions, box, 2 * cells)[None]
        spectra = compare(field, field, box, edges, window=CLOUD_IN_CELL)
        ratios.append(spectra.first / hmcode_mean(spectra.k, edges, fundamental))
    mean, error = np.mean(ratios, axis=0), np.std(ratios, axis=0, ddof=1) / np.sqrt(seeds)
    columns = [edges[:-1] * fundamental, edges[1:] * fundamental, spectra.modes, mean, error]
    return Table(columns, names=("k_from", "k_to", "modes", "ratio", "error_of_mean"))


_HMCODE: dict[bytes, np.ndarray] = {}


def hmcode_mean(k: np.ndarray, edges: np.ndarray, fundamental: float) -> np.ndarray:
    """HMcode averaged over the modes of each bin, as the simulation is."""
    if edges.tobytes() not in _HMCODE:
        half = int(edges[-1]) + 1
        axis = np.arange(-half, half + 1)
        n = np.sqrt(sum(a**2 for a in np.meshgrid(axis, axis, axis))).ravel()
        shells, counts = np.unique(n[(n >= edges[0]) & (n < edges[-1])], return_counts=True)
        weights = counts * hmcode(shells * fundamental)
        index = np.digitize(shells, edges) - 1
        _HMCODE[edges.tobytes()] = np.bincount(index, weights, len(k)) / np.bincount(index, counts, len(k))
    return _HMCODE[edges.tobytes()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "power"])
    parser.add_argument("--cells", type=int, default=128)
    parser.add_argument("--mesh", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--box", type=float, default=100.0)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output")
    options = parser.parse_args()
    device = choose_device(options.device)
    if options.what == "cost":
        table = cost(options.cells, options.mesh, options.steps, device)
    else:
        table = power(options.cells, options.box, options.seeds, device)
    for name in table.colnames:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".3f"
    table.meta = {
        **vars(options),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        **machine(),
    }
    table.meta.pop("output")
    table.pprint_all()
    if options.output:
        table.write(options.output, format="ascii.ecsv", overwrite=True)


if __name__ == "__main__":
    main()

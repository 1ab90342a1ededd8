"""The sections of the configuration, except the models: keys, defaults and their meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from supercosm.basic_settings import Settings
from supercosm.external_settings import External


class Cosmology(Settings):
    """A flat ΛCDM universe with massless neutrinos (defaults: Planck 2018, TT,TE,EE+lowE+lensing+BAO)."""

    Omega_m: float = Field(0.3111, gt=0, lt=1, description="total matter density today")
    Omega_b: float = Field(0.0490, gt=0, lt=1, description="baryon density today")
    h: float = Field(0.6766, gt=0.1, lt=2, description="Hubble constant / (100 km/s/Mpc)")
    n_s: float = Field(0.9665, gt=0, lt=2, description="slope of the primordial spectrum")
    sigma8: float = Field(0.8102, gt=0, lt=3, description="linear rms overdensity in 8 Mpc/h spheres, z = 0")

    @model_validator(mode="after")
    def _baryons_are_matter(self) -> Cosmology:
        if self.Omega_b >= self.Omega_m:
            raise ValueError(
                f"Omega_b = {self.Omega_b} must be below Omega_m = {self.Omega_m}: baryons are part of the matter"
            )
        return self


class Seeds(Settings):
    """Which initial conditions are trained on, validated on, and kept for the test."""

    training: list[int] = Field([1, 2, 3, 4, 5, 6], min_length=1, description="seeds of the training boxes")
    validation: list[int] = Field([7], min_length=1, description="seeds that diagnose the training, but never train")
    test: list[int] = Field([8, 9], min_length=1, description="seeds seen by no model; all results are for these")

    @model_validator(mode="after")
    def _disjoint(self) -> Seeds:
        seen: dict[int, str] = {}
        for role in ("training", "validation", "test"):
            for seed in getattr(self, role):
                if seed < 0:
                    raise ValueError(f"seed {seed} in '{role}' is negative; seeds are integers from 0 up")
                if seed in seen:
                    raise ValueError(
                        f"seed {seed} stands in both '{seen[seed]}' and '{role}'; give every role its own seeds"
                    )
                seen[seed] = role
        return self

    @property
    def all(self) -> list[int]:
        """Every seed, in the order training, validation, test."""
        return [*self.training, *self.validation, *self.test]


class Simulation(Settings):
    """The paired N-body simulations."""

    box_size: float = Field(100.0, gt=0, description="side of the periodic box [Mpc/h]")
    low: int = Field(32, ge=4, description="particles per side, low resolution")
    high: int = Field(128, ge=16, description="particles per side, high resolution: low times 2, 4, 8, …")
    scale_factors: list[float] = Field([1.0], min_length=1, description="outputs, ascending; the last names the run")
    start: float = Field(0.05, ge=0.001, lt=1, description="scale factor at which 2LPT hands over to the N-body steps")
    steps: int = Field(20, ge=1, description="N-body steps from the start to the last output")
    spacing: Literal["a", "D"] = Field("a", description="steps uniform in the scale factor or the growth factor")
    mesh: int = Field(2, ge=1, le=4, description="force mesh cells per particle and side")
    amplitude: Literal["gaussian", "fixed"] = Field(
        "gaussian", description="mode amplitudes of the initial conditions: drawn, or all set to their rms"
    )
    external: External | None = Field(None, description="snapshots of your own; none: simulations are run")

    @model_validator(mode="after")
    def _sizes(self) -> Simulation:
        for name in ("low", "high"):
            if getattr(self, name) % 2:
                raise ValueError(f"simulation.{name} = {getattr(self, name)} is odd; it must be even")
        if self.high % self.low or self.high == self.low:
            raise ValueError(
                f"simulation.high = {self.high} is not a multiple (2, 4, 8, …) of simulation.low = {self.low}"
            )
        if self.factor & (self.factor - 1):
            raise ValueError(
                f"simulation.high / simulation.low = {self.factor} is no power of two; take high = 2, 4, 8, … times low"
            )
        if sorted(set(self.scale_factors)) != self.scale_factors:
            raise ValueError(f"simulation.scale_factors = {self.scale_factors} must ascend without repeats")
        if self.scale_factors[0] <= self.start:
            raise ValueError(
                f"simulation.scale_factors starts at {self.scale_factors[0]}, which is not after simulation.start "
                f"= {self.start}"
            )
        if len({self.tag(a) for a in self.scale_factors}) < len(self.scale_factors):
            raise ValueError(
                f"simulation.scale_factors = {self.scale_factors} agree in four decimals, which is what file names show"
            )
        if self.scale_factors[-1] > 2:
            raise ValueError(
                f"simulation.scale_factors ends at {self.scale_factors[-1]}; growth is known up to 2 (today is 1)"
            )
        if self.external and (fault := self.external.fault(len(self.scale_factors))):
            raise ValueError(f"simulation.{fault}")
        if len(self.scale_factors) > self.steps:
            raise ValueError(
                f"simulation.steps = {self.steps} is fewer than the {len(self.scale_factors)} outputs asked for"
            )
        return self

    @property
    def factor(self) -> int:
        """Up-sampling factor per side."""
        return self.high // self.low

    def tag(self, scale_factor: float) -> str:
        """File-name suffix of an output: none for the last one, `_a0.3333` for an earlier one."""
        return "" if scale_factor == self.scale_factors[-1] else f"_a{scale_factor:.4f}"


class Superresolution(Settings):
    """How trained models are applied to the test boxes."""

    tile: int = Field(16, ge=1, description="tile side [low-resolution cells]; memory grows with its cube")
    samples: int = Field(8, ge=1, le=1000, description="samples drawn per box from every stochastic model")
    seed: int = Field(1000, ge=0, description="seed of the first sample; the next ones count up")
    consistency: float | None = Field(
        None,
        gt=0,
        le=1,
        description="modes of displacement and velocity below this fraction of the low run's Nyquist frequency stay "
        "those of the low run; none: they are what the model makes of them",
    )
    files: int = Field(
        1,
        ge=1,
        le=10_000,
        description="slabs, each a job of its own, that a box of particles is made in; models of several passes, of "
        "densities, and all with consistency make it in one job nevertheless",
    )


class Evaluation(Settings):
    """How spectra are measured."""

    bins: int = Field(24, ge=3, description="wave-number bins from the fundamental mode to the Nyquist frequency")
    mesh: int = Field(2, ge=1, description="measuring mesh cells per high-resolution particle and side")
    evaluations: list[Annotated[int, Field(ge=1)]] = Field(
        [1, 2, 4, 8, 16],
        min_length=1,
        description="network evaluations per sample that iterative families are tried with; made odd for heun of a "
        "diffusion",
    )


class Statistics(Settings):
    """What `supercosm measure` finds in one box."""

    mesh: int = Field(1, ge=1, description="mesh cells per high-resolution particle and side")
    bins: int = Field(20, ge=3, description="wave-number and separation bins")
    scheme: Literal["ngp", "cic", "tsc", "pcs"] = Field("tsc", description="mass assignment of the spectra")
    interlacing: bool = Field(True, description="paint twice, half a cell apart, so that aliases cancel")
    line_of_sight: Literal[0, 1, 2] = Field(2, description="axis along which redshift-space positions are shifted")
    smoothing: list[Annotated[float, Field(gt=0)]] = Field(
        [2.0, 4.0, 8.0], min_length=1, description="radii of the spheres that densities are averaged over [Mpc/h]"
    )
    triangles: list[Annotated[float, Field(gt=0)]] = Field(
        [0.0625, 0.125, 0.25],
        min_length=1,
        description="sides of the bispectrum's triangles, in Nyquist frequencies of the particles: of isosceles ones "
        "each, of equilateral and squeezed ones the range",
    )
    linking_length: float = Field(0.2, gt=0, lt=1, description="of friends of friends, in mean particle separations")
    halo_particles: int = Field(20, ge=2, description="particles of the smallest halo kept")
    pair_particles: int = Field(20_000, ge=100, description="particles drawn for pairwise velocities")
    slab: float = Field(10.0, gt=0, description="thickness of the density slab written as FITS [Mpc/h]")
    environment_radius: float = Field(2.0, gt=0, description="smoothing of the tidal tensor [Mpc/h]")
    environment_threshold: float = Field(0.2, description="eigenvalue above which an axis has collapsed")
    slabs: int = Field(
        1,
        ge=1,
        le=10_000,
        description="slabs in which a box larger than memory is measured, each a job; with more than 1 there are the "
        "spectrum, moments, distribution and haloes alone",
    )


class Skew(Settings):
    """Trainings of one model on crops that abound in one environment, beside a fair one on the same budget."""

    model: str | None = Field(None, description="unet whose settings they take; none: no skewed trainings")
    environments: list[Literal["void", "sheet", "filament", "knot"]] = Field(
        ["void", "knot"], min_length=1, description="environments, one training for each"
    )
    steps: int = Field(150, ge=1, description="optimiser steps of each")
    crop: int = Field(32, ge=8, description="side of their crops: small ones can be purer [high-resolution cells]")
    margin: int = Field(4, ge=0, description="border of a crop that the loss ignores [high-resolution cells]")


class Audit(Settings):
    """What models are confronted with besides the test boxes: the sceptic's competitor, luck, other universes."""

    few_steps: list[Annotated[int, Field(ge=1)]] = Field(
        [3, 5, 8], description="N-body steps of cheap high-resolution runs that models have to beat"
    )
    universes: int = Field(
        2,
        ge=0,
        le=1000,
        description="high-resolution runs per test box with other small-scale modes: the physical diversity",
    )
    shifts: list[dict[Literal["Omega_m", "Omega_b", "h", "n_s", "sigma8"], float]] = Field(
        [{"sigma8": -0.1}, {"sigma8": 0.1}, {"Omega_m": -0.05}, {"Omega_m": 0.05}],
        description="changes of the cosmology that models are applied across",
    )
    skew: Skew = Skew()
    seeds: int = Field(
        1, ge=0, description="test boxes, from the first, for other cosmologies and for skewed trainings"
    )

    @model_validator(mode="after")
    def _named_once(self) -> Audit:
        for what in ("few_steps", "shifts"):
            values = getattr(self, what)
            if any(value in values[:i] for i, value in enumerate(values)) or {} in values:
                raise ValueError(f"audit.{what} = {values}: give every one once, and none empty")
        for shift in self.shifts:
            if len(shift) != 1 or 0 in shift.values():
                raise ValueError(f"audit.shifts: {shift} must change one parameter, by more than nothing")
        return self


class Report(Settings):
    """What the pictures show."""

    slab: float = Field(10.0, gt=0, description="thickness of the pictured density slab [Mpc/h]")
    zoom: float = Field(25.0, gt=0, description="side of the zoomed region [Mpc/h]")
    pdf: bool = Field(True, description="write every figure as PDF, too")


class Pairs(Settings):
    """What pair files hold besides the fields of both runs, and how."""

    slabs: int = Field(8, ge=1, description="slabs per box along each axis, for models with dimensions: 2")
    bound: float | None = Field(
        None,
        gt=0,
        description="largest error of displacements in pair files [Mpc/h], of velocities 100 times as many km/s: "
        "they are compressed; none: stored as they are",
    )

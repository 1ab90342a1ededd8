"""Which figures there are of the statistics of one box: what is drawn of which table, and what to look for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from astropy.table import QTable

from supercosm.statfigures import Curve, Panel, split

K, R = r"$k$ [$h$/Mpc]", r"$r$ [Mpc/$h$]"


@dataclass(frozen=True)
class Shown:
    """A figure of a statistic: the curve made from its table, a title, and a sentence that says what to look for.

    foreign: that sentence for simulations of other codes, whose forces nobody knows; the same if None.
    """

    title: str
    look: str
    curve: Callable[[QTable], Curve]
    foreign: str | None = None


def _multipoles(table: QTable) -> Curve:
    panels = (Panel("P0", "monopole"), Panel("P2", "quadrupole"), Panel("P4", "hexadecapole"))
    return Curve(
        "multipoles",
        "multipoles",
        "k",
        K,
        r"$k\,P_\ell(k)$ [$(\mathrm{Mpc}/h)^2$]",
        panels,
        y_log=False,
        scale="P0",
        weight=1,
        nyquist=True,
    )


def _correlation(table: QTable) -> Curve:
    return Curve(
        "correlation",
        "correlation",
        "r",
        R,
        r"$r^2\xi(r)$ [$(\mathrm{Mpc}/h)^2$]",
        (Panel("xi", "two-point correlation"),),
        y_log=False,
        weight=2,
    )


def _bispectrum(table: QTable) -> Curve:
    kinds = list(dict.fromkeys(table["kind"]))
    isosceles = [kind for kind in kinds if kind.startswith("isosceles")]
    chosen = ["equilateral", "squeezed", *isosceles[len(isosceles) // 2 :][:1]]
    panels = tuple(Panel("Q", _kind_title(kind), ("kind", kind)) for kind in chosen if kind in kinds)
    error = ("Q_error_gaussian", "Q_error_gaussian")
    return Curve(
        "bispectrum", "bispectrum", "k3", r"third side $k_3$ [$h$/Mpc]", r"reduced bispectrum $Q$", panels,
        y_log=False, errors=error, nyquist=True,
    )  # fmt: skip


def _kind_title(kind: str) -> str:
    return kind if " " not in kind else f"two sides of {kind.split()[1]} h/Mpc"


def _distribution(table: QTable) -> Curve:
    panels = split(table, "radius", "pdf", "spheres of {} Mpc/h", 3)
    return Curve(
        "distribution", "distribution", "log_density", r"$\log_{10}(1+\delta)$", "volume per dex", panels, x_log=False
    )


def _moments(table: QTable) -> Curve:
    panels = (Panel("variance", r"variance $\sigma^2$"), Panel("S3", r"$S_3$"), Panel("S4", r"$S_4$"))
    return Curve("moments", "moments", "radius", "radius of the spheres [Mpc/$h$]", "value", panels, y_log=False)


def _extrema(name: str) -> Callable[[QTable], Curve]:
    def curve(table: QTable) -> Curve:
        panels = split(table, "radius", name, "smoothed over {} Mpc/h", 3)
        label = r"per volume and $\nu$ [$(h/\mathrm{Mpc})^3$]"
        return Curve("extrema", name, "height", r"height $\nu=\delta/\sigma$", label, panels, x_log=False)

    return curve


def _minkowski(table: QTable) -> Curve:
    radii = np.unique(table["radius"].value)
    radius = radii[len(radii) // 2]
    rows = ("radius", float(radius))
    titles = ("volume $V_0$", "area $V_1$", "mean curvature $V_2$", "Euler characteristic $V_3$")
    panels = tuple(Panel(f"V{order}", title, rows) for order, title in enumerate(titles))
    label = rf"$V_i$ per volume [$(h/\mathrm{{Mpc}})^i$], {radius:g} Mpc/$h$"
    return Curve(
        "minkowski", "minkowski", "threshold", r"threshold $\nu$", label, panels, x_log=False, y_log=False, scale="peak"
    )


def _mass_function(table: QTable) -> Curve:
    others = (("watson13", "Watson et al. 2013, FoF"), ("tinker08", "Tinker et al. 2008, 200m"))
    label = r"$dn/d\log_{10}M$ [$(h/\mathrm{Mpc})^3$]"
    return Curve(
        "haloes", "haloes", "mass", r"$M$ [$M_\odot/h$]", label, (Panel("density", "halo mass function"),),
        errors=("lower", "upper"), others=others,
    )  # fmt: skip


def _profiles(table: QTable) -> Curve:
    masses = list(dict.fromkeys(table["mass_from"].value.tolist()))
    held = [m for m in masses if np.nansum(table["haloes"][table["mass_from"].value == m]) > 0][:3] or masses[:1]
    panels = tuple(Panel("density", rf"$M \geq$ {mass:.2g} $M_\odot/h$", ("mass_from", mass)) for mass in held)
    return Curve(
        "profiles", "profiles", "radius", R, r"$\rho/\bar\rho$ around haloes", panels, errors=("error", "error")
    )


def _bias(table: QTable) -> Curve:
    panel = (Panel("bias", "halo bias, bins of mass from M on"),)
    return Curve(
        "bias", "bias", "mass_from", r"$M$ [$M_\odot/h$]", r"$b = P_{hm}/P_{mm}$", panel, y_log=False,
        errors=("error", "error"), others=(("tinker10", "Tinker et al. 2010"),),
    )  # fmt: skip


def _flows(table: QTable) -> Curve:
    panels = (
        Panel("velocity", r"velocity [$(\mathrm{Mpc}/h)^3 (\mathrm{km/s})^2$]"),
        Panel("convergence", r"$-\nabla\cdot v/(aHf)$ [$(\mathrm{Mpc}/h)^3$]"),
        Panel("vorticity", r"$\nabla\times v/(aHf)$ [$(\mathrm{Mpc}/h)^3$]"),
    )
    return Curve("flows", "flows", "k", K, r"$P(k)$ of the flow", panels, nyquist=True)


def _pairwise(table: QTable) -> Curve:
    panels = (Panel("infall", "mean along the pair"), Panel("dispersion", "dispersion"))
    return Curve("pairwise", "pairwise", "separation", R, "pairwise velocity [km/s]", panels, y_log=False, scale=None)


SHOWN: Mapping[str, Mapping[str, Shown]] = {
    "Two-point statistics": {
        "multipoles": Shown(
            "Redshift-space multipoles",
            "velocities count here: a model with wrong ones has too little quadrupole, or none of the damping that "
            "virial motions give the monopole.",
            _multipoles,
        ),
        "correlation": Shown(
            "Correlation function",
            "pairs of particles at each separation; below the low run's lattice spacing only structure that the model "
            "made.",
            _correlation,
        ),
    },
    "Higher order and one point": {
        "bispectrum": Shown(
            "Reduced bispectrum",
            "the shape of structure: filaments and knots give triangles that P(k) does not see. Error bars are those "
            "of a Gaussian field.",
            _bispectrum,
        ),
        "distribution": Shown(
            "Distribution of the density",
            "the left end is how empty voids are, the right end how dense haloes; a smooth model has too short a tail.",
            _distribution,
        ),
        "moments": Shown("Moments", "variance and hierarchical skewness and kurtosis by scale.", _moments),
        "peaks": Shown("Peaks", "maxima of the smoothed density: places of haloes.", _extrema("peaks")),
        "minima": Shown("Minima", "minima of the smoothed density: centres of voids.", _extrema("minima")),
        "minkowski": Shown(
            "Minkowski functionals",
            "volume, area, curvature and connectedness of the regions above a threshold: the web's topology.",
            _minkowski,
        ),
    },
    "Haloes": {
        "haloes": Shown(
            "Mass function",
            "the least massive haloes that a model still makes in the right number. Error bars and grey: Poisson. The "
            "dotted fits are of simulations with finer forces, so the truth lies below them where haloes are small.",
            _mass_function,
            "the least massive haloes that a model still makes in the right number. Error bars and grey: Poisson. The "
            "dotted fits are of other simulations; what counts is how near a model comes to the truth.",
        ),
        "profiles": Shown(
            "Profiles",
            "how compact haloes are; the force mesh of the truth softens them inside of its cell.",
            _profiles,
            "how compact haloes are; the softened forces of the truth flatten their centres.",
        ),
        "bias": Shown("Bias", "whether haloes cluster as their mass demands.", _bias),
    },
    "Motions": {
        "flows": Shown(
            "Velocity field",
            "convergence belongs to growing structure, vorticity to orbits in it: a smooth model lacks the latter.",
            _flows,
        ),
        "pairwise": Shown("Pairwise velocities", "infall towards, and random motion inside of, structure.", _pairwise),
    },
}

"""Samplers with an exact denoiser: passes give the samples of a Gaussian posterior that is known mode by mode.

Where the network says the very conditional mean, all that is left of an error is that of the finite steps. It has a
closed form, since on Gaussian modes every step is linear, and it falls with the order of the solver.
"""

import itertools
import math

import pytest
import torch
from gaussianfields import band_counts, band_means, filtered, power, wave, wiener
from torch import nn

from supercosm.cellnoise import CellNoise
from supercosm.family_settings import Diffusion, FlowMatching
from supercosm.features import Features, Scales
from supercosm.schemes import Region, scheme_of

SIDE, SAMPLES = 32, 64
K = wave(SIDE)
PRIOR = 4 / (1 + K**2)  # power of the high-resolution field h
WINDOW, OBSERVED_NOISE = torch.exp(-(K**2) / 4), torch.full_like(K, 0.1)  # c = W h + noise
MODES = band_counts(SIDE)
POSTERIOR = wiener(PRIOR, WINDOW, OBSERVED_NOISE)  # of h − c, whose power runs from 0.1 to 0.7
SLABS = {"fields": "density", "dimensions": 2}
JITTER, SMALL = 0.7, 0.5  # of lines that begin at the small scales: noise there, and weight of the modes in the target

FLOWS = [f"flow {begin} {solver}" for begin, solver in itertools.product(("white", "linear"), ("euler", "heun"))]
TARGETS, SOLVERS = ("data", "preconditioned", "noise"), ("euler", "heun", "ddpm")
DENOISERS = [f"diffusion {target} {solver}" for target, solver in itertools.product(TARGETS, SOLVERS)]
DETERMINISTIC = [name for name in (*FLOWS, *DENOISERS) if not name.endswith("ddpm")]


def sampler(name, evaluations, levels=(0.002, 50.0)):
    """Return the scheme of a name like "flow white euler", for one channel."""
    family, kind, solver = name.split()
    common = {**SLABS, "solver": solver, "evaluations": evaluations, "noise": "white"}
    if family == "diffusion":
        settings = Diffusion(**common, target=kind, noise_levels=list(levels))
    elif kind == "white":
        settings = FlowMatching(**common, begin="white")
    else:
        settings = FlowMatching(**{**common, "noise": "initial"}, begin="linear", jitter=JITTER)
    return scheme_of(settings, Features(settings, 1.0, Scales()))


class ExactFlow(nn.Module):
    """What a perfect network of flow matching says: E[x₁ − x₀ | x_t, input] + x_t, for x₀ ~ N(s, j²), x₁ ~ N(m, V)."""

    def __init__(self, scheme):
        super().__init__()
        self.linear = scheme.settings.begin == "linear"

    def forward(self, x, noise, periodic, told):
        assert noise is None
        assert periodic
        at, t = x[:, -1:], told[:, 0].double().view(-1, 1, 1, 1)
        m, start = target_mean(x[:, :-1]), x[:, 1:2] if self.linear else 0
        v, j = POSTERIOR.power, JITTER**2 if self.linear else 1
        gain = (t * v - (1 - t) * j) / ((1 - t) ** 2 * j + t**2 * v)
        return m - start + filtered(gain, at - (1 - t) * start - t * m) + at


class ExactDenoiser(nn.Module):
    """What a perfect network of a diffusion says, from E[x₁ | x₁ + σ n] and the preconditioning of the papers.

    data: that itself. preconditioned: Karras et al. 2022, table 1 with σ_data = 1: D = c_skip x + c_out F(c_in x; ln σ
    / 4). noise: the n of Ho et al. 2020. All are given the noisy data scaled to unit variance.
    """

    def __init__(self, scheme):
        super().__init__()
        self.target = scheme.settings.target

    def forward(self, x, noise, periodic, told):
        assert noise is None
        assert periodic
        sigma = torch.exp(4 * told[:, 0].double()).view(-1, 1, 1, 1)
        noisy, m = x[:, -1:] * torch.sqrt(1 + sigma**2), target_mean(x[:, :-1])
        clean = m + filtered(POSTERIOR.power / (POSTERIOR.power + sigma**2), noisy - m)
        if self.target == "noise":
            return (noisy - clean) / sigma
        if self.target == "data":
            return clean
        skip, out = 1 / (sigma**2 + 1), sigma / torch.sqrt(sigma**2 + 1)
        return (clean - skip * noisy) / out


def exact(scheme):
    return ExactFlow(scheme) if isinstance(scheme.settings, FlowMatching) else ExactDenoiser(scheme)


class Still(nn.Module):
    """A network for which x does not move, so that a sample is its own beginning."""

    def __init__(self, scheme):
        super().__init__()
        self.scheme = scheme

    def forward(self, x, noise, periodic, told):
        at = x[:, -1:]
        if isinstance(self.scheme.settings, FlowMatching):
            return at
        s = torch.exp(4 * told[:, 0]).view(-1, 1, 1, 1)
        said = {"noise": 0 * at, "preconditioned": at * s, "data": at * torch.sqrt(1 + s**2)}
        return said[self.scheme.settings.target]


def target_mean(seen):
    """Return the mean of the target given the input: c alone, or c and small scales that are part of the target."""
    mean = POSTERIOR.mean(seen[:, :1])
    return mean + SMALL * seen[:, 1:2] if seen.shape[1] == 2 else mean


def gaussian(spectrum, seed, count=1):
    white = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return filtered(torch.sqrt(spectrum), white)


def observe(seed=1, count=1):
    """Return h and c, (count, 1, n, n)."""
    high = gaussian(PRIOR, seed, count)
    return high, filtered(WINDOW, high) + gaussian(OBSERVED_NOISE, seed + 1, count)


def seen_of(scheme, count, seed=1):
    """Return the input of `count` samples of one observation."""
    channels = [observe(seed)[1]]
    if scheme.features.sees_initial:
        channels.append(gaussian((K > 2).double(), seed + 2))
    return torch.cat(channels, dim=1).float().expand(count, -1, -1, -1)


def sample(scheme, network, seen, seed=100):
    """Make all passes over a periodic region."""
    noise = CellNoise(range(seed, seed + len(seen)), [(0, 0, 0)] * len(seen), SIDE)
    state = None
    for number in range(scheme.passes):
        state = scheme.run(number, network, Region(seen, state, noise, periodic=True))
        assert state.dtype == torch.float32
    assert state.shape == (len(seen), 1, SIDE, SIDE)
    return state.double()


def begin_of(scheme, seen):
    """Return the noise that samples begin with."""
    return sample(scheme, Still(scheme), seen)


def times_of(scheme):
    """Return the times, or noise levels, of all steps."""
    if not isinstance(scheme.settings, FlowMatching):
        return scheme.levels()
    steps = math.ceil(scheme.passes / (2 if scheme.settings.solver == "heun" else 1))
    return [i / steps for i in range(steps + 1)]


def flow_map(scheme, begin, seen):
    """Return where the exact equation of motion carries the beginnings: mode by mode, their deviation is stretched."""
    m, v = target_mean(seen), POSTERIOR.power
    if isinstance(scheme.settings, Diffusion):
        most = scheme.levels()[0]
        return m + filtered(torch.sqrt(v / (v + most**2)), begin - m)
    if scheme.settings.begin == "white":
        return m + filtered(torch.sqrt(v), begin)
    return m + filtered(torch.sqrt(v) / JITTER, begin - seen[:, 1:2])


def slope_of(scheme, seen):
    """Return dx/dt, or dx/dσ, of the exact equation of motion."""
    m, v = target_mean(seen), POSTERIOR.power

    def along_lines(x, t):
        linear = scheme.settings.begin == "linear"
        start, j = (seen[:, 1:2], JITTER**2) if linear else (0, 1)
        spread = (1 - t) ** 2 * j + t**2 * v
        return m - start + filtered((t * v - (1 - t) * j) / spread, x - (1 - t) * start - t * m)

    def along_noise(x, sigma):
        return filtered(sigma / (v + sigma**2), x - m)

    return along_noise if isinstance(scheme.settings, Diffusion) else along_lines


def integrate(scheme, slope, x, last_is_euler):
    """Integrate as textbooks do; Heun's last step may be Euler's."""
    times = times_of(scheme)
    for step, (now, after) in enumerate(itertools.pairwise(times)):
        first = slope(x, now)
        ahead = x + (after - now) * first
        if scheme.settings.solver == "heun" and not (last_is_euler and step == len(times) - 2):
            ahead = x + (after - now) * (first + slope(ahead, after)) / 2
        x = ahead
    return x


def rms(x):
    return float(x.square().mean().sqrt())


def test_the_posterior_is_that_of_the_observation():
    """Prior = power of mean plus posterior; and the errors of the mean, for 400 fields, have the posterior's power."""
    high, low = observe(count=400)
    mean = POSTERIOR.mean(low) + low
    within = 4 * torch.sqrt(2 / (MODES * 400))  # four standard errors: 4 % and less
    errors, parts = power(high - mean).mean(dim=(0, 1)), power(mean).mean(dim=(0, 1)) + POSTERIOR.power
    assert ((band_means(errors / POSTERIOR.power) - 1).abs() < within).all()
    assert ((band_means(parts / PRIOR) - 1).abs() < within).all()


@pytest.mark.parametrize("evaluations", [1, 2, 7, 8])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_passes_integrate_the_exact_equation_step_by_step(name, evaluations):
    """From the same beginning, passes and textbook steps differ by rounding, which one long step of Heun's amplifies.

    Its slope is (x − D) / σ: what is rounded at σ = 0.03, times half a step of 20.
    """
    if name.startswith("diffusion") and name.endswith("heun"):
        evaluations |= 1
    scheme = sampler(name, evaluations, levels=(0.03, 20.0))
    assert scheme.passes == evaluations
    seen = seen_of(scheme, 2)
    expected = integrate(scheme, slope_of(scheme, seen), begin_of(scheme, seen), evaluations % 2 == 1)
    found = sample(scheme, exact(scheme), seen)
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-3)


def error_of(name, evaluations):
    """Return the rms difference to what the exact equation of motion makes of the same beginning."""
    scheme = sampler(name, evaluations)
    seen = seen_of(scheme, 2)
    return rms(sample(scheme, exact(scheme), seen) - flow_map(scheme, begin_of(scheme, seen), seen))


@pytest.mark.parametrize("way", sorted({name.rpartition(" ")[0] for name in DETERMINISTIC}))
def test_what_finite_steps_cost_falls_with_the_order_of_the_solver(way):
    """Euler: as 1 / evaluations; Heun: as their square, with smaller errors for the same work."""
    few, many = 33, 133
    euler, heun = ([error_of(f"{way} {solver}", count) for count in (few, many)] for solver in ("euler", "heun"))
    for errors, order, within in ((euler, 1, 0.1), (heun, 2, 0.2)):
        assert math.log(errors[0] / errors[1]) / math.log(many / few) == pytest.approx(order, abs=within)
    assert heun[0] < euler[0]
    assert heun[1] < euler[1] / 5


def moments(name, evaluations):
    """Return of many samples, in bands: power of (their mean − that of the posterior) and of their deviations, over V.

    Samples of the posterior have 1 / SAMPLES and 1.
    """
    scheme = sampler(name, evaluations)
    seen = seen_of(scheme, SAMPLES)
    deviation = sample(scheme, exact(scheme), seen) - target_mean(seen)
    of_mean = power(deviation.mean(dim=0)) / POSTERIOR.power
    spread = power(deviation - deviation.mean(dim=0)).sum(dim=0) / (SAMPLES - 1) / POSTERIOR.power
    return band_means(of_mean)[0], band_means(spread)[0]


def variance_of_passes(scheme):
    """Return V(k) of so many steps in closed form: they are linear in x − m, and in the noise of every step."""
    if scheme.settings.solver != "ddpm":
        spike = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
        spike[..., 0, 0] = 1  # all modes at once
        nothing = torch.zeros(1, 1 + scheme.features.sees_initial, SIDE, SIDE, dtype=torch.float64)
        stretched = integrate(scheme, slope_of(scheme, nothing), spike, scheme.passes % 2 == 1)
        begun = times_of(scheme)[0] if isinstance(scheme.settings, Diffusion) else 1
        begun = JITTER if getattr(scheme.settings, "begin", None) == "linear" else begun
        return torch.fft.fft2(stretched).abs().square()[0, 0] * begun**2
    levels, v = scheme.levels(), POSTERIOR.power
    variance = torch.full_like(v, levels[0] ** 2)
    for now, after in itertools.pairwise(levels):
        gain, kept = v / (v + now**2), (after / now) ** 2
        variance = (gain + kept * (1 - gain)) ** 2 * variance + after**2 * (1 - kept)
    return variance


@pytest.mark.parametrize("name", [*FLOWS, *DENOISERS])
def test_samples_have_the_mean_and_the_variance_of_so_many_steps(name):
    """Four standard errors are allowed, √(2 / modes) of all samples: 3 to 11 %. Finite steps change up to half."""
    scheme = sampler(name, 21)
    mean, spread = moments(name, 21)
    expected = band_means(variance_of_passes(scheme) / POSTERIOR.power)
    assert ((spread / expected - 1).abs() < 4 * torch.sqrt(2 / (MODES * (SAMPLES - 1)))).all(), spread / expected
    assert (mean * SAMPLES / expected < 1 + 4 * torch.sqrt(2 / MODES)).all(), mean * SAMPLES


@pytest.mark.parametrize("name", [name for name in DENOISERS if name.endswith("ddpm")])
def test_the_ancestral_sampler_ends_at_the_posterior(name):
    """Its samples vary too little, by less the more steps it takes: four times as many leave a quarter to a third."""
    few, many = (1 - float((spread * MODES).sum() / SIDE**2) for _, spread in (moments(name, n) for n in (30, 120)))
    assert 0.05 < many < 0.15
    assert 2.5 < few / many < 4.5

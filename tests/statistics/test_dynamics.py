"""Flows against plane waves, linear theory and sums over all particles and pairs."""

import itertools

import numba
import numpy as np
import pytest
import torch
from scipy.integrate import quad

from supercosm.config import Cosmology
from supercosm.cosmology import growth
from supercosm.errors import DataError
from supercosm.initial import Phases, linear_displacement, linear_overdensity
from supercosm.mesh import paint
from supercosm.statistics import dynamics
from supercosm.statistics.power import compare, power, transform

BOX = 50.0
PLANCK = Cosmology()
GOOD = np.ones((3, 3))  # points that nothing is wrong with
WAVES = [((0, 3, 0), (0, 2, 0)), ((0, 2, 1), (5, 0, 0)), ((2, 1, -1), (0.4, -0.3, 1.1))]  # along k, across, neither


def wave(waves, direction, cells, phase=0.3):
    """Return e cos(k·x + phase) at x = i L/cells, (3, cells, cells, cells), and the same with a sine, float64."""
    x = np.arange(cells) / cells
    angle = 2 * np.pi * (waves[0] * x[:, None, None] + waves[1] * x[:, None] + waves[2] * x) + phase
    amplitude = np.array(direction, float)[:, None, None, None]
    return amplitude * np.cos(angle), np.sin(angle)


def cloud(count, seed=0):
    """Draw positions in the box, a third of them in clumps around its corner and a centre, and velocities."""
    generator = np.random.default_rng(seed)
    x = BOX * generator.random((count, 3))
    x[::3] = BOX / 2 * generator.integers(0, 2, (len(x[::3]), 1)) + generator.normal(size=(len(x[::3]), 3))
    x = np.mod(x, BOX).astype(np.float32)
    return np.where(x < BOX, x, 0), (300 * generator.normal(size=(count, 3)) + [50, 0, -80]).astype(np.float32)


def derivatives(modes, scale=1.0):
    return torch.cat([dynamics.divergence_modes(modes, BOX, scale), dynamics.curl_modes(modes, BOX, scale)])


@pytest.mark.parametrize(("waves", "direction"), WAVES)
@pytest.mark.parametrize("cells", [12, 13])
def test_divergence_and_curl_of_a_plane_wave(waves, direction, cells):
    """−∇·v = (k·e) sin and ∇×v = −(k × e) sin of a wave e cos, over the scale; float32 leaves 1e-6."""
    field, sine = wave(waves, direction, cells)
    k, scale = 2 * np.pi / BOX * np.array(waves), 7.0
    modes = derivatives(transform(field, 3, cells // 2), scale)
    found = torch.fft.irfftn(modes, s=(cells,) * 3, dim=(1, 2, 3), norm="forward")
    amplitudes = np.array([k @ direction, *-np.cross(k, direction)]) / scale
    assert np.allclose(found, amplitudes[:, None, None, None] * sine, rtol=0, atol=1e-6 * np.linalg.norm(amplitudes))


@pytest.mark.parametrize(("waves", "direction"), WAVES)
def test_spectra_of_a_plane_wave(waves, direction):
    """Each of its two modes has V/4 times |e|², (k·e)² and |k × e|²; other bins have nothing. Float32 leaves 1e-6."""
    field, _ = wave(waves, direction, 12)
    k, scale, n = 2 * np.pi / BOX * np.array(waves), 7.0, np.linalg.norm(waves)
    found = dynamics.compare_flows(field, -2 * field, BOX, np.array([0.5, n - 0.01, n + 0.01, 6]), scale)
    total = BOX**3 / 2 * np.sum(np.square(direction))
    parts = {"field": direction, "divergence": k @ direction / scale, "curl": np.cross(k, direction) / scale}
    for name, amplitude in parts.items():
        spectra = getattr(found, name)
        for values, factor in ((spectra.first, 1), (spectra.second, 4), (spectra.cross, -2)):
            expected = np.array([0, factor * BOX**3 / 2 * np.sum(np.square(amplitude)), 0])
            assert values * spectra.modes == pytest.approx(expected, rel=3e-6, abs=1e-10 * total)


@pytest.mark.parametrize("keep", [5, 8])
def test_growing_and_vortical_parts_add_up_in_every_mode(keep):
    """k² |v|² = |k·v|² + |k × v|², to 1e-5 in float32; on a whole even mesh Nyquist planes have no derivative."""
    modes = transform(torch.randn((3, 16, 16, 16), generator=torch.Generator().manual_seed(1)), 3, keep)
    whole = np.fft.fftfreq(modes.shape[1], 1 / modes.shape[1])
    n = np.stack(np.meshgrid(whole, whole, np.arange(keep + 1), indexing="ij"))
    inside = np.all(np.abs(n) < 8, axis=0)
    expected = np.sum((2 * np.pi / BOX * n) ** 2, axis=0) * (modes.abs() ** 2).sum(0).numpy()
    assert np.allclose((derivatives(modes).abs() ** 2).sum(0)[inside], expected[inside], rtol=1e-5, atol=0)
    alternating = transform(np.indices((3, 16, 16, 16))[1] % 2 - 0.5, 3, 8)
    assert alternating.abs().max() == 0.5
    assert not derivatives(alternating).any()


@pytest.mark.parametrize("a", [0.05, 0.5, 1.0])
def test_growing_rate_is_that_of_the_growth_integral(a):
    """D ∝ E ∫ da/(a E)³ (Heath 1977), so f = d ln E/d ln a + 1/(a² E³ ∫); 1e-5 is the growth table's start at 1e-4."""
    E = np.sqrt((Omega := PLANCK.Omega_m) / a**3 + 1 - Omega)
    integral = quad(lambda x: (x / (Omega + (1 - Omega) * x**3)) ** 1.5, 0, a, epsabs=0)[0]
    f = -1.5 * Omega / a**3 / E**2 + 1 / (a**2 * E**3 * integral)
    assert dynamics.growing_rate(PLANCK, a) == pytest.approx(100 * a * E * f, rel=1e-5)


def test_zeldovich_flow_has_no_vorticity_and_the_divergence_of_its_density():
    """v = a H f D ψ has θ = D δ mode by mode and ω = 0, as far as float32 goes: 1e-5, and 1e-9 in power."""
    a, box, n, edges = 0.5, 200.0, 24, np.arange(1.0, 12)
    phases, rate, D = Phases(3), dynamics.growing_rate(PLANCK, 0.5), growth(PLANCK, a).D
    flow = rate * D * linear_displacement(phases, PLANCK, box, n)
    found = dynamics.compare_flows(flow, flow, box, edges, rate)
    assert np.all(found.curl.first < 1e-9 * found.divergence.first)
    density = transform(linear_overdensity(phases, PLANCK, box, n)[None], 3, n // 2)
    theta = dynamics.divergence_modes(transform(flow, 3, n // 2), box, rate)
    assert (theta - D * density).abs().max() < 1e-5 * D * density.abs().max()
    assert found.divergence.first == pytest.approx(D**2 * power(density, density, box, edges, n).first, rel=1e-5)


def test_window_is_divided_out_of_fields():
    """As in `compare`, of every spectrum: on the axes the first bin's modes are raised by sinc⁻⁴(1/16)."""
    first, second = torch.randn((2, 3, 16, 16, 16), generator=torch.Generator().manual_seed(2))
    edges = np.array([0.5, 1.1, 4, 8])
    plain, found = (dynamics.compare_flows(first, second, BOX, edges, 1.0, window) for window in (0, 2))
    assert np.array_equal(found.field.cross, compare(first, second, BOX, edges, window=2).cross)
    for name in ("field", "divergence", "curl"):
        ratio = getattr(found, name).first / getattr(plain, name).first
        assert ratio[0] == pytest.approx(np.sinc(1 / 16) ** -4, rel=1e-6)


def test_mesh_holds_the_mean_of_its_cells_and_empty_cells_the_nearest_particle():
    """Against weights Π max(0, 1 − |x − centre|/h) of every particle in every cell; hundreds of cells are empty.

    Weights of float32 are right to 1e-6 of the largest sum, so velocities to 1e-4 in cells of mass above 0.01.
    """
    (x, v), cells = cloud(300), 12
    centres = (np.stack(np.indices((cells,) * 3), -1).reshape(-1, 3) + 0.5) * BOX / cells
    apart = np.abs((x - centres[:, None] + BOX / 2) % BOX - BOX / 2)
    weights = np.prod(np.maximum(0, 1 - apart * cells / BOX), axis=-1)
    mass, momentum, square = weights.sum(1), weights @ v.astype(float), np.sum(apart**2, axis=-1)
    painted = dynamics.paint_momentum(x, v, BOX, cells).reshape(4, -1).T.numpy()
    expected = cells**3 / len(x) * np.column_stack([mass, momentum])
    assert np.all(np.abs(painted - expected) < 1e-6 * np.abs(expected).max(0))
    found = dynamics.mesh_velocity(x, v, BOX, cells).reshape(3, -1).T.numpy()
    full, empty = mass > 0.01, mass == 0
    assert min(full.sum(), empty.sum()) > 300
    assert np.abs(found[full] - momentum[full] / mass[full, None]).max() < 1e-4 * np.abs(v).max()
    assert np.array_equal(found[empty], v[square[empty].argmin(1)])


@pytest.mark.parametrize("cells", [1, 16])
def test_painting_conserves_mass_and_momentum(cells):
    """Sums of float32 numbers: 1e-5. Density is that of `paint`; uniform flow is in proportion to it."""
    x, v = cloud(5000)
    found = dynamics.paint_momentum(x, v, BOX, cells)
    assert found.double().mean((1, 2, 3)).numpy() == pytest.approx([1, *v.astype(float).mean(0)], rel=1e-5)
    assert np.allclose(found[0], paint(x, BOX, cells), rtol=1e-6, atol=0)
    uniform = dynamics.paint_momentum(x, np.tile([100, 0, -250], (5000, 1)), BOX, cells)
    assert np.allclose(uniform[1:], uniform[0] * torch.tensor([100, 0, -250])[:, None, None, None], rtol=1e-5, atol=0)
    origin, edge = (dynamics.mesh_velocity([[x] * 3, [20.0] * 3], v[:2], BOX, cells) for x in (0.0, BOX))
    assert torch.equal(origin, edge)


@pytest.mark.parametrize("count", [1, 40, 5000])
def test_uniform_flow_is_found_in_every_cell(count):
    (x, _), speed = cloud(count), np.array([100, 0, -250])
    found = dynamics.mesh_velocity(x, np.tile(speed, (count, 1)), BOX, 16)
    assert np.allclose(found, speed[:, None, None, None], rtol=1e-5, atol=0)


@pytest.mark.parametrize("edges", [(0, 0.4, 0.7), (0, 1, 2, 4), (3, 8, 16), (1, 10, 17, 25.0)])
def test_pairwise_velocity_is_that_of_all_pairs(edges):
    """With 64³ (the most), 12³ and 3³ cells and a single one; across the faces, and without the pair at one place."""
    x, v = cloud(500)
    x[1] = x[0]
    i, j = np.triu_indices(len(x), 1)
    r = (x[j].astype(float) - x[i] + BOX / 2) % BOX - BOX / 2
    relative, distance = v[j].astype(float) - v[i], np.linalg.norm(r, axis=1)
    wraps = np.any(np.abs(x[j] - x[i]) > BOX / 2, axis=1)
    found = dynamics.pairwise_velocity(x, v, BOX, np.array(edges))
    assert (found.used, found.given) == (500, 500)
    for b, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (distance >= low) & (distance < high) & (distance > 0)
        assert min(wraps[inside].sum(), (~wraps[inside]).sum()) > 5
        radial = np.sum(relative[inside] * r[inside], axis=1) / distance[inside]
        across = np.mean(np.sum(relative[inside] ** 2, axis=1) - radial**2)
        assert found.pairs[b] == inside.sum()
        values = [found.r[b], found.mean[b], found.radial[b], found.transverse[b], found.sigma[b]]
        expected = [distance[inside].mean(), radial.mean(), radial.std(), np.sqrt(across / 2)]
        assert values == pytest.approx([*expected, np.sqrt((radial.var() + across) / 3)], rel=1e-9)


def test_bins_of_separation_are_half_open_and_may_be_empty():
    """One pair, 3 Mpc/h apart across a face: r̂ = −x, so that v = (30, 4, 0) is infall."""
    x, v = np.array([[1, 2, 3], [48, 2, 3.0]]), np.array([[0, 0, 0], [30, 4, 0.0]])
    found = dynamics.pairwise_velocity(x, v, BOX, np.array([1.0, 3, 5]))
    assert found.pairs.tolist() == [0, 1]
    assert dynamics.pairwise_velocity(x, v, BOX, np.array([1.0, 3])).pairs.tolist() == [0]
    for values, expected in ((found.r, 3), (found.mean, -30), (found.radial, 0), (found.transverse, np.sqrt(8))):
        assert np.array_equal(values, [np.nan, expected], equal_nan=True)


def test_infall_against_the_expansion():
    """v = −H r: so is v₁₂ of every pair, with no scatter but that of r in its bin and nothing across; 1e-5 is float32.

    All points lie within half the box, so that no pair is nearer across its faces.
    """
    x = (10 + 20 * np.random.default_rng(6).random((800, 3))).astype(np.float32)
    found = dynamics.pairwise_velocity(x, -70 * (x - 20), BOX, np.array([0.5, 2, 5, 15]))
    assert found.pairs.min() > 100
    assert found.mean == pytest.approx(-70 * found.r, rel=1e-5)
    assert np.all(found.radial < 70 * np.array([1.5, 3, 10]) / 2)
    assert np.all(found.transverse < 1e-5 * 70 * 35)


def test_points_are_chosen_by_seed_and_index():
    """Of five points on a ruler every pair has its own separation: two of them are told by it, wherever they lie."""
    rulers = np.array([0, 1, 4, 9, 11.0]), np.array([13, 2, 0, 9, 3.0])
    pair_of = [{abs(a[i] - a[j]): (i, j) for i, j in itertools.combinations(range(5), 2)} for a in rulers]
    chosen = []
    for ruler, names in zip(rulers, pair_of, strict=True):
        x, edges = ruler[:, None] * [1, 0, 0], np.array([0.5, 20])
        assert dynamics.pairwise_velocity(x, 0 * x, BOX, edges, most=5).pairs[0] == len(names) == 10
        found = [dynamics.pairwise_velocity(x, 0 * x, BOX, edges, most=2, seed=seed) for seed in range(20)]
        assert {(one.used, one.given, one.pairs[0]) for one in found} == {(2, 5, 1)}
        chosen.append([names[round(one.r[0])] for one in found])
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) > 5


def test_same_bits_on_any_number_of_threads():
    before, found = numba.get_num_threads(), []
    x, v = cloud(4000)
    try:
        for threads in (1, 2):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            velocity = dynamics.mesh_velocity(x, v, BOX, 16)
            flow = dynamics.compare_flows(velocity, velocity, BOX, np.array([0.5, 3, 8]))
            pairs = dynamics.pairwise_velocity(x, v, BOX, np.array([1.0, 2, 5]))
            arrays = [velocity, dynamics.paint_momentum(x, v, BOX, 16), pairs.mean, pairs.radial, pairs.transverse]
            arrays += [flow.divergence.first, flow.curl.first]
            found.append(np.concatenate([np.asarray(one).ravel() for one in arrays]))
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(*found)


@pytest.mark.parametrize(
    ("positions", "velocities", "message"),
    [
        (GOOD, np.ones((4, 3)), r"positions \(3, 3\) and velocities \(4, 3\) do not fit"),
        (np.ones((3, 2)), np.ones((3, 2)), r"both must be \(N, 3\)"),
        (np.ones((0, 3)), np.ones((0, 3)), "at least [12] points, but there are 0"),
        (GOOD, [[np.nan, 0, 0], [0, np.inf, 0], [0, 0, 0]], "2 position or velocity components are NaN"),
        ([[1, np.nan, 1]] * 3, GOOD, "3 position or velocity components are NaN"),
        (GOOD - 1.1, GOOD, r"from -0.1 to -0.1 Mpc/h; wrap them into \[0, 50\)"),
        (GOOD * [1, 50.1, 1], GOOD, "from 1 to 50.1 Mpc/h"),
    ],
)
def test_impossible_points_are_refused(positions, velocities, message):
    for function in (dynamics.paint_momentum, dynamics.mesh_velocity):
        with pytest.raises(DataError, match=message):
            function(positions, velocities, BOX, 4)
    with pytest.raises(DataError, match=message):
        dynamics.pairwise_velocity(positions, velocities, BOX, np.array([1.0, 2]))


def test_other_impossible_input_is_refused():
    with pytest.raises(DataError, match="at least 2 points, but there are 1"):
        dynamics.pairwise_velocity(GOOD[:1], GOOD[:1], BOX, np.array([1.0, 2]))
    for edges in ([], [1.0], [2.0, 2], [-1.0, 2], [1.0, np.nan], [np.nan, 2], [1, np.nan, 2], [1.0, 25.1]):
        with pytest.raises(DataError, match="to at most 25, half the box"):
            dynamics.pairwise_velocity(GOOD, GOOD, BOX, np.array(edges))
    with pytest.raises(DataError, match="a mesh of 0 cells per side"):
        dynamics.mesh_velocity(GOOD, GOOD, BOX, 0)
    field, broken, edges = np.zeros((3, 8, 8, 8)), np.full((3, 8, 8, 8), np.nan), np.array([0.5, 4])
    with pytest.raises(DataError, match=r"\(3, 8, 8, 8\) and \(3, 6, 6, 6\) cannot be compared"):
        dynamics.compare_flows(field, np.zeros((3, 6, 6, 6)), BOX, edges)
    shapes = [np.zeros(shape) for shape in ((1, 8, 8, 8), (3, 8, 8, 4), (3, 8, 8), (3, 2, 2, 2))]
    for bad in (*shapes, broken):
        message = "1536 values of the vector field are NaN" if bad is broken else "is not on a cubic mesh"
        with pytest.raises(DataError, match=message):
            dynamics.compare_flows(np.zeros(bad.shape), bad, BOX, edges)

"""Crops: functions of (seed, index), periodic, and turned like the physical fields they are."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from learning import TEST_SEED, TRAINING_SEED, configuration

from supercosm.caching import Cache
from supercosm.crops import Crops, StepSampler, check_files, transform
from supercosm.errors import DataError
from supercosm.fields import log_density
from supercosm.mesh import paint, upsample
from supercosm.pairs import PairFile
from supercosm.sharing import Share
from supercosm.snapshot import lattice_positions

SYMMETRIES = list(itertools.product(itertools.permutations(range(3)), itertools.product([False, True], repeat=3)))
KINDS = {
    "displacement": {"condition": ["low", "initial"]},
    "density": {"condition": ["low", "initial"], "fields": "density"},
    "slabs": {"condition": ["low", "initial"], "fields": "density", "dimensions": 2},
}


def crops(boxes, kind="displacement", seed=0, augment=True, seeds=(TRAINING_SEED, TEST_SEED), **model):
    files = [PairFile(boxes.pairs(s)) for s in seeds]
    settings = configuration(**KINDS[kind], **model).models["model"]
    return Crops(files, settings, 4, seed=seed, augment=augment)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", KINDS)
def test_a_crop_is_a_function_of_seed_and_index_alone(boxes, kind):
    first, second = crops(boxes, kind), crops(boxes, kind)
    for index in (7, 3, 0):
        found = first[index]
        first[index + 1]  # what was drawn before does not matter
        assert same(found, second[index])
    assert not same(first[0], first[1])
    assert not same(first[0], crops(boxes, kind, seed=1)[0])
    assert same(first[5], pickle.loads(pickle.dumps(first))[5])


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("displacement", {"low": (6, 18, 18, 18), "small": (3, 16, 16, 16), "high": (6, 16, 16, 16)}),
        ("density", {"low": (1, 18, 18, 18), "small": (1, 16, 16, 16), "high": (1, 16, 16, 16)}),
        ("slabs", {"low": (1, 18, 18), "small": (1, 16, 16), "high": (1, 16, 16)}),
    ],
)
def test_shapes_of_crops(boxes, kind, shapes):
    crop = crops(boxes, kind)[0]
    assert {name: tuple(field.shape) for name, field in crop.items()} == shapes
    assert all(field.dtype == torch.float32 and torch.isfinite(field).all() for field in crop.values())


def find(whole, piece):
    """Return the origins, multiples of four, at which a periodic field holds a piece."""
    dimensions, side = piece.ndim - 1, piece.shape[-1]
    for start in itertools.product(range(0, whole.shape[-1], 4), repeat=dimensions):
        rolled = np.roll(whole, [-s for s in start], axis=range(1, 1 + dimensions))
        if np.array_equal(rolled[(slice(None), *(slice(side),) * dimensions)], piece):
            yield start


def test_cubes_are_periodic_pieces_of_the_box_and_all_fields_lie_on_each_other(boxes):
    file = PairFile(boxes.pairs(TEST_SEED))
    data = crops(boxes, seeds=[TEST_SEED], augment=False)
    high = np.concatenate([file.read("high/displacement"), file.read("high/velocity")])
    low = np.concatenate([file.read("low/displacement"), file.read("low/velocity")])
    smooth, starts = upsample(torch.from_numpy(low), 32), set()
    for index in range(8):
        crop = data[index]
        (start,) = find(high, crop["high"].numpy())
        starts.add(start)
        np.testing.assert_array_equal(crop["small"], file.block("initial/small_scales", start, 16))
        border = torch.roll(smooth, [1 - s for s in start], dims=(1, 2, 3))[:, :18, :18, :18]
        torch.testing.assert_close(crop["low"], border, rtol=1e-4, atol=1e-3)
    assert len(starts) > 4
    assert any(max(start) > 16 for start in starts), "no crop crossed the boundary"


def test_squares_come_from_all_three_projections(boxes):
    file = PairFile(boxes.pairs(TEST_SEED))
    data = crops(boxes, "slabs", seeds=[TEST_SEED], augment=False)
    slabs, small = log_density(file.read("high/slabs")), file.read("initial/slabs")
    axes = set()
    for index in range(12):
        crop = data[index]
        places = [
            (axis, slab, start)
            for axis, slab in itertools.product(range(3), range(4))
            for start in find(slabs[axis, slab][None], crop["high"].numpy())
        ]
        assert len(places) == 1
        axis, slab, start = places[0]
        axes.add(axis)
        rolled = np.roll(small[axis, slab], [-s for s in start], axis=(0, 1))[:16, :16]
        np.testing.assert_array_equal(crop["small"][0], rolled)
    assert axes == {0, 1, 2}


@pytest.mark.parametrize(("axes", "flips"), SYMMETRIES)
def test_turned_fields_are_those_of_turned_particles(axes, flips):
    """Turn the particles themselves, and read displacement, velocity and density anew: the known answer."""
    n, box = 6, 12.0
    random = np.random.default_rng(11)
    displacement, velocity = random.normal(0, 0.7, (2, 3, n, n, n)).astype(np.float32)
    centred = lattice_positions(displacement, box) - box / 2
    signs = np.where(flips, -1, 1)
    positions = (centred[:, axes] * signs + box / 2) % box
    lattice = (np.indices((n, n, n)).reshape(3, -1).T + 0.5) * box / n - box / 2
    places = np.round((lattice[:, axes] * signs + box / 2) * n / box - 0.5).astype(int)
    order = np.empty(n**3, int)
    order[np.ravel_multi_index(places.T, (n, n, n))] = np.arange(n**3)

    both = torch.from_numpy(np.concatenate([displacement, velocity]))
    turned = transform(both, axes, flips).numpy()
    distance = np.abs(lattice_positions(turned[:3], box) - positions[order])
    assert np.minimum(distance, box - distance).max() < 1e-5
    expected = (velocity.reshape(3, -1).T[:, axes] * signs)[order]
    np.testing.assert_allclose(turned[3:].reshape(3, -1).T, expected, rtol=1e-6)

    density = paint(lattice_positions(displacement, box), box, n)
    moved = paint(positions.astype(np.float32), box, n)
    torch.testing.assert_close(transform(density[None], axes, flips)[0], moved, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_scalar_turns_as_a_vector():
    x = torch.linspace(0, 2 * torch.pi, 13)[:-1]
    a, b, c = torch.meshgrid(x, x, x, indexing="ij")
    scalar = (torch.sin(a) + torch.cos(2 * b) * torch.sin(c))[None]

    def gradient(f):
        return torch.cat([torch.roll(f, -1, d) - torch.roll(f, 1, d) for d in (1, 2, 3)])

    for axes, flips in SYMMETRIES:
        torch.testing.assert_close(
            transform(gradient(scalar), axes, flips),
            gradient(transform(scalar, axes, flips)),
            atol=1e-6,
            rtol=0,
        )


@pytest.mark.parametrize(("kind", "count", "draws"), [("displacement", 48, 300), ("slabs", 8, 60)])
def test_all_symmetries_of_cube_and_square_are_drawn(boxes, monkeypatch, kind, count, draws):
    data, seen = crops(boxes, kind, seeds=[TEST_SEED]), set()
    data._cube = data._slab = lambda *_: {"high": None}
    monkeypatch.setattr("supercosm.crops.transform", lambda _, *symmetry: seen.add(tuple(map(tuple, symmetry))))
    for index in range(draws):
        data[index]
    assert len(seen) == count


def test_epochs_of_the_sampler_follow_on_each_other():
    sampler = StepSampler(3)
    assert list(sampler) == [0, 1, 2]
    sampler.set_epoch(2)
    assert list(sampler) == [6, 7, 8]
    assert len(sampler) == 3


@pytest.mark.parametrize(("batch", "world"), [(4, 2), (6, 3), (2, 1)])
def test_processes_share_every_batch(batch, world):
    """Together they take the crops that one process takes, batch by batch; also what is left of an epoch."""
    for seen in (0, batch):
        samplers = [StepSampler(3 * batch, seen, batch, Share(rank, world)) for rank in range(world)]
        assert {len(sampler) for sampler in samplers} == {3 * batch // world}
        for epoch in (0, 1):
            taken = []
            for sampler in samplers:
                sampler.set_epoch(epoch)
                taken.append(list(sampler))
            share = batch // world
            steps = [[crops[i : i + share] for i in range(0, len(crops), share)] for crops in taken]
            together = [crop for parts in zip(*steps, strict=True) for part in parts for crop in part]
            expected = StepSampler(3 * batch, seen)
            expected.set_epoch(epoch)
            assert together == list(expected)


FIELD = 6 * 16**3 * 4  # bytes of a low run's displacement and velocity


@pytest.mark.parametrize("kind", ["displacement", "density"])
@pytest.mark.parametrize("fields", [0.03, 0.5, 1.1])
def test_fields_that_are_kept_have_a_bound_and_crops_do_not_depend_on_it(boxes, kind, fields):
    """A field is kept while there is room for it, then makes room for another one."""
    files = [PairFile(boxes.pairs(s)) for s in (1, 2, 3)]
    settings = configuration(**KINDS[kind], training={"skew": "knot"}).models["model"]
    limit = FIELD * fields
    free = Crops(files, settings, 4, seed=0, augment=True)
    bound = Crops(files, settings, 4, seed=0, augment=True, cache=Cache(limit))
    most = 0
    for index in range(8):
        assert same(bound[index], free[index])
        assert bound.cache.held <= limit
        assert bound.cache.held == sum(array.nbytes for array in bound.cache._arrays.values())
        most = max(most, bound.cache.held)
    assert free.cache.held > limit or kind == "density"
    assert bool(most) == (fields > 0.1), "the smallest, 4 kB that say where which environment is, does not fit"
    assert pickle.loads(pickle.dumps(bound)).cache.held == 0, "processes that read crops begin with nothing"


def test_crops_of_other_files_may_share_what_is_kept(boxes):
    settings, shared = configuration(training={"skew": "knot"}).models["model"], Cache(FIELD * 1.5)
    files = [[PairFile(boxes.pairs(seed))] for seed in (1, 2)]
    free = [Crops(own, settings, 4, seed=0, augment=True) for own in files]
    together = [Crops(own, settings, 4, seed=0, augment=True, cache=shared) for own in files]
    for index in range(3):
        for alone, one in zip(free, together, strict=True):
            assert same(one[index], alone[index])
            assert 0 < shared.held <= shared.limit


def test_what_was_not_used_for_longest_makes_room():
    cache, made = Cache(limit=250), []

    def ask(key, size=100):
        return len(cache.get(key, lambda: made.append(key) or np.zeros(size, np.uint8)))

    for key in "abac":  # b is the oldest when c needs room
        ask(key)
    assert made == ["a", "b", "c"]
    for key in "acb":
        ask(key)
    assert made == ["a", "b", "c", "b"]
    assert ask("large", 300) == 300
    assert ask("large", 300) == 300
    assert made[-2:] == ["large", "large"], "there is never room for it, and nothing else goes"
    assert cache.held == 200


def test_boxes_that_do_not_belong_together_are_refused(boxes):
    settings = configuration(**KINDS["displacement"]).models["model"]
    now, earlier = PairFile(boxes.pairs(1)), PairFile(boxes.pairs(1, "_a0.5000"))
    with pytest.raises(DataError, match=r"has scale_factor = 0\.5.*train on pairs of one kind"):
        check_files([now, earlier], settings, 16)
    with pytest.raises(DataError, match=r"training\.crop = 64 is larger than the boxes of 32"):
        check_files([now], settings, 64)
    check_files([now, earlier], configuration(told=["scale_factor"]).models["model"], 16)
    now.has_initial = False
    with pytest.raises(DataError, match=r"holds no initial conditions.*use condition: \[low\]"):
        check_files([now], settings, 16)


ENSEMBLES = {"displacement": {}, "density": {"fields": "density"}, "slabs": {"fields": "density", "dimensions": 2}}


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_crops_of_ensembles_carry_draws_of_small_scales_from_elsewhere(boxes, kind):
    """As strong as their own, and correlated with them no more than draws of the prior are: 20 crops, rms 0.1 each."""
    files = [PairFile(boxes.pairs(s)) for s in (TRAINING_SEED, TEST_SEED)]
    settings = configuration(family="ensemble", **ENSEMBLES[kind]).models["model"]
    found = Crops(files, settings, 4, seed=0, augment=True)
    assert same(found[3], Crops(files, settings, 4, seed=0, augment=True)[3])
    powers, correlations = [], []
    for index in range(20):
        crop = found[index]
        own, *draws = (crop[name].flatten().double() for name in ("small", "drawn0", "drawn1"))
        assert own.shape == draws[0].shape
        powers.append([float(x.square().mean()) for x in (own, *draws)])
        correlations += [float(a @ b / (a.norm() * b.norm())) for a, b in itertools.combinations((own, *draws), 2)]
    own, *draws = np.mean(powers, axis=0)
    assert draws == pytest.approx([own, own], rel=0.2)
    assert abs(np.mean(correlations)) < 0.05
    assert np.max(np.abs(correlations)) < 0.9


@pytest.mark.parametrize("model", [{"family": "ensemble", "noise": "white"}, {"noise": "initial"}])
def test_other_crops_carry_no_draws(boxes, model):
    settings = configuration(**model).models["model"]
    found = Crops([PairFile(boxes.pairs(TRAINING_SEED))], settings, 4, seed=0, augment=True)
    assert not {"drawn0", "drawn1"} & set(found[0])

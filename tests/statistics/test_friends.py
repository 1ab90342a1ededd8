"""Friends of friends against brute force, under the symmetries of the box, and at the limits."""

import numba
import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from supercosm.errors import DataError
from supercosm.snapshot import read_snapshot
from supercosm.statistics.friends import friends_of_friends

BOX = 64.0


def brute_force(positions, box, length):
    """Label particles by the smallest index in their group, from all pairs of a k-d tree."""
    count = len(positions)
    pairs = cKDTree(positions.astype(float) % box, boxsize=box).query_pairs(length, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    groups, group = connected_components(graph, directed=False)
    smallest = np.full(groups, count)
    np.minimum.at(smallest, group, np.arange(count))
    return smallest[group]


def clustered(count, seed=0):
    """Half the particles in 300 clumps with ρ ∝ r^-2 and of all sizes, half anywhere, at multiples of 2^-14.

    So sums of positions and whole numbers are exact, and a shifted box holds the same distances to the last bit.
    """
    random = np.random.default_rng(seed)
    half = count // 2
    clump = random.choice(300, half, p=random.dirichlet(np.full(300, 0.3)))
    centres = random.uniform(0, BOX, (300, 3))
    centres[:8] = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * BOX  # one, cut in eight
    direction = random.normal(size=(half, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    members = centres[clump] + direction * 2 * random.random((half, 1))
    points = np.concatenate([members, random.uniform(0, BOX, (count - half, 3))])
    return (np.floor(random.permutation(points) * 2**14) / 2**14 % BOX).astype(np.float32)


@pytest.fixture(scope="module")
def points():
    return clustered(64**3)


@pytest.fixture(scope="module")
def labels(points):
    return friends_of_friends(points, BOX, 0.2)


def test_groups_are_those_of_brute_force(points, labels):
    """64³ particles, b = 0.2: the labels agree to the last one, groups cut by the boundary included."""
    assert np.array_equal(labels, brute_force(points, BOX, 0.2))
    largest = points[labels == np.bincount(labels).argmax()]
    cut = [np.ptp(points[labels == g], axis=0).max() > BOX / 2 for g in np.flatnonzero(np.bincount(labels) > 50)]
    assert len(largest) > 1000
    assert sum(cut) >= 1


@pytest.mark.parametrize("length", [0.06, 0.6, 1.1, 12.8])
def test_any_length_gives_the_groups_of_brute_force(length):
    """From 1850 cells per side to nine, the fewest, where cells two apart are almost the whole box."""
    points = clustered(4000, seed=1)
    assert np.array_equal(friends_of_friends(points, BOX, length), brute_force(points, BOX, length))


def test_groups_of_a_simulation_are_those_of_brute_force(tiny_simulations):
    snapshot = read_snapshot(tiny_simulations[1] / "high.hdf5")
    length = 0.2 * snapshot.box_size / snapshot.side
    found = friends_of_friends(snapshot.positions, snapshot.box_size, length)
    assert np.array_equal(found, brute_force(snapshot.positions, snapshot.box_size, length))
    assert np.bincount(found).max() > 100


def test_groups_move_with_the_box(points, labels):
    moved = ((points + np.array([17, 31.5, 63], np.float32)) % BOX).astype(np.float32)
    assert np.array_equal(friends_of_friends(moved, BOX, 0.2), labels)
    turned = np.ascontiguousarray(points[:, [2, 0, 1]])
    assert np.array_equal(friends_of_friends(turned, BOX, 0.2), labels)


def test_groups_do_not_depend_on_the_order_of_particles(points, labels):
    order = np.random.default_rng(2).permutation(len(points))
    shuffled = friends_of_friends(points[order], BOX, 0.2)
    assert np.array_equal(shuffled[shuffled], shuffled)
    smallest = np.full(len(points), len(points))  # the smallest original index in each shuffled group
    np.minimum.at(smallest, shuffled, order)
    assert np.array_equal(smallest[shuffled], labels[order])


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread")
def test_threads_do_not_matter(points, labels):
    threads = numba.get_num_threads()
    try:
        for number in (1, 2):
            numba.set_num_threads(number)
            assert np.array_equal(friends_of_friends(points, BOX, 0.2), labels)
    finally:
        numba.set_num_threads(threads)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_chain_holds_exactly_up_to_the_linking_length(axis):
    """Links of 1/4, round the whole box: one group at length 1/4, none below."""
    chain = np.full((256, 3), 0.125, np.float32)
    chain[:, axis] = np.arange(256) * 0.25
    assert np.all(friends_of_friends(chain, BOX, 0.25) == 0)
    assert np.array_equal(friends_of_friends(chain, BOX, 0.2499), np.arange(256))


@pytest.mark.timeout(60)
def test_dense_clumps_cost_no_square():
    """300 000 particles in one point, and as many just beyond the length: 10^11 pairs would take minutes."""
    points = np.full((600_000, 3), 10.0, np.float32)
    points[300_000:, 0] = 10.51
    labels = friends_of_friends(points, BOX, 0.5)
    assert np.array_equal(np.unique(labels), [0, 300_000])
    assert np.all(friends_of_friends(points, BOX, 0.52) == 0)


def test_the_far_side_of_the_box_is_its_near_side():
    points = np.array([[BOX, 5, 5], [0.05, 5, 5], [BOX - 0.05, 5, 5], [30, 5, 5]], np.float32)
    assert np.array_equal(friends_of_friends(points, BOX, 0.06), [0, 0, 0, 3])
    assert np.array_equal(friends_of_friends(points[:1], BOX, 0.06), [0])


@pytest.mark.parametrize(
    ("change", "length", "message"),
    [
        (lambda p: p * np.nan, 1.0, "4 of 4 particles are NaN"),
        (lambda p: p - 5, 1.0, "positions run from -"),
        (lambda p: p + 64, 1.0, "in a box of 64 Mpc/h; wrap them"),
        (lambda p: p[:0], 1.0, "hold no particles"),
        (lambda p: p[:, :2], 1.0, r"shape \(4, 2\)"),
        (lambda p: p, 13.0, "at most a fifth of the box"),
        (lambda p: p, 0.0, "must be positive"),
        (lambda p: p, np.nan, "must be positive"),
        (lambda p: p, 1e-3, "take at least 0.05"),
    ],
)
def test_what_has_no_groups_is_refused(change, length, message):
    points = np.random.default_rng(3).uniform(1, 4, (4, 3)).astype(np.float32)
    with pytest.raises(DataError, match=message):
        friends_of_friends(change(points), BOX, length)

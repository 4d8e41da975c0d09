"""Random numbers of a step: frozen, keyed, and of the shapes that the manifest asks for."""

import itertools

import numpy as np
import pytest

from slfac.device.draws import draw
from slfac.wire.manifest import RandomSpec

pytestmark = pytest.mark.device

SPECS = (
    RandomSpec(name="random.0", shape=(2, 3), per_sample=True),
    RandomSpec(name="random.1", shape=(4,), per_sample=False),
)

# float32, so exactly these.
FROZEN_0 = [
    0.8053784370422363,
    0.3764764070510864,
    0.5908275842666626,
    0.004818320274353027,
    0.36612069606781006,
    0.8668534755706787,
]
FROZEN_1 = [0.34536004066467285, 0.6269126534461975, 0.5726539492607117, 0.13304144144058228]


def test_the_numbers_are_those_of_every_release():
    drawn = draw(SPECS, 1, seed=1, device=2, round_=3, step=4)
    assert drawn["random.0"].ravel().tolist() == FROZEN_0
    assert drawn["random.1"].tolist() == FROZEN_1


def test_shapes_follow_the_batch_where_each_sample_has_its_own():
    drawn = draw(SPECS, 5, 0, 0, 0, 0)
    assert drawn["random.0"].shape == (5, 2, 3)
    assert drawn["random.1"].shape == (4,)
    assert all(value.dtype == np.float32 for value in drawn.values())
    assert all((value >= 0).all() and (value < 1).all() for value in drawn.values())


def test_every_part_of_the_key_counts():
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    drawn = [draw(SPECS[:1], 2, *key)["random.0"] for key in keys]
    assert np.array_equal(drawn[0], draw(SPECS[:1], 2, *keys[0])["random.0"])
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(drawn, 2))
    two = draw((SPECS[0], RandomSpec("random.1", (2, 3), True)), 2, 0, 0, 0, 0)
    assert not np.array_equal(two["random.0"], two["random.1"])


def test_the_parts_of_a_step_draw_numbers_of_their_own():
    drawn = [draw(SPECS[:1], 2, 1, 2, 3, 4, part)["random.0"] for part in range(4)]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(drawn, 2))
    assert drawn[0].ravel()[:6].tolist() == FROZEN_0, "a first part draws what a whole step does"
    entropy = (0x64726177, 1, 2, 3, 4, 0, 2)
    expected = np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))
    assert np.array_equal(drawn[2], expected.random((2, 2, 3), dtype=np.float32))


def test_they_are_uniform():
    many = draw((RandomSpec("random.0", (1000,), True),), 100, 7, 0, 0, 0)["random.0"]
    counts = np.bincount((many * 20).astype(int).ravel(), minlength=20)
    assert np.abs(counts - 5000).max() < 5 * np.sqrt(5000)

"""A front exported with ``recompute`` trains as the same front does without it."""

import numpy as np
import pytest

from slfac.device.draws import draw
from slfac.device.front import Front
from slfac.export import export_bundle
from slfac.wire.providers import CPU, Provider


def exported(folder, arguments, recompute):
    return export_bundle(
        **{"num_classes": 3, **arguments}, recompute=recompute, out=folder / f"{recompute}"
    ).bundle


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recompute")
    arguments = {"model": "cnn", "kwargs": {"batch_norm": True, "channels": [8, 16]}}
    arguments |= {"cut": "relu2", "input_shape": (1, 12, 12)}
    return [exported(folder, arguments, recompute) for recompute in (False, True)]


def steps(bundle, count=3, **options):
    """Smashed data, gradients and state of a few steps."""
    front = Front(bundle, **options)
    rng = np.random.default_rng(0)
    seen = []
    for step in range(count):
        x = rng.standard_normal((4, *bundle.manifest.input.shape), dtype=np.float32)
        smashed = front.forward(x, draw(bundle.manifest.random, 4, 7, 0, 0, step))
        held = front.held_bytes
        upstream = [rng.standard_normal(z.shape, dtype=np.float32) for z in smashed]
        gradients = front.backward(upstream)
        for name, gradient in gradients.items():
            front.parameters[name] -= np.float32(0.01) * gradient
        seen.append((smashed, gradients, {k: v.copy() for k, v in front.state().items()}))
    return seen, held, x.nbytes


def assert_same(given, expected):
    for (smashed, gradients, state), (z, g, s) in zip(given, expected, strict=True):
        for ours, theirs in zip(smashed, z, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        for name in g:
            scale = np.abs(g[name]).max()
            np.testing.assert_allclose(gradients[name], g[name], rtol=1e-4, atol=1e-5 * scale)
        for name in s:
            np.testing.assert_allclose(state[name], s[name], rtol=1e-4, atol=1e-5)


def test_recomputing_changes_no_number_and_holds_only_the_input(pair):
    kept, recomputed = pair
    expected, held, _ = steps(kept)
    given, least, x_bytes = steps(recomputed)
    assert_same(given, expected)
    assert least == x_bytes
    assert held > 10 * least


def test_new_statistics_come_from_the_forward_graph_alone(pair):
    graphs = pair[1].manifest.graphs
    outputs = [b.output for b in pair[1].manifest.buffers if b.update == "graph"]
    assert set(outputs) <= set(graphs.forward.outputs)
    assert set(graphs.backward.outputs) == set(graphs.gradients.values())


# Values are bound as for a GPU, in the only memory that each machine has.
BOUND = Provider("bound", CPU.name, memory="cpu")


@pytest.mark.parametrize("options", [{"low_memory": True}, {"provider": BOUND}], ids=str)
@pytest.mark.parametrize("index", [0, 1])
def test_another_way_to_run_changes_no_bit(pair, index, options):
    (ordinary, held, _), (other, also, _) = steps(pair[index]), steps(pair[index], **options)
    assert held == also
    for (z, g, s), (x, h, t) in zip(ordinary, other, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(z, x, strict=True))
        assert all(np.array_equal(g[name], h[name]) for name in g)
        assert all(np.array_equal(s[name], t[name]) for name in s)


def test_frozen_weights_and_draws_can_be_bound(tmp_path):
    arguments = {"model": "harness.dropping:dropping_cnn", "cut": "channels"}
    arguments |= {"input_shape": (1, 8, 8), "train_from": "mix"}
    bundle = exported(tmp_path, arguments, recompute=False)
    assert bundle.manifest.graphs.forward.frozen
    assert_same(steps(bundle, provider=BOUND)[0], steps(bundle)[0])


def test_recomputing_drops_the_same_values_again(tmp_path):
    arguments = {"model": "harness.dropping:dropping_cnn", "cut": "channels"}
    arguments |= {"input_shape": (1, 8, 8)}
    kept, recomputed = (exported(tmp_path, arguments, way) for way in (False, True))
    assert len(kept.manifest.random) == 2
    assert_same(steps(recomputed)[0], steps(kept)[0])

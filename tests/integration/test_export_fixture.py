"""The bundle kept under tests/data, which tests without torch use, is what export writes."""

import os
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest

from slfac.export import export_bundle
from slfac.wire.bundle import open_bundle
from slfac.wire.manifest import Preprocessing
from slfac.wire.runtime import open_infer_session

KEPT = Path(__file__).parents[1] / "data" / "bundles" / "cnn-8x8"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    regenerate = os.environ.get("SLFAC_REGENERATE") == "1"
    return export_bundle(
        model="cnn",
        kwargs={"channels": [4, 8], "hidden": 8},
        cut="pool1",
        input_shape=(1, 8, 8),
        num_classes=4,
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,)),
        out=KEPT if regenerate else tmp_path_factory.mktemp("fresh") / "bundle",
    ).bundle


def test_the_kept_bundle_is_small():
    assert sum(len(data) for data in open_bundle(KEPT).contents().values()) < 60_000


def test_the_manifests_agree(fresh):
    kept = open_bundle(KEPT)
    differing = {"files": {}, "slfac_version": ""}
    expected = msgspec.structs.replace(fresh.manifest, **differing)
    assert msgspec.structs.replace(kept.manifest, **differing) == expected


def test_the_weights_agree(fresh):
    expected = fresh.front_state()
    for name, value in open_bundle(KEPT).front_state().items():
        np.testing.assert_array_equal(value, expected[name])


def test_the_graphs_compute_the_same(fresh):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 1, 8, 8), dtype=np.float32)
    gradient = rng.standard_normal((6, 4, 4, 4), dtype=np.float32)
    kept, new = (run(bundle, x, gradient) for bundle in (open_bundle(KEPT), fresh))
    assert kept.keys() == new.keys()
    for name, value in kept.items():
        np.testing.assert_allclose(value, new[name], rtol=1e-4, atol=1e-6, err_msg=name)


def run(bundle, x, gradient):
    graphs = bundle.manifest.graphs
    state = bundle.front_state()
    values = {**state, "x": x, "smashed_gradient": gradient}
    for graph in (graphs.forward, graphs.backward):
        session = onnxruntime.InferenceSession(
            bundle.file(graph.file), providers=["CPUExecutionProvider"]
        )
        made = session.run(list(graph.outputs), {name: values[name] for name in graph.inputs})
        values.update(zip(graph.outputs, made, strict=True))
    (values["evaluation"],) = open_infer_session(bundle, state).run(None, {"x": x})
    wanted = ["smashed", "evaluation", *graphs.gradients.values()]
    return {name: values[name] for name in wanted}

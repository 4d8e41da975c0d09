"""The bundle with a head that is kept under tests/data is what export writes."""

import os

import msgspec
import numpy as np
import pytest

from harness.offline import KEPT_HEAD
from slfac.export import export_bundle
from slfac.wire.bundle import open_bundle
from slfac.wire.manifest import Preprocessing
from slfac.wire.runtime import open_session


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    regenerate = os.environ.get("SLFAC_REGENERATE") == "1"
    return export_bundle(
        model="cnn",
        kwargs={"channels": [4, 8], "hidden": 8},
        cut="pool1",
        head_cut="relu3",
        input_shape=(1, 8, 8),
        num_classes=4,
        preprocessing=Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,)),
        out=KEPT_HEAD if regenerate else tmp_path_factory.mktemp("fresh") / "bundle",
    ).bundle


def test_the_manifests_agree(fresh):
    kept = open_bundle(KEPT_HEAD)
    differing = {"files": {}, "slfac_version": ""}
    expected = msgspec.structs.replace(fresh.manifest, **differing)
    assert msgspec.structs.replace(kept.manifest, **differing) == expected


def test_the_weights_agree(fresh):
    expected = fresh.front_state()
    for name, value in open_bundle(KEPT_HEAD).front_state().items():
        np.testing.assert_array_equal(value, expected[name])


def test_the_heads_compute_the_same(fresh):
    rng = np.random.default_rng(0)
    given = {
        "middle": rng.standard_normal((6, 8), dtype=np.float32),
        "target": rng.integers(0, 4, 6),
        **fresh.front_state(),
    }
    runs = []
    for bundle in (open_bundle(KEPT_HEAD), fresh):
        step = bundle.manifest.head.step
        session = open_session(bundle, step, given, threads=1)
        runs.append(session.run(list(step.outputs), {n: given[n] for n in step.inputs}))
    for name, kept, new in zip(step.outputs, *runs, strict=True):
        np.testing.assert_allclose(kept, new, rtol=1e-4, atol=1e-6, err_msg=name)

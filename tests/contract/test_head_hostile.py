"""Manifests of heads that lead nowhere: refused, with the field and the name."""

import json
import shutil
from pathlib import Path

import pytest

from harness.offline import KEPT, KEPT_HEAD
from slfac.wire.bundle import open_bundle, parse_manifest
from slfac.wire.errors import BundleError

pytestmark = pytest.mark.device

RAW = (KEPT_HEAD / "manifest.json").read_bytes()


def changed(path, value):
    """The manifest with one field changed; ``None`` takes it away."""
    manifest = json.loads(RAW)
    *containers, name = path.split("/")
    place = manifest
    for container in containers:
        place = place[container]
    if value is None:
        del place[name]
    else:
        place[name] = value
    return json.dumps(manifest).encode()


def test_the_kept_bundles_open_with_and_without_a_head():
    versions = [open_bundle(path).manifest.schema_version for path in (KEPT, KEPT_HEAD)]
    assert versions == [2, 3]


@pytest.mark.parametrize("version", [0, 1, 2, 4])
def test_a_head_and_its_schema_go_together(version):
    with pytest.raises(BundleError, match="schema_version"):
        parse_manifest(changed("schema_version", version), Path("manifest.json"))
    with pytest.raises(BundleError, match="schema_version 3 and a head go together"):
        parse_manifest(changed("head", None), Path("manifest.json"))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("head/state", ["fc2.weight", "fc2.bias", "nothing"], "head.state name 'nothing'"),
        ("head/state", ["fc2.weight", "fc2.weight", "fc2.bias"], "head.state name 'fc2.weight' 2"),
        ("head/state", ["fc2.weight"], "head.step.inputs name 'fc2.bias'"),
        ("head/state", ["fc2.weight", "fc2.bias", "conv1.bias"], "'conv1.bias'"),
        ("head/target", "labels", "head.step.inputs name 'target'"),
        ("head/target", "fc2.bias", "name 'fc2.bias' 2 times"),
        ("head/loss", "cost", "name 'cost'"),
        ("head/input_gradients", {}, "head.input_gradients: 'middle'"),
        ("head/input_gradients", {"middle": "x"}, "name 'x'"),
        ("head/gradients", {"fc2.bias": "gradient.fc2.bias"}, "head.gradients: 'fc2.weight'"),
        ("head/step/inputs", ["middle", "target", "x"], "head.step.inputs name 'x'"),
        ("head/step/outputs", ["loss", "loss"], "head.step.outputs name 'loss' 2 times"),
        ("head/step/frozen", ["fc2.weight"], "head.step.frozen name 'fc2.weight'"),
        ("head/infer/inputs", ["x"], "head.infer.inputs"),
        ("head/infer/outputs", [], "head.infer.outputs are not one"),
        ("head/infer/frozen", ["conv1.weight"], "head.infer.frozen name 'conv1.weight'"),
        ("head/inputs", [{"name": "smashed", "shape": [8]}], "name 'smashed' 2 times"),
        ("head/inputs", [], "head.inputs"),
        ("head/inputs", [{"name": "middle", "shape": [0]}], "head.inputs"),
        (
            "head/random",
            [{"name": "middle", "shape": [8], "per_sample": True}],
            "name 'middle' 2 times",
        ),
        ("head/step/file", "../head.onnx", "head.step.file"),
        ("head/extra", 1, "extra"),
        ("graphs/gradients", {"fc2.bias": "gradient.conv1.bias"}, "graphs.gradients name"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(path, value, named):
    with pytest.raises(BundleError) as caught:
        parse_manifest(changed(path, value), Path("manifest.json"))
    assert named in str(caught.value)


@pytest.mark.parametrize("name", ["head.onnx", "head-infer.onnx", "infer.onnx"])
def test_a_head_without_its_file_is_told(tmp_path, name):
    folder = Path(shutil.copytree(KEPT_HEAD, tmp_path / "bundle"))
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        open_bundle(folder, "device")
    manifest = json.loads(RAW)
    del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=f"file '{name}' is not listed"):
        open_bundle(folder, "device")

"""``slfac export infer``: one file that does what the run's own evaluation does, or no file."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.halves import torch_halves
from harness.site import Site, run_site
from slfac.cli import main
from slfac.data import apply, open_dataset
from slfac.export import export_bundle, export_infer
from slfac.server.back import BackHalf
from slfac.server.checkpoint import mark_best, write_checkpoint
from slfac.server.kept import KeptReplies
from slfac.server.modes.parallel import Parallel
from slfac.wire.bundle import open_bundle
from slfac.wire.factories import DEFAULT_ALLOWED
from slfac.wire.manifest import Preprocessing

CNN = {
    "model": "cnn",
    "kwargs": {"channels": [4, 8], "hidden": 8, "batch_norm": True},
    "cut": "pool1",
    "input_shape": (1, 12, 12),
    "num_classes": 10,
    "preprocessing": Preprocessing(scale=1 / 255, mean=(0.3,), std=(0.2,)),
}
RESNET = {
    "model": "resnet18",
    "kwargs": {},
    "cut": "layer1.0",
    "input_shape": (3, 8, 8),
    "num_classes": 3,
    "preprocessing": Preprocessing(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
}
MOBILENET = {
    "model": "mobilenet_v2",
    "kwargs": {"width": 0.25, "stem_stride": 1},
    "cut": "features.1",
    "input_shape": (3, 17, 17),
    "num_classes": 3,
}


class Trained:
    """A bundle and a checkpoint of it, with BatchNorm statistics as training leaves them."""

    def __init__(self, folder, arguments):
        self.path = folder / "bundle"
        self.bundle = export_bundle(**arguments, out=self.path).bundle
        rng = np.random.default_rng(0)
        front = {n: self.moved(rng, n, v) for n, v in self.bundle.front_state().items()}
        back = BackHalf(self.bundle, "sgd:lr=0.1", DEFAULT_ALLOWED)
        state = back.module.state_dict()
        back.module.load_state_dict(
            {n: torch.from_numpy(self.moved(rng, n, v.numpy())) for n, v in state.items()}
        )
        self.round = write_checkpoint(
            folder,
            finished_rounds=3,
            front=front,
            mode=Parallel(back),
            kept=KeptReplies(folder),
            facts={"bundle": self.bundle.id},
        )
        self.checkpoint = self.round.parent

    @staticmethod
    def moved(rng, name, value):
        if name.endswith("running_mean"):
            return rng.normal(0, 0.3, value.shape).astype(np.float32)
        if name.endswith(("running_var", "bn1.weight", "bn2.weight")):
            return rng.uniform(0.5, 2, value.shape).astype(np.float32)
        return value

    def export(self, out, **more):
        return export_infer(bundle=self.path, checkpoint=self.checkpoint, out=out, **more)

    def torch(self, x, part):
        """What torch computes in evaluation mode from the checkpoint's weights."""
        front, back = torch_halves(self.bundle)
        front.load_state_dict(load_file(self.round / "front.safetensors"))
        back.load_state_dict(load_file(self.round / "back.safetensors"))
        with torch.no_grad():
            smashed = front.eval()(torch.from_numpy(x))
            return (smashed if part == "front" else back.eval()(smashed)).numpy()


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("cnn"), CNN)


def operators(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def run_file(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("part", ["front", "whole"])
@pytest.mark.parametrize("batch", [1, 3, 32])
def test_the_file_does_what_torch_does(cnn, part, batch, tmp_path):
    result = cnn.export(tmp_path / "model.onnx", part=part)
    x = np.random.default_rng(batch).standard_normal((batch, 1, 12, 12), dtype=np.float32)
    expected = cnn.torch(x, part)
    np.testing.assert_allclose(run_file(result.path, x), expected, rtol=1e-4, atol=1e-5)
    assert result.agreement.samples == 36
    assert result.agreement.same_class == (None if part == "front" else 36)
    assert result.agreement.max_rel < 1e-5


@pytest.mark.parametrize(
    ("arguments", "convolutions"),
    [
        (CNN, {"front": 1, "whole": 2}),
        (RESNET, {"front": 3, "whole": 20}),
        pytest.param(
            MOBILENET,
            {"front": 3, "whole": 52},
            marks=[pytest.mark.slow, pytest.mark.timeout(400)],  # a minute on a quiet core
        ),
    ],
    ids=["cnn", "resnet18", "mobilenet_v2"],
)
def test_batch_norm_is_folded_into_the_convolutions(arguments, convolutions, tmp_path):
    trained = Trained(tmp_path, arguments)
    x = np.random.default_rng(0).standard_normal((3, *arguments["input_shape"]), np.float32)
    for part, count in convolutions.items():
        path = trained.export(tmp_path / f"{part}.onnx", part=part).path
        graph = onnx.load(path).graph
        found = operators(path)
        assert found["Conv"] == count
        assert not found.keys() & {"BatchNormalization", "Dropout", "Constant", "Expand"}
        inside = {tensor.name for tensor in graph.initializer}
        biases = [node.input[2] for node in graph.node if node.op_type == "Conv"]
        assert len(biases) == count
        assert inside.issuperset(biases)
        np.testing.assert_allclose(run_file(path, x), trained.torch(x, part), rtol=1e-3, atol=1e-4)


def test_what_a_file_says_of_itself(cnn, tmp_path):
    path = cnn.export(tmp_path / "deep" / "model.onnx", stored="uint8").path
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (
        10,
        [("", 18)],
    )
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in model.graph.initializer)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes["bundle"] == cnn.bundle.id
    assert (notes["cut"], notes["part"], notes["finished_rounds"]) == ("pool1", "whole", "3")
    assert (notes["classes"], notes["preprocessing_inside"]) == ("10", "uint8")
    assert json.loads(notes["preprocessing"])["mean"] == [0.3]
    given, put_out = [
        [(v.name, v.type.tensor_type.elem_type, dims(v)) for v in values]
        for values in (model.graph.input, model.graph.output)
    ]
    assert given == [("x", onnx.TensorProto.UINT8, ["batch", 1, 12, 12])]
    assert put_out == [("logits", onnx.TensorProto.FLOAT, ["batch", 10])]


def dims(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("stored", ["uint8", "float32"])
def test_preprocessing_inside_is_that_outside_bit_for_bit(cnn, stored, tmp_path):
    plain = cnn.export(tmp_path / "plain.onnx").path
    inside = cnn.export(tmp_path / "inside.onnx", stored=stored).path
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 12, 12)).astype(stored)
    x = apply(CNN["preprocessing"], images)
    assert np.array_equal(run_file(inside, images), run_file(plain, x))


def test_preprocessing_a_channel(tmp_path):
    arguments = {**RESNET, "cut": "relu"}
    trained = Trained(tmp_path, arguments)
    path = trained.export(tmp_path / "front.onnx", part="front", stored="uint8").path
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
    x = apply(arguments["preprocessing"], images)
    np.testing.assert_allclose(
        run_file(path, images), trained.torch(x, "front"), rtol=1e-4, atol=1e-5
    )


def test_a_cut_of_several_tensors(tmp_path):
    trained = Trained(tmp_path, {**RESNET, "cut": "layer1.0.bn1"})
    names = [spec.name for spec in trained.bundle.manifest.smashed]
    assert len(names) == 2
    front = onnx.load(trained.export(tmp_path / "front.onnx", part="front").path)
    assert [output.name for output in front.graph.output] == names
    whole = trained.export(tmp_path / "whole.onnx")
    assert whole.agreement.same_class == 36


def test_the_same_arguments_give_the_same_bytes(cnn, tmp_path):
    first, second = (cnn.export(tmp_path / name).path for name in ("a.onnx", "b.onnx"))
    assert first.read_bytes() == second.read_bytes()


RUNNER = """
import sys
import numpy, onnxruntime
images, labels = numpy.load("images.npy"), numpy.load("labels.npy")
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(logits,) = session.run(["logits"], {"x": images})
assert not {"torch", "onnx", "slfac"} & set(sys.modules)
print(int((logits.argmax(1) == labels).sum()))
"""


def test_a_run_exported_scores_as_the_server_said_without_torch(tmp_path, digits):
    bundle = export_bundle(**CNN, out=tmp_path / "bundle").bundle
    site = Site.make(tmp_path, bundle.path, digits, devices=2)
    server, _ = run_site(site, rounds=2)
    out = tmp_path / "deployed" / "model.onnx"
    code = main(
        [
            *("export", "infer", "--bundle", str(bundle.path), "--out", str(out)),
            *("--checkpoint", str(tmp_path / "out" / "checkpoint"), "--with-preprocessing"),
        ]
    )
    assert code == 0
    test = open_dataset(digits, split="test", input_shape=(1, 12, 12), num_classes=10)
    np.save(out.with_name("images.npy"), test.images)
    np.save(out.with_name("labels.npy"), test.labels)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        cwd=out.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(done.stdout) / len(test) == server.finished().accuracy
    assert server.finished().accuracy > 0.2


def command(trained, out, *more):
    return [
        *("export", "infer", "--bundle", str(trained.path)),
        *("--checkpoint", str(trained.checkpoint), "--out", str(out), *more),
    ]


def test_the_command_says_what_it_wrote(cnn, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    assert main(command(cnn, out)) == 0
    said = capsys.readouterr()
    check, where = said.out.splitlines()
    assert re.fullmatch(
        r"onnxruntime against infer\.onnx and torch: max rel \d\.\de-\d\d, allowed 1\.0e-04, "
        r"the same class for 36 of 36 samples",
        check,
    )
    assert where == f"{out} ({out.stat().st_size / 1000:.1f} kB, after 3 rounds)"
    assert "translating the whole of cnn, round 3" in said.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["export", "infer", "--help"])
    assert caught.value.code == 0
    assert "slfac export infer --bundle bundle --checkpoint" in capsys.readouterr().out


@pytest.fixture
def damaged(cnn, tmp_path):
    """A copy of the bundle and checkpoint to break."""
    copy = Trained.__new__(Trained)
    copy.path, copy.bundle = cnn.path, cnn.bundle
    copy.round = shutil.copytree(cnn.round, tmp_path / "checkpoint" / "round-000003")
    copy.checkpoint = copy.round.parent
    return copy


def refuse(arguments, out, code, message, capsys):
    assert main(arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert lines[-1].startswith("slfac export: ")
    assert not out.exists()
    assert not list(out.parent.glob(".model.onnx*"))


def other_bundle(trained):
    facts = json.loads((trained.round / "state.json").read_text())
    (trained.round / "state.json").write_text(json.dumps({**facts, "bundle": "0" * 64}))


def other_back(trained):
    state = load_file(trained.round / "back.safetensors")
    save_file({**state, "fc2.bias": torch.zeros(3)}, trained.round / "back.safetensors")


def other_front(trained):
    state = load_file(trained.round / "front.safetensors")
    save_file(
        {n: v for n, v in state.items() if "bn1" not in n}, trained.round / "front.safetensors"
    )


def endless(trained):
    state = load_file(trained.round / "back.safetensors")
    state["fc2.bias"][0] = torch.inf
    save_file(state, trained.round / "back.safetensors")


def overwrite(name, data):
    return lambda trained: (trained.round / name).write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_bundle, "is of bundle 000000000000, and"),
        (overwrite("state.json", b"{"), "state.json cannot be read"),
        (overwrite("state.json", b"[" * 100_000), "state.json cannot be read"),
        (overwrite("state.json", b"[]"), "state.json holds no object"),
        (overwrite("state.json", b" " * (1 << 21)), "no file of a checkpoint"),
        (lambda t: (t.round / "state.json").unlink(), "state.json is missing"),
        (lambda t: shutil.rmtree(t.round), "holds no checkpoint"),
        (lambda t: (t.round / "back.safetensors").unlink(), "lacks back.safetensors"),
        (lambda t: (t.round / "front.safetensors").unlink(), "lacks front.safetensors"),
        (overwrite("front.safetensors", b"\xff" * 64), "front.safetensors cannot be read"),
        (overwrite("back.safetensors", b""), "back.safetensors cannot be read"),
        (other_front, "'bn1.bias' is missing"),
        (other_back, "cannot take the weights"),
        (endless, "'fc2.bias' holds values that are not finite"),
    ],
)
def test_a_checkpoint_that_is_damaged_or_anothers(damage, message, damaged, tmp_path, capsys):
    damage(damaged)
    out = tmp_path / "model.onnx"
    refuse(command(damaged, out), out, 20, message, capsys)


def test_the_best_round_is_exported_by_its_link(damaged, tmp_path, capsys):
    newest = shutil.copytree(damaged.round, damaged.checkpoint / "round-000009")
    facts = json.loads((newest / "state.json").read_text())
    (newest / "state.json").write_text(json.dumps({**facts, "finished_rounds": 9}))
    mark_best(damaged.round)
    for place, rounds in (("", 9), ("best", 3)):
        out = tmp_path / f"after-{rounds}.onnx"
        arguments = command(damaged, out)
        arguments[5] = str(damaged.checkpoint / place)
        assert main(arguments) == 0
        assert f"after {rounds} rounds" in capsys.readouterr().out


def test_a_place_without_a_checkpoint(cnn, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / ("a" * 300)):
        arguments = command(cnn, out)
        arguments[5] = str(place)
        refuse(arguments, out, 20, str(place), capsys)


def test_a_front_needs_no_back(damaged, tmp_path):
    (damaged.round / "back.safetensors").unlink()
    assert main(command(damaged, tmp_path / "front.onnx", "--part", "front")) == 0


def test_a_factory_that_is_not_allowed(cnn, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    arguments = command(cnn, out, "--allow-factories", "mynet")
    message = "comes from slfac.export.models:cnn, which is not allowed; if you trust it, add"
    refuse(arguments, out, 20, message, capsys)
    assert main(command(cnn, out, "--allow-factories", "mynet,slfac.export.models:cnn")) == 0


def test_a_file_that_is_there_is_kept_unless_forced(cnn, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    out.write_bytes(b"precious")
    assert main(command(cnn, out)) == 21
    assert "exists already; choose another file, or replace it with --force" in (
        capsys.readouterr().err
    )
    assert out.read_bytes() == b"precious"
    assert main(command(cnn, out, "--force")) == 0
    assert out.read_bytes() != b"precious"


@pytest.mark.parametrize("name", ["folder", "file/model.onnx", "a" * 300])
def test_a_place_that_cannot_be_written(cnn, name, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert main(command(cnn, tmp_path / name, "--force")) == 21
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert str(tmp_path / name) in lines[0]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_options_of_the_other_command_are_not_lost_unsaid(cnn, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    arguments = command(cnn, out)
    arguments[1:1] = ["--cut", "pool1"]
    refuse(arguments, out, 2, "takes no --cut", capsys)


@pytest.mark.parametrize("fault", ["other weights", "other classes", "not a graph"])
def test_no_file_is_written_when_its_check_fails(cnn, fault, tmp_path, monkeypatch, capsys):
    def spoilt(graph):
        made = onnx.ModelProto()
        made.CopyFrom(graph)
        last = made.graph.initializer[-1]
        if fault == "not a graph":
            made.graph.node[0].op_type = "Nothing"
            return made
        values = onnx.numpy_helper.to_array(last)
        other = values + 1 if fault == "other weights" else -values
        last.CopyFrom(onnx.numpy_helper.from_array(other.astype(np.float32), last.name))
        return made

    monkeypatch.setattr("slfac.export.deploy.fold", spoilt)
    out = tmp_path / "model.onnx"
    message = "cannot be opened" if fault == "not a graph" else "the deployment graph"
    refuse(command(cnn, out), out, 21, message, capsys)


def test_a_bundle_that_is_damaged(cnn, tmp_path, capsys):
    copy = shutil.copytree(cnn.path, tmp_path / "copy")
    (copy / "infer.onnx").write_bytes(b"x")
    out = tmp_path / "model.onnx"
    arguments = command(cnn, out)
    arguments[3] = str(copy)
    refuse(arguments, out, 20, "infer.onnx does not match its hash", capsys)
    assert open_bundle(cnn.path).id == cnn.bundle.id

"""What a bundle promises: same bytes, any batch, no torch, and a proof that can fail."""

import shutil
import subprocess
import sys

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from harness.halves import torch_halves
from slfac.export import back_half, export_bundle, verify_bundle
from slfac.export.models import cnn
from slfac.wire.bundle import open_bundle, pack_state, unpack_state, write_bundle
from slfac.wire.errors import BundleError, ExportError
from slfac.wire.manifest import Preprocessing
from slfac.wire.runtime import open_infer_session

ARGUMENTS = {
    "kwargs": {"channels": [4, 16], "hidden": 8, "batch_norm": True},
    "cut": "relu2",
    "input_shape": (1, 8, 10),
    "num_classes": 3,
    "seed": 7,
    "preprocessing": Preprocessing(scale=1 / 255, mean=(0.13,), std=(0.3,)),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export_bundle(**ARGUMENTS, out=tmp_path_factory.mktemp("export") / "bundle").bundle


@pytest.fixture
def front(bundle):
    return torch_halves(bundle)[0]


def session(bundle, graph):
    return onnxruntime.InferenceSession(bundle.file(graph.file), providers=["CPUExecutionProvider"])


def train_step(bundle, state, x, gradient):
    """One step in onnxruntime: smashed data, gradients, all values by name."""
    graphs = bundle.manifest.graphs
    values = {**state, "x": x, graphs.smashed_gradients["smashed"]: gradient}
    for graph in (graphs.forward, graphs.backward):
        given = {name: values[name] for name in graph.inputs}
        made = session(bundle, graph).run(list(graph.outputs), given)
        values.update(zip(graph.outputs, made, strict=True))
    return values


def graph_of(bundle, name):
    return onnx.load(bundle.file(name), load_external_data=False)


def test_the_same_arguments_give_the_same_bytes(bundle, tmp_path):
    again = export_bundle(**ARGUMENTS, out=tmp_path / "again").bundle
    assert again.contents() == bundle.contents()
    assert again.id == bundle.id


def test_another_process_gives_the_same_bytes(tmp_path):
    command = [
        sys.executable, "-m", "slfac.cli", "export", "--cut", "conv1", "--input", "1x8x8",
        "--classes", "3", "--kwargs", '{"channels": [2, 2], "hidden": 4}', "--scale", "1",
    ]  # fmt: skip
    lines = []
    for name in ("a", "b"):
        done = subprocess.run(
            [*command, "--out", tmp_path / name], capture_output=True, text=True, check=True
        )
        lines.append(done.stdout.splitlines())
        assert "Warning" not in done.stderr
        assert all(line.startswith(PROGRESS) for line in done.stderr.splitlines())
    assert open_bundle(tmp_path / "a").id == open_bundle(tmp_path / "b").id
    assert lines[0][-1].split()[1] == open_bundle(tmp_path / "a").id[:12]
    assert lines[0][0].startswith("onnxruntime against torch")


PROGRESS = ("building", "tracing", "verifying", "writing")


def test_another_seed_gives_other_weights_in_the_same_graphs(bundle, tmp_path):
    other = export_bundle(**{**ARGUMENTS, "seed": 8}, out=tmp_path / "other").bundle
    assert other.id != bundle.id
    changed = {name for name, data in other.contents().items() if bundle.contents()[name] != data}
    assert changed == {"manifest.json", "front.safetensors", "back.safetensors"}


def test_exporting_leaves_torchs_random_numbers_alone(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    export_bundle(**{**ARGUMENTS, "cut": "conv1"}, out=tmp_path / "bundle")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_any_batch_runs(bundle, front, batch):
    rng = np.random.default_rng(batch)
    x = rng.standard_normal((batch, 1, 8, 10), dtype=np.float32)
    gradient = rng.standard_normal((batch, 16, 4, 5), dtype=np.float32)
    values = train_step(bundle, bundle.front_state(), x, gradient)
    smashed = front(torch.from_numpy(x))
    np.testing.assert_allclose(values["smashed"], smashed.detach().numpy(), rtol=1e-4, atol=1e-5)
    parameters = dict(front.named_parameters())
    expected = torch.autograd.grad(smashed, list(parameters.values()), torch.from_numpy(gradient))
    for name, value in zip(parameters, expected, strict=True):
        given = values[bundle.manifest.graphs.gradients[name]]
        scale = float(value.abs().max())
        np.testing.assert_allclose(given, value.numpy(), rtol=1e-3, atol=1e-5 * scale)


def test_running_statistics_follow_torchs_over_steps(bundle, front):
    state = bundle.front_state()
    rng = np.random.default_rng(0)
    for batch in (2, 5, 8, 2, 3):
        x = rng.standard_normal((batch, 1, 8, 10), dtype=np.float32) * 3 + 1
        values = train_step(bundle, state, x, np.zeros((batch, 16, 4, 5), np.float32))
        front(torch.from_numpy(x))
        for buffer in bundle.manifest.buffers:
            if buffer.update == "graph":
                state[buffer.tensor.name] = values[buffer.output]
    updates = {buffer.tensor.name: buffer.update for buffer in bundle.manifest.buffers}
    assert updates["bn2.num_batches_tracked"] == "count"
    for name, value in front.named_buffers():
        if updates[name] == "graph":
            np.testing.assert_allclose(state[name], value.numpy(), rtol=1e-5, atol=1e-7)


def test_evaluation_follows_the_weights_it_is_given(bundle, front):
    state = bundle.front_state()
    rng = np.random.default_rng(0)
    changed = {
        name: value + np.abs(rng.standard_normal(value.shape)).astype(value.dtype)
        for name, value in state.items()
    }
    front.load_state_dict({name: torch.tensor(value) for name, value in changed.items()})
    x = rng.standard_normal((4, 1, 8, 10), dtype=np.float32)
    with torch.no_grad():
        expected = front.eval()(torch.from_numpy(x)).numpy()
    (given,) = open_infer_session(bundle, changed, threads=2).run(None, {"x": x})
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_refused(bundle):
    state = bundle.front_state()
    del state["conv1.weight"]
    with pytest.raises(BundleError, match=r"conv1\.weight"):
        open_infer_session(bundle, state)


def test_an_infer_graph_that_is_none_is_refused(bundle, tmp_path):
    shutil.copytree(bundle.path, tmp_path / "copy")
    copy = open_bundle(tmp_path / "copy")
    (copy.path / "infer.onnx").write_bytes(b"nonsense")
    with pytest.raises(BundleError, match=r"infer\.onnx"):
        open_infer_session(copy, copy.front_state())


def test_the_gradient_of_the_input_is_not_computed(bundle):
    # Of three convolutions' gradients (conv2's input and weight, conv1's weight) only one
    # goes to an input, as a transposed convolution; pooling needs none.
    backward = graph_of(bundle, "backward.onnx")
    kinds = [node.op_type for node in backward.graph.node]
    assert kinds.count("ConvTranspose") == 1
    shapes = {value.name: len(value.type.tensor_type.shape.dim) for value in backward.graph.output}
    assert set(shapes) == set(bundle.manifest.graphs.gradients.values())


def test_pooling_indices_are_never_made(bundle):
    for name in ("forward.onnx", "backward.onnx"):
        for node in graph_of(bundle, name).graph.node:
            if node.op_type == "MaxPool":
                assert len([output for output in node.output if output]) == 1


def test_residuals_are_only_what_backward_needs(bundle):
    forward, backward = bundle.manifest.graphs.forward, bundle.manifest.graphs.backward
    promised = {"smashed"} | {b.output for b in bundle.manifest.buffers if b.output}
    residuals = set(forward.outputs) - promised
    assert residuals
    assert residuals <= set(backward.inputs)
    assert not residuals & set(forward.inputs)
    assert set(backward.inputs) <= {*forward.inputs, *forward.outputs, "smashed_gradient"}
    assert forward.outputs[0] == "smashed"


def test_graphs_hold_no_paths_and_nothing_newer_than_devices_read(bundle):
    for name in ("forward.onnx", "backward.onnx", "infer.onnx"):
        model = graph_of(bundle, name)
        raw = bundle.file(name).read_bytes()
        assert model.ir_version == 10
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
        assert not model.functions
        assert b"site-packages" not in raw
        assert b".py" not in raw
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_no_weight_is_stored_in_a_graph(bundle):
    for name in ("forward.onnx", "backward.onnx"):
        stored = {tensor.name for tensor in graph_of(bundle, name).graph.initializer}
        assert not stored & set(bundle.front_state())
    infer = graph_of(bundle, "infer.onnx").graph
    outside = {t.name for t in infer.initializer if t.data_location == onnx.TensorProto.EXTERNAL}
    assert outside == {n for n in bundle.front_state() if not n.endswith("num_batches_tracked")}
    assert [value.name for value in infer.input] == ["x"]


def test_training_needs_neither_torch_nor_onnx(bundle):
    code = f"""
import sys
for name in ("torch", "onnx", "onnxscript", "onnx_ir"):
    sys.modules[name] = None
from pathlib import Path
import numpy as np
import onnxruntime
from slfac.wire.bundle import open_bundle
bundle = open_bundle(Path({str(bundle.path)!r}))
graphs = bundle.manifest.graphs
values = {{**bundle.front_state(), "x": np.ones((4, 1, 8, 10), np.float32)}}
values["smashed_gradient"] = np.ones((4, 16, 4, 5), np.float32)
for graph in (graphs.forward, graphs.backward):
    session = onnxruntime.InferenceSession(bundle.file(graph.file))
    made = session.run(list(graph.outputs), {{name: values[name] for name in graph.inputs}})
    values.update(zip(graph.outputs, made))
print(*(values[graphs.gradients[p.name]].shape for p in bundle.manifest.parameters))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(4, 1, 3, 3) (4,) (4,) (16, 4, 3, 3) (16,) (16,)"


def test_the_back_half_loads_strictly(bundle, front):
    spec = bundle.manifest.back
    assert spec.factory == "slfac.export.models:cnn"
    back = back_half(cnn, spec.kwargs, spec.cut, bundle.manifest.input.shape)
    raw = bundle.file("back.safetensors").read_bytes()
    import safetensors.torch

    back.load_state_dict(safetensors.torch.load(raw), strict=True)
    assert back(front(torch.randn(2, 1, 8, 10))).shape == (2, 3)


def test_the_manifest_tells_how_the_data_is_prepared(bundle):
    manifest = bundle.manifest
    assert manifest.preprocessing == ARGUMENTS["preprocessing"]
    assert (manifest.num_outputs, manifest.loss, manifest.opset) == (3, "cross_entropy", 18)
    assert manifest.input.shape == (1, 8, 10)
    assert unpack_state(manifest, bundle.file("front.safetensors").read_bytes())


def tampered(bundle, name, change, out, others=()):
    model = graph_of(bundle, name)
    change(model.graph)
    files = {file: bundle.file(file).read_bytes() for file in bundle.manifest.files}
    files[name] = model.SerializeToString()
    files.update(others)
    return write_bundle(out / "tampered", msgspec.structs.replace(bundle.manifest), files)


def scale_output(graph, name, factor):
    """Multiply one output by a factor, in the graph."""
    for node in graph.node:
        for position, output in enumerate(node.output):
            if output == name:
                node.output[position] = "before"
    graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), "factor"))
    graph.node.append(onnx.helper.make_node("Mul", ["before", "factor"], [name]))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("gradient.bn1.weight", r"gradients: 'bn1\.weight'"),
        ("new.bn2.running_var", r"BatchNorm statistics: 'bn2\.running_var'"),
    ],
)
def test_a_wrong_graph_fails_its_proof(bundle, front, tmp_path, output, message):
    file = "forward.onnx" if output.startswith("new.") else "backward.onnx"
    bad = tampered(bundle, file, lambda graph: scale_output(graph, output, 1.001), tmp_path)
    with pytest.raises(ExportError, match=message):
        verify_bundle(bad, front)


def test_batches_that_were_counted_hide_no_wrong_statistics(bundle, front, tmp_path):
    state = {**bundle.front_state(), "bn2.num_batches_tracked": np.asarray(10**6)}
    bad = tampered(
        bundle,
        "forward.onnx",
        lambda graph: scale_output(graph, "new.bn2.running_var", 1.001),
        tmp_path,
        {"front.safetensors": pack_state(state)},
    )
    with pytest.raises(ExportError, match=r"BatchNorm statistics: 'bn2\.running_var'"):
        verify_bundle(bad, front)


@pytest.mark.parametrize("file", ["forward.onnx", "backward.onnx"])
def test_a_graph_that_cannot_run_fails_its_proof(bundle, front, tmp_path, file):
    def misspell(graph):
        graph.node[-1].op_type = "NoSuchOperator"

    with pytest.raises(ExportError, match=file):
        verify_bundle(tampered(bundle, file, misspell, tmp_path), front)


def test_a_bundle_that_fails_its_proof_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("slfac.export.verify.MAX_TOLERANCE", 0.0)
    with pytest.raises(ExportError, match="differs from torch"):
        export_bundle(**{**ARGUMENTS, "cut": "conv1"}, out=tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_right_bundle_passes_its_proof_again(bundle, front):
    before = {name: value.clone() for name, value in front.state_dict().items()}
    steps = []
    checks = verify_bundle(bundle, front, on_step=lambda *step: steps.append(step))
    assert len(steps) >= 5
    assert [check.group for check in checks] == [
        "smashed data", "gradients", "BatchNorm statistics", "updated parameters", "evaluation",
    ]  # fmt: skip
    assert all(torch.equal(before[name], value) for name, value in front.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cut": "pool9"}, r"'pool9'.*pool"),
        ({"cut": "fc2"}, "'fc2'"),
        ({"model": "lenet"}, "no model 'lenet'; choose one of "),
        ({"model": "os:sep"}, "no model 'sep'"),
        ({"model": "no_such_module:make"}, "cannot be imported"),
        ({"model": "collections:OrderedDict", "kwargs": {}}, "made a OrderedDict"),
        ({"num_classes": 3, "kwargs": {"num_classes": 4}}, "4 outputs, not 3"),
        ({"kwargs": {"depth": 2}}, "depth"),
        ({"kwargs": {"hidden": -1}}, "hidden"),
        ({"input_shape": (1, 8)}, "input_shape"),
        ({"input_shape": ()}, "input_shape"),
        ({"input_shape": (1, 2, 2)}, "1x2x2"),
        ({"num_classes": 0}, "num_classes"),
        ({"seed": -1}, "seed"),
        ({"loss": "hinge"}, "hinge"),
        ({"preprocessing": Preprocessing(mean=(0.1, 0.2))}, "mean has 2"),
        ({"preprocessing": Preprocessing(scale=float("nan"))}, "finite"),
        ({"preprocessing": Preprocessing(std=(0.0,))}, "above zero"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(change, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        export_bundle(**{**ARGUMENTS, **change}, out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_folder_that_is_no_bundle_is_left_alone(bundle, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    files = {name: bundle.file(name).read_bytes() for name in bundle.manifest.files}
    with pytest.raises(BundleError, match="not a bundle"):
        write_bundle(tmp_path, bundle.manifest, files)
    assert (tmp_path / "thesis.txt").read_text() == "mine"

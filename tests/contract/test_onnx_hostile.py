"""ONNX files and structures that are damaged or hostile end in ExportError, in one sentence."""

import contextlib
import copy
import json
import resource
import time

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from harness.mutants import mutant
from harness.onnx_files import ints, model, values, write
from harness.onnx_mutants import mutant_model, mutant_structure
from slfac.export.onnx_model import build, read_onnx
from slfac.export.onnx_model.shapes import size
from slfac.wire.errors import ExportError

RELU = helper.make_node("Relu", ["x"], ["y"])


def sound():
    """A classifier with weights of every kind, and shape arithmetic."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c", "s", "o", "m", "v"], ["n"]),
        helper.make_node("Clip", ["n", "low", "high"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Shape", ["p"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n0"], axis=0),
        helper.make_node("Unsqueeze", ["n0", "zeros"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus"], ["t"], axis=0),
        helper.make_node("Reshape", ["p", "t"], ["f"]),
        helper.make_node("Gemm", ["f", "fw", "fb"], ["g"], transB=1),
        helper.make_node("Softmax", ["g"], ["y"], axis=-1),
    ]
    weights = {
        "w": values(2, 1, 3, 3),
        **{name: values(2, seed=i) for i, name in enumerate("bsom")},
        "v": np.exp(values(2)),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "zero": np.array(0, np.int64),
        "zeros": ints(0),
        "minus": ints(-1),
        "fw": values(3, 8),
        "fb": values(3),
    }
    return model(nodes, weights, ("n", 1, 8, 8))


SOUND = sound()
BYTES = SOUND.SerializeToString()


def refused(path, **kwargs):
    """The one sentence by which a file is refused."""
    with pytest.raises(ExportError) as caught:
        read_onnx(path, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 900
    return text


def changed(change):
    made = onnx.ModelProto()
    made.CopyFrom(SOUND)
    change(made)
    return made


def test_the_sound_model_is_read(tmp_path):
    structure, weights = read_onnx(write(tmp_path, SOUND))
    assert json.loads(json.dumps(structure)) == structure
    assert set(structure["weights"]) == set(weights)


def graph(*nodes, weights=None, shape=("n", 4, 6, 8), **kwargs):
    return model(list(nodes), weights or {}, shape, **kwargs)


def two_inputs():
    made = graph(helper.make_node("Add", ["x", "x2"], ["y"]))
    made.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, ["n", 4, 6, 8]))
    return made


def typed_input(kind):
    made = graph(RELU)
    made.graph.input[0].type.tensor_type.elem_type = kind
    return made


def version(ir=None, opset=None):
    made = graph(RELU)
    made.ir_version = ir or made.ir_version
    made.opset_import[0].version = opset or made.opset_import[0].version
    return made


def branches():
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"])],
        "b",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return graph(node, weights={"c": np.array(True)})


def weight_type(kind):
    def change(made):
        made.graph.initializer[0].data_type = kind

    return changed(change)


def huge(dims):
    def change(made):
        made.graph.initializer[0].dims[:] = dims

    return changed(change)


def functions():
    made = graph(RELU)
    made.functions.append(
        helper.make_function("f", "f", ["a"], ["b"], [], [helper.make_opsetid("", 17)])
    )
    return made


def constant_of(shape):
    weights = {"s": ints(*shape)}
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["k"]),
        helper.make_node("Add", ["x", "k"], ["y"]),
    ]
    return graph(*nodes, weights=weights)


def op(name, weights=None, inputs=("x",), outputs=("y",), shape=("n", 4, 6, 8), **attributes):
    opset = attributes.pop("opset", 17)
    node = helper.make_node(name, [*inputs, *(weights or {})], list(outputs), **attributes)
    return graph(node, weights=weights, shape=shape, opset=opset)


NORM = {name: np.ones(4, np.float32) for name in ("s", "o", "m", "v")}
REFUSED = {
    "two inputs": (two_inputs(), "has 2 inputs (x, x2); give a model of exactly one"),
    "two outputs": (
        graph(RELU, helper.make_node("Neg", ["x"], ["z"]), outputs=("y", "z")),
        "has 2 outputs (y, z); keep one",
    ),
    "input of bytes": (typed_input(TensorProto.UINT8), "is of type UINT8; give a model whose"),
    "input of half": (typed_input(TensorProto.FLOAT16), "is of type FLOAT16"),
    "newer IR": (version(ir=99), "has IR version 99; this onnx"),
    "newer opset": (version(opset=23), "has opset 23; convert it with onnx.version_converter"),
    "older opset": (version(opset=6), "has opset 6"),
    "control flow": (branches(), "is If: control flow cannot be cut; export the model with fixed"),
    "quantised": (op("DynamicQuantizeLinear", outputs=("y", "s", "z")), "the model is quantised"),
    "custom": (op("FusedConv", domain="com.microsoft"), "custom domain 'com.microsoft'; export"),
    "functions": (functions(), "defines functions of its own; inline them first"),
    "unsupported": (op("NonMaxSuppression"), "breaks ONNX's rules"),
    "unsupported here": (op("Sin"), "node 'y' (Sin) is an operator that cannot be trained here"),
    "dangling": (graph(helper.make_node("Relu", ["nowhere"], ["y"])), "topologically sorted"),
    "cycle": (
        graph(helper.make_node("Relu", ["y2"], ["y"]), helper.make_node("Relu", ["y"], ["y2"])),
        "topologically sorted",
    ),
    "made twice": (graph(RELU, RELU), "has two nodes that make 'y'; export it again"),
    "no graph": (onnx.ModelProto(ir_version=8), "is not an ONNX file: it holds no graph"),
    "int8 weights": (weight_type(TensorProto.INT8), "has values of type INT8"),
    "text weights": (weight_type(TensorProto.STRING), "breaks ONNX's rules: STRING data"),
    "huge weight": (huge([1 << 31, 1 << 31, 1, 1]), "too large to validate"),
    "negative weight": (
        huge([-2, -1, 3, 3]),
        "Negative dimension value (tensor name: w); export it again",
    ),
    "short weight": (huge([200, 1, 3, 3]), "too small for the declared shape"),
    "huge constant": (constant_of([1 << 20, 1 << 20]), "cannot be computed from constants"),
    "huge broadcast": (
        graph(
            helper.make_node("Add", ["a", "b"], ["c"]),
            helper.make_node("ReduceSum", ["c"], ["d"]),
            helper.make_node("Add", ["x", "d"], ["y"]),
            weights={"a": np.ones((8192, 1), np.float32), "b": np.ones((1, 8192), np.float32)},
        ),
        "cannot be computed from constants: it would make 67108864 values",
    ),
    "huge activation": (
        op("Expand", {"s": ints(1 << 30, 1, 4, 6, 8)}),
        "a tensor of shape (1073741824, 1, 4, 6, 8) is too large",
    ),
    "huge padding": (
        op("Pad", {"p": ints(0, 0, 65536, 65536, 0, 0, 65536, 65536)}),
        "is too large",
    ),
    "training": (op("BatchNormalization", NORM, training_mode=1), "was exported in training mode"),
    "training dropout": (
        op("Dropout", {"r": np.array(0.5, np.float32), "t": np.array(True)}),
        "was exported in training mode; export the model in evaluation mode",
    ),
    "negative variance": (op("BatchNormalization", NORM | {"v": -NORM["v"]}), "negative variance"),
    "indices of a pool": (
        graph(
            helper.make_node("MaxPool", ["x"], ["a", "i"], kernel_shape=[2, 2]),
            helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["a", "f"], ["y"]),
        ),
        "gives indices too",
    ),
    "cast": (
        graph(
            helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
            helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
        ),
        "casts activations to INT64; export the model in float32 throughout",
    ),
    "volume": (
        op("Conv", {"w": values(4, 4, 1, 1, 1)}, shape=("n", 4, 6, 8, 8)),
        "has no weight of one or two spatial axes",
    ),
    "bias": (
        op("Conv", {"w": values(4, 4, 1, 1), "b": values(3)}),
        "bias (3,) is not one value for each of 4 channels",
    ),
    "slope": (
        op("Resize", {"s": np.array([1, 1, 1.7, 1], np.float32)}, inputs=("x", ""), mode="cubic"),
        "has the mode 'cubic'; use nearest or linear",
    ),
    "places": (
        op(
            "Resize",
            {"s": np.array([1, 1, 1.5, 1.5], np.float32)},
            inputs=("x", ""),
            mode="linear",
            coordinate_transformation_mode="asymmetric",
        ),
        "interpolates by asymmetric, which torch has not",
    ),
    "not finite": (op("Add", {"w": np.full((4, 1, 1), np.nan, np.float32)}), "not finite"),
    "constant output": (
        graph(helper.make_node("Neg", ["w"], ["y"]), weights={"w": values(3)}),
        "output 'y' does not depend on the input",
    ),
    "only an alias": (op("Identity"), "output 'y' does not depend on the input"),
    "no batch left": (op("ReduceMean", axes=[0]), "does not keep the batch axis"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named(tmp_path, case):
    made, expected = REFUSED[case]
    assert expected in refused(write(tmp_path, made))


def test_a_file_that_is_none(tmp_path):
    assert "cannot be read" in refused(tmp_path / "missing.onnx")
    assert "cannot be read" in refused(tmp_path)
    for content in (b"", b"\x08", b"PK\x03\x04 no model", b"<html></html>", bytes(range(256))):
        path = tmp_path / "text.onnx"
        path.write_bytes(content)
        assert "is not an ONNX file" in refused(path)


@pytest.mark.parametrize(
    ("declared", "given", "expected"),
    [
        (
            ("n", 3, "h", "w\n"),
            None,
            "?x3x?x?: axes 2 ('h') and 3 ('w\\n') are open; give the shape of one sample: --input",
        ),
        (("n", "c" * 99, 0, -1), None, f"axes 1 ('{'c' * 40}'), 2 and 3 are open"),
        ((4, 3, None), None, "has the shape 4x3x?: axis 2 is open"),
        (
            ("n", 3, "h", "w"),
            (1, 8, 8),
            "has the shape ?x3x?x?, not a batch of 1x8x8; give --input 3x?x?, with numbers",
        ),
        (
            (4, 3, 8, 9),
            (3, 9, 9),
            "has the shape 4x3x8x9, not a batch of 3x9x9; give --input 3x8x9, or leave it out",
        ),
        (("n", 3, "h", "w"), (3, 8), "not a batch of 3x8"),
        (("n", 3, "h", "w"), (3, 0, 8), "which is too large"),
        (("n", 3, "h", "w"), (3, 1 << 20, 1 << 20), "which is too large"),
        ((1, 3, 1 << 20, 1 << 20), None, "which is too large"),
        (("n",), None, "has the shape ?; give"),
    ],
)
def test_input_shapes(tmp_path, declared, given, expected):
    path = write(tmp_path, graph(RELU, shape=declared))
    assert expected in refused(path, input_shape=given)


def external(tmp_path, location, offset="0", length="144", *, data=None):
    made = changed(lambda _: None)
    tensor = made.graph.initializer[0]
    raw = tensor.raw_data * 2
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    if data is not False:
        (tmp_path / "weights.bin").write_bytes(raw if data is None else data)
    return write(tmp_path, made), raw


def test_weights_beside_the_file_are_read(tmp_path):
    path, raw = external(tmp_path, "weights.bin", offset="72", length="72")
    _, weights = read_onnx(path)
    assert weights["w"].tobytes() == raw[72:]


@pytest.mark.parametrize(
    ("place", "data", "expected"),
    [
        (("weights.bin", "0", "72"), False, "which cannot be read; put the data file beside"),
        (("weights.bin", "100", "72"), None, "which is too short"),
        (("weights.bin", "0", "71"), None, "takes 71 bytes, but its shape needs 72"),
        (("weights.bin", "-1", "72"), None, "takes 72 bytes"),
        (("weights.bin", "9" * 30, "72"), None, "which cannot be read"),
        (("weights.bin", "much", "72"), None, "malformed place"),
        (("../weights.bin", "0", "72"), None, "outside the file's folder"),
        (("/etc/passwd", "0", "72"), None, "outside the file's folder"),
        (("", "0", "72"), None, "outside the file's folder"),
        (("a\0b", "0", "72"), None, "outside the file's folder"),
    ],
)
def test_weights_elsewhere(tmp_path, place, data, expected):
    path, _ = external(tmp_path, *place, data=data)
    assert expected in refused(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path, raw = external(inner, "link.bin", length="72")
    (tmp_path / "secret.bin").write_bytes(raw)
    (inner / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert "outside the file's folder" in refused(path)


@settings(max_examples=60)
@given(number=st.integers(0, 1 << 40), whole=st.booleans())
def test_any_damage_gives_a_model_or_an_export_error(tmp_path_factory, number, whole):
    path = tmp_path_factory.mktemp("mutant") / "m.onnx"
    path.write_bytes(mutant([BYTES], number) if whole else mutant_model(SOUND, number))
    began = time.monotonic()
    with contextlib.suppress(ExportError):
        structure, weights = read_onnx(path)
        assert set(structure["weights"]) == set(weights)
    assert time.monotonic() - began < 20


# Structures.


@pytest.fixture(scope="module")
def structure(tmp_path_factory):
    return read_onnx(write(tmp_path_factory.mktemp("sound"), SOUND))[0]


def put(path, value):
    def change(structure):
        *parents, last = path
        for key in parents:
            structure = structure[key]
        structure[last] = value

    return change


WRONG = {
    "version": (put(["version"], 2), "its version is '2', not 1"),
    "version as bool": (put(["version"], True), "its version is 'True'"),
    "more keys": (put(["code"], "import os"), "it needs exactly input, nodes"),
    "input": (put(["input"], {"name": "x"}), "input needs exactly name, shape"),
    "input shape": (put(["input", "shape"], [1 << 16, 1 << 16]), "input has the shape"),
    "negative shape": (put(["input", "shape"], [-1]), "input has the shape [-1]"),
    "no nodes": (put(["nodes"], []), "nodes must be a list"),
    "output": (put(["output"], "nowhere"), "no node makes its output 'nowhere'"),
    "output is the input": (put(["output"], "x"), "no node makes its output 'x'"),
    "op": (put(["nodes", 0, 0], "__import__"), "unknown operator '__import__'"),
    "attribute": (put(["nodes", 0, 3, "evil"], 1), "has an unknown attribute 'evil'"),
    "attribute's kind": (put(["nodes", 0, 3, "strides"], "2"), "has strides '2'"),
    "attribute's range": (put(["nodes", 0, 3, "strides"], [0, 1]), "has strides '[0, 1]'"),
    "missing attribute": (put(["nodes", 0, 3], {}), "lacks its attribute strides"),
    "later input": (put(["nodes", 0, 1, 0], "n"), "takes 'n', which no earlier node makes"),
    "no inputs": (put(["nodes", 0, 1], []), "does not have 2 to 3 inputs"),
    "number for a tensor": (put(["nodes", 0, 1, 0], 1.5), "does not fit its inputs"),
    "output twice": (put(["nodes", 1, 2], ["c"]), "makes 'c', which exists already"),
    "outputs": (put(["nodes", 0, 2], ["c", "d"]), "has 2 outputs"),
    "code in a name": (put(["weights", "w');import os#"], [1]), "a weight has the name"),
    "weight's shape": (put(["weights", "w"], [1 << 40]), "weight 'w' has the shape"),
    "weights' sum": (
        lambda s: s["weights"].update({f"q{i}": [1 << 27] for i in range(4)}),
        "its weights have",
    ),
    "weight of another shape": (put(["weights", "w"], [2, 1, 3]), "do not have 2 spatial axes"),
    "unused weight": (put(["weights", "q"], [1]), "no operator takes weight 'q'"),
    "norm's weights": (
        put(["nodes", 1, 1], ["c", *["b"] * 4]),
        "weights or inputs that no BatchNorm has",
    ),
    "explosion": (
        lambda s: s["nodes"].__setitem__(
            slice(None),
            [["Pad", ["x"], ["y"], {"pads": [65536] * 4, "mode": "constant"}]],
        ),
        "is too large",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_structure_that_was_edited_is_refused(structure, case):
    change, expected = WRONG[case]
    edited = copy.deepcopy(structure)
    change(edited)
    with pytest.raises(ExportError) as caught:
        build(edited)
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["training", "forward", "graph", "class", "_buffers", "meta"])
def test_a_weight_cannot_take_the_place_of_a_part_of_the_module(structure, name):
    edited = copy.deepcopy(structure)
    edited["weights"][name] = edited["weights"].pop("w")
    edited["nodes"][0][1][1] = name
    with pytest.raises(ExportError, match="cannot have the name"):
        build(edited)


@pytest.mark.parametrize("value", [None, [], 1, "x", b"x", {"version": 1}])
def test_no_structure_at_all(value):
    with pytest.raises(ExportError):
        build(value)


@settings(max_examples=150)
@given(number=st.integers(0, 1 << 40))
def test_any_edited_structure_is_refused_or_runs(structure, number):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    edited = mutant_structure(structure, number)
    with contextlib.suppress(ExportError):
        module = build(edited).eval()
        if size(edited["input"]["shape"]) < 1 << 16:
            module(torch.zeros(2, *edited["input"]["shape"]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20


def test_building_needs_torch_alone():
    import subprocess
    import sys

    code = (
        "import sys\n"
        "for name in ('onnx', 'onnxruntime', 'onnxscript', 'onnx_ir'): sys.modules[name] = None\n"
        "from slfac.export.onnx_model import build\n"
        "build({'version': 1, 'input': {'name': 'x', 'shape': [4]}, 'output': 'y',"
        " 'weights': {}, 'nodes': [['Relu', ['x'], ['y'], {}]]})\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

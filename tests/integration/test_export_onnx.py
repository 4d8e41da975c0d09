"""ONNX files are exported in the shape that they declare, or in the one that is given."""

import onnx
import pytest
from onnx import helper

from harness.onnx_files import ints, model, values, write
from slfac.cli import main
from slfac.export import model_cuts
from slfac.wire.bundle import open_bundle
from slfac.wire.errors import ExportError

SAMPLE = (2, 6, 6)
NODES = [
    helper.make_node("Conv", ["x", "w", "b"], ["conv"], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["conv"], ["relu"]),
    helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
    helper.make_node("Reshape", ["pool", "rows"], ["flat"]),
    helper.make_node("Gemm", ["flat", "fw", "fb"], ["y"], transB=1),
]
WEIGHTS = {
    "w": values(4, 2, 3, 3),
    "b": values(4, seed=1),
    "rows": ints(-1, 4),
    "fw": values(3, 4, seed=2),
    "fb": values(3, seed=3),
}


@pytest.fixture
def file(tmp_path):
    def make(*shape, output=None):
        """A small classifier; a size may be a number, a name, or None for nothing."""
        made = model(NODES, WEIGHTS, shape)
        if output is not None:
            entry = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, output)
            made.graph.output[0].CopyFrom(entry)
        return write(tmp_path, made)

    return make


@pytest.mark.parametrize("batch", ["n", None, -1, 0, 1, 4])
def test_the_file_says_the_shape_of_a_sample(file, batch):
    path = file(batch, *SAMPLE, output=(batch, 3))
    cuts = model_cuts(onnx=path)
    assert {cut.name: cut.smashed_shapes for cut in cuts}["relu"] == ((4, 6, 6),)
    assert cuts == model_cuts(onnx=path, input_shape=SAMPLE)


def test_a_bundle_has_the_shape_of_the_file(file, tmp_path, capsys):
    out = tmp_path / "bundle"
    arguments = ["export", "--onnx", str(file("n", *SAMPLE)), "--cut", "relu"]
    assert main([*arguments, "--out", str(out)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert all(row.endswith("ok") for row in rows[1:-1])
    bundle = open_bundle(out)
    assert bundle.manifest.input.shape == SAMPLE
    assert bundle.manifest.num_outputs == 3


def test_sizes_that_the_file_leaves_open_are_given(file, capsys):
    path = file(0, 2, "height", 0)
    arguments = ["export", "--onnx", str(path), "--list-cuts"]
    assert main(arguments) == 21
    assert capsys.readouterr().err == (
        f"slfac export: {path}: input 'x' has the shape ?x2x?x?: axes 2 ('height') and 3 are "
        "open; give the shape of one sample: --input 2x?x?, with numbers\n"
    )
    assert main([*arguments, "--input", "2x5x7"]) == 0
    rows = [row.split() for row in capsys.readouterr().out.splitlines()]
    assert ["relu", "4x5x7"] in [row[:2] for row in rows]


def test_a_shape_that_contradicts_the_file_is_refused(file, capsys):
    path = file("n", *SAMPLE)
    assert main(["export", "--onnx", str(path), "--input", "2x6x7", "--list-cuts"]) == 21
    assert capsys.readouterr().err == (
        f"slfac export: {path}: input 'x' has the shape ?x2x6x6, not a batch of 2x6x7; "
        "give --input 2x6x6, or leave it out\n"
    )
    with pytest.raises(ExportError, match=r"\?x2x6x6, not a batch of 2x7;"):
        model_cuts(onnx=path, input_shape=(2, 7))


def test_a_factory_needs_the_shape(capsys):
    with pytest.raises(ExportError, match="--input"):
        model_cuts(model="cnn")
    assert main(["export", "--model", "cnn", "--list-cuts"]) == 2
    assert "--input is needed" in capsys.readouterr().err

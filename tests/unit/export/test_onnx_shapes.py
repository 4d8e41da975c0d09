"""Operators that move values, shape arithmetic, and the batch axis, against onnxruntime."""

import numpy as np
import pytest
import torch
from onnx import helper

from harness.onnx_files import compare, ints, load, model, run, values, write
from slfac.wire.errors import ExportError

IMAGE = (3, 4, 6, 8)


def check(tmp_path, nodes, weights, shape=IMAGE, opset=17):
    free = write(tmp_path, model(nodes, weights, ("n", *shape[1:]), opset=opset))
    return compare(free, values(*shape, seed=9))


def one(tmp_path, op, weights=None, shape=IMAGE, *, inputs=("x",), opset=17, **attributes):
    weights = weights or {}
    node = helper.make_node(op, [*inputs, *weights], ["y"], **attributes)
    return check(tmp_path, [node], weights, shape, opset)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_concat(tmp_path, axis):
    nodes = [
        helper.make_node("Neg", ["x"], ["t"]),
        helper.make_node("Concat", ["x", "t", "x"], ["y"], axis=axis),
    ]
    check(tmp_path, nodes, {})


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("sizes", [[1, 3], [2, 2], None])
def test_split(tmp_path, opset, sizes):
    attributes = {"split": sizes} if sizes and opset < 13 else {}
    weights = {"sizes": ints(*sizes)} if sizes and opset >= 13 else {}
    nodes = [
        helper.make_node("Split", ["x", *weights], ["a", "b"], axis=1, **attributes),
        helper.make_node("Relu", ["a"], ["c"]),
        helper.make_node("Concat", ["b", "c"], ["y"], axis=1),
    ]
    structure = check(tmp_path, nodes, weights, opset=opset)
    assert structure["nodes"][0][2] == ["a", "b"]


def test_split_by_count_of_outputs(tmp_path):
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b", "c"], axis=-1, num_outputs=3),
        helper.make_node("Concat", ["c", "a", "b"], ["y"], axis=-1),
    ]
    check(tmp_path, nodes, {}, opset=18)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [3], [1], [1]),
        ([0, 1], [2**62, -1], [0, 3], [1, 2]),
        ([-3], [2**31 - 1], [2], [1]),
        ([1, 0], [4, 8], [2, 3], [2, 3]),
        ([-1], [-(2**62)], [1], [-1]),
        ([5], [0], [2], [-2]),
    ],
)
def test_slice(tmp_path, starts, ends, axes, steps):
    weights = dict(
        zip(
            ("starts", "ends", "axes", "steps"),
            (ints(*v) for v in (starts, ends, axes, steps)),
            strict=True,
        )
    )
    one(tmp_path, "Slice", weights)


def test_old_slice(tmp_path):
    one(tmp_path, "Slice", opset=9, starts=[1, 2], ends=[3, 100], axes=[1, 3])


@pytest.mark.parametrize("indices", [[2, 3, 0], [1], 2, -1, [3, 2, 1, 0], [1, 1, 2, 3]])
def test_gather(tmp_path, indices):
    one(tmp_path, "Gather", {"i": np.array(indices, np.int64)}, axis=1)


@pytest.mark.parametrize(
    "target", [[0, -1], [-1, 192], [0, 0, 48], [0, 2, 2, 6, 8], [-1, 2, 24, 4]]
)
def test_reshape(tmp_path, target):
    structure = one(tmp_path, "Reshape", {"t": ints(*target)})
    assert structure["nodes"][0][3]["shape"][0] == -1


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, 4])
def test_flatten(tmp_path, axis):
    nodes = [helper.make_node("Flatten", ["x"], ["t"], axis=axis)]
    nodes.append(helper.make_node("Reshape", ["t", "s"], ["y"]))
    check(tmp_path, nodes, {"s": ints(-1, 4, 48)})


@pytest.mark.parametrize("perm", [[0, 2, 3, 1], [0, 3, 1, 2]])
def test_transpose(tmp_path, perm):
    one(tmp_path, "Transpose", perm=perm)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axes", [[1], [1, 4], [-1]])
def test_unsqueeze_and_squeeze(tmp_path, opset, axes):
    for op in ("Unsqueeze", "Squeeze"):
        shape = IMAGE if op == "Unsqueeze" else (3, 1, 6, 8, 1)
        if opset < 13:
            one(tmp_path, op, shape=shape, opset=opset, axes=axes)
        else:
            one(tmp_path, op, {"axes": ints(*axes)}, shape=shape, opset=opset)


EXPANSION = [
    helper.make_node("ReduceMean", ["x"], ["m"], axes=[2]),
    helper.make_node("Expand", ["m", "t"], ["y"]),
]


@pytest.mark.parametrize("target", [[1, 4, 6, 8], [5, 1], [1]])
def test_expand(tmp_path, target):
    check(tmp_path, EXPANSION, {"t": ints(*target)})


@pytest.mark.parametrize("target", [[3, 1, 6, 1], [2, 1, 1, 1, 1]])
def test_expand_of_the_batch_is_refused(tmp_path, target):
    with pytest.raises(ExportError, match="batch"):
        check(tmp_path, EXPANSION, {"t": ints(*target)})


@pytest.mark.parametrize(
    ("mode", "pads"),
    [
        ("constant", [0, 1, 2, 0, 0, 0, 1, 3]),
        ("constant", [0, 0, -1, 0, 0, 0, 1, -2]),
        ("reflect", [0, 0, 2, 1, 0, 0, 0, 3]),
        ("edge", [0, 0, 2, 1, 0, 0, 0, 3]),
    ],
)
@pytest.mark.parametrize("opset", [7, 13, 18])
def test_pad(tmp_path, mode, pads, opset):
    if opset < 11:
        one(tmp_path, "Pad", opset=opset, mode=mode, pads=pads, value=0.5)
        return
    weights = {"p": ints(*pads), "v": np.array(0.5, np.float32)}
    one(tmp_path, "Pad", weights, opset=opset, mode=mode)


def test_pad_of_named_axes(tmp_path):
    weights = {"p": ints(1, 2, 0, 1), "v": np.array(0, np.float32), "a": ints(3, -2)}
    one(tmp_path, "Pad", weights, opset=18)


NEAREST = [
    ("asymmetric", "floor", [2.0, 3.0]),
    ("half_pixel", "round_prefer_floor", [2.0, 2.0]),
    ("half_pixel", "round_prefer_ceil", [1.5, 0.5]),
    ("pytorch_half_pixel", "round_prefer_floor", [3.0, 2.0]),
]


@pytest.mark.parametrize(("coordinates", "rounding", "scales"), NEAREST)
def test_nearest_resize(tmp_path, coordinates, rounding, scales):
    one(
        tmp_path,
        "Resize",
        {"s": np.array([1, 1, *scales], np.float32)},
        inputs=("x", ""),
        mode="nearest",
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )


@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners"])
@pytest.mark.parametrize("sizes", [[12, 16], [9, 5], [3, 4]])
def test_linear_resize_to_sizes(tmp_path, coordinates, sizes):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["head"]),
        helper.make_node("Concat", ["head", "tail"], ["sizes"], axis=0),
        helper.make_node(
            "Resize",
            ["x", "", "", "sizes"],
            ["y"],
            mode="linear",
            coordinate_transformation_mode=coordinates,
        ),
    ]
    weights = {"zero": ints(0), "two": ints(2), "tail": ints(*sizes)}
    check(tmp_path, nodes, weights)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_a_series(tmp_path, mode):
    scales = {"s": np.array([1, 1, 2], np.float32)}
    one(tmp_path, "Resize", scales, (3, 4, 9), inputs=("x", ""), mode=mode)


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_upsample(tmp_path, opset):
    scales = [1.0, 1.0, 2.0, 2.0]
    if opset == 7:
        one(tmp_path, "Upsample", opset=7, scales=scales)
    else:
        op = "Upsample" if opset == 9 else "Resize"
        one(tmp_path, op, {"s": np.array(scales, np.float32)}, opset=opset)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(tmp_path, mode):
    one(tmp_path, "DepthToSpace", shape=(3, 12, 3, 5), blocksize=2, mode=mode)


def flattening(tail):
    """What torch's exporters write for ``x.view(x.size(0), -1)`` and the like."""
    return [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "zeros"], ["nu"]),
        helper.make_node("Concat", ["nu", *tail], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]


@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_shape_arithmetic_is_folded(tmp_path, batch):
    weights = {"zero": np.array(0, np.int64), "zeros": ints(0), "minus": ints(-1)}
    path = write(tmp_path, model(flattening(["minus"]), weights, (batch, 4, 6, 8)))
    structure, module = load(path)
    assert structure["nodes"] == [["Reshape", ["x"], ["y"], {"shape": [-1, 192]}]]
    assert module(torch.zeros(5, 4, 6, 8)).shape == (5, 192)


@pytest.mark.parametrize("target", [[1, -1], [1, 192], [1, 4, 48], [1, 2, 2, 48], [4, 48]])
def test_a_fixed_batch_becomes_free(tmp_path, target):
    nodes = [
        helper.make_node("Reshape", ["x", "t"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Reshape", ["b", "u"], ["y"]),
    ]
    path = write(tmp_path, model(nodes, {"t": ints(*target), "u": ints(1, 8, 24)}, (1, 4, 6, 8)))
    _, module = load(path)
    x = values(5, 4, 6, 8)
    theirs = np.concatenate([run(path, sample[None]) for sample in x])
    np.testing.assert_array_equal(module(torch.from_numpy(x)).numpy(), theirs)


def test_a_fixed_batch_that_cannot_be_free_is_refused(tmp_path):
    nodes = [
        helper.make_node("Reshape", ["x", "t"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[1, 0]),
        helper.make_node("Reshape", ["b", "u"], ["y"]),
    ]
    path = write(tmp_path, model(nodes, {"t": ints(6, 32), "u": ints(1, 192)}, (1, 4, 6, 8)))
    with pytest.raises(ExportError, match="differs from onnxruntime"):
        load(path)


@pytest.mark.parametrize("batch", ["n", 1])
def test_a_class_token_is_repeated_for_each_sample(tmp_path, batch):
    nodes = [helper.make_node("Concat", ["token", "x"], ["t"], axis=1)]
    if batch == "n":
        nodes = [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
            helper.make_node("Concat", ["n", "rest"], ["to"], axis=0),
            helper.make_node("Expand", ["token", "to"], ["many"]),
            helper.make_node("Concat", ["many", "x"], ["t"], axis=1),
        ]
    nodes.append(helper.make_node("Add", ["t", "place"], ["y"]))
    weights = {
        "token": values(1, 1, 8),
        "place": values(1, 7, 8, seed=1),
        "zero": ints(0),
        "one": ints(1),
        "rest": ints(1, 8),
    }
    path = write(tmp_path, model(nodes, weights, (batch, 6, 8)))
    structure, module = load(path)
    assert structure["weights"] == {"token": [1, 1, 8], "place": [1, 7, 8]}
    assert module(torch.zeros(5, 6, 8)).shape == (5, 7, 8)


def test_weights_in_constant_nodes_keep_their_names_through_relayout(tmp_path):
    from onnx import numpy_helper

    nodes = [
        helper.make_node("Constant", [], ["conv.w"], value=numpy_helper.from_array(values(5, 4))),
        helper.make_node("Constant", [], ["s"], value_ints=[5, 4, 1, 1]),
        helper.make_node("Reshape", ["conv.w", "s"], ["w4"]),
        helper.make_node("Conv", ["x", "w4"], ["c"]),
        helper.make_node("Constant", [], ["six"], value_float=6.0),
        helper.make_node("Div", ["c", "six"], ["y"]),
    ]
    structure = check(tmp_path, nodes, {})
    assert structure["weights"] == {"conv_w": [5, 4, 1, 1]}
    assert structure["nodes"][1][1] == ["c", 6.0]


def test_a_shared_weight_stays_one_weight(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["y"]),
    ]
    structure = check(tmp_path, nodes, {"w": values(4, 4, 1, 1)})
    assert structure["weights"] == {"w": [4, 4, 1, 1]}


def test_dead_operators_do_not_matter(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["x"], ["dead"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    structure = check(tmp_path, nodes, {})
    assert [node[0] for node in structure["nodes"]] == ["Relu"]

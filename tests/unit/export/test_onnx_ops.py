"""Each operator of an ONNX file against onnxruntime, at a free batch."""

import numpy as np
import pytest
from onnx import helper

from harness.onnx_files import compare, ints, model, values, write

IMAGE = (3, 4, 9, 7)
SERIES = (3, 4, 11)
ROWS = (3, 6)


def check(tmp_path, nodes, weights, shape, opset=17):
    free = write(tmp_path, model(nodes, weights, ("n", *shape[1:]), opset=opset))
    return compare(free, values(*shape, seed=9))


def one(tmp_path, op, shape, weights=None, *, inputs=("x",), opset=17, **attributes):
    weights = weights or {}
    node = helper.make_node(op, [*inputs, *weights], ["y"], **attributes)
    return check(tmp_path, [node], weights, shape, opset)


CONVOLUTIONS = {
    "plain": ((5, 4, 3, 3), {}),
    "pads": ((5, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    "uneven pads": ((5, 4, 3, 3), {"pads": [0, 1, 2, 1]}),
    "strides": ((5, 4, 3, 2), {"strides": [2, 3], "kernel_shape": [3, 2]}),
    "dilated": ((5, 4, 3, 3), {"dilations": [2, 3]}),
    "groups": ((6, 2, 3, 3), {"group": 2}),
    "depthwise": ((8, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1], "strides": [2, 1]}),
    "same upper": ((5, 4, 2, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((5, 4, 2, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((5, 4, 2, 3), {"auto_pad": "VALID"}),
    "series": ((5, 4, 3), {"pads": [1, 2], "strides": [2]}),
    "series same": ((5, 4, 4), {"auto_pad": "SAME_LOWER", "strides": [3]}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_conv(tmp_path, case, bias):
    shape, attributes = CONVOLUTIONS[case]
    weights = {"w": values(*shape)} | ({"b": values(shape[0], seed=1)} if bias else {})
    structure = one(tmp_path, "Conv", IMAGE if len(shape) == 4 else SERIES, weights, **attributes)
    assert list(structure["weights"]) == list(weights)
    assert [node[0] for node in structure["nodes"]] == ["Conv"]


@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]}, {"group": 2}],
)
def test_conv_transpose(tmp_path, attributes):
    weights = {"w": values(4, 6, 3, 3), "b": values(6 * attributes.get("group", 1), seed=1)}
    one(tmp_path, "ConvTranspose", IMAGE, weights, **attributes)


POOLS = {
    "plain": {"kernel_shape": [3, 2]},
    "strides": {"kernel_shape": [3, 2], "strides": [2, 2]},
    "pads": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "uneven": {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [0, 1, 2, 0]},
    "wide pads": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [2, 2, 2, 2]},
    "ceil": {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    "ceil pads": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    "ceil uneven": {
        "kernel_shape": [3, 3],
        "strides": [3, 4],
        "pads": [1, 0, 0, 1],
        "ceil_mode": 1,
    },
    "ceil dropped": {
        "kernel_shape": [2, 2],
        "strides": [5, 4],
        "pads": [0, 0, 1, 1],
        "ceil_mode": 1,
    },
    "same upper": {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "same lower": {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
}


@pytest.mark.parametrize("case", POOLS)
def test_max_pool(tmp_path, case):
    one(tmp_path, "MaxPool", IMAGE, **POOLS[case])


def test_dilated_max_pool(tmp_path):
    one(tmp_path, "MaxPool", IMAGE, kernel_shape=[2, 3], dilations=[3, 2], pads=[1, 1, 1, 1])


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("include", [0, 1])
def test_average_pool(tmp_path, case, include):
    one(tmp_path, "AveragePool", IMAGE, opset=19, count_include_pad=include, **POOLS[case])


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pool_of_a_series(tmp_path, op):
    one(tmp_path, op, SERIES, kernel_shape=[3], strides=[2], pads=[1, 0])


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [IMAGE, SERIES])
def test_global_pool(tmp_path, op, shape):
    one(tmp_path, op, shape)


ACTIVATIONS = [
    ("Relu", {}),
    ("LeakyRelu", {}),
    ("LeakyRelu", {"alpha": 0.3}),
    ("Elu", {"alpha": 0.7}),
    ("Celu", {"alpha": 0.7}),
    ("Selu", {}),
    ("Selu", {"alpha": 1.5, "gamma": 1.1}),
    ("Sigmoid", {}),
    ("HardSigmoid", {}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.4}),
    ("HardSwish", {}),
    ("Tanh", {}),
    ("Softplus", {}),
    ("Softsign", {}),
    ("Mish", {}),
    ("Gelu", {}),
    ("Gelu", {"approximate": "tanh"}),
    ("Erf", {}),
    ("Exp", {}),
    ("Neg", {}),
    ("Abs", {}),
    ("Identity", {}),
]


@pytest.mark.parametrize(("op", "attributes"), ACTIVATIONS)
def test_activation(tmp_path, op, attributes):
    nodes = [
        helper.make_node("Neg", ["x"], ["t"]),
        helper.make_node(op, ["t"], ["y"], **attributes),
    ]
    check(tmp_path, nodes, {}, IMAGE, 20)


@pytest.mark.parametrize("op", ["Sqrt", "Log", "Reciprocal"])
def test_function_of_positive_values(tmp_path, op):
    nodes = [helper.make_node("Exp", ["x"], ["t"]), helper.make_node(op, ["t"], ["y"])]
    check(tmp_path, nodes, {}, IMAGE)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1,), (1, 4, 1, 1), (7,), (9, 1)])
def test_prelu(tmp_path, shape):
    structure = one(tmp_path, "PRelu", IMAGE, {"slope": values(*shape)})
    assert structure["weights"]["slope"] in ([4], [1], list(shape))


@pytest.mark.parametrize(
    ("opset", "weights", "attributes"),
    [
        (7, {}, {"min": -0.5, "max": 0.25}),
        (7, {}, {"min": 0.0}),
        (7, {}, {}),
        (13, {"low": np.float32(-0.5), "high": np.float32(0.25)}, {}),
        (13, {"low": np.float32(-0.5)}, {}),
    ],
)
def test_clip(tmp_path, opset, weights, attributes):
    nodes = [
        helper.make_node("Neg", ["x"], ["t"]),
        helper.make_node("Clip", ["t", *weights], ["y"], **attributes),
    ]
    check(tmp_path, nodes, {k: np.array(v) for k, v in weights.items()}, IMAGE, opset)


def test_clip_from_above_only(tmp_path):
    one(tmp_path, "Clip", IMAGE, {"high": np.array(0.5, np.float32)}, inputs=("x", ""))


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(
    ("opset", "axis", "shape"),
    [(11, 1, IMAGE), (11, 3, IMAGE), (11, 1, ROWS), (13, 1, IMAGE), (13, -1, IMAGE), (13, 1, ROWS)],
)
def test_softmax(tmp_path, op, opset, axis, shape):
    one(tmp_path, op, shape, opset=opset, axis=axis)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_by_default(tmp_path, op, opset):
    one(tmp_path, op, IMAGE, opset=opset)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"])
@pytest.mark.parametrize(("axes", "keep"), [([2, 3], 1), ([-1], 0), ([1, 2, 3], 0)])
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_reduce(tmp_path, op, axes, keep, opset):
    as_input = opset >= (13 if op == "ReduceSum" else 18)
    weights = {"axes": ints(*axes)} if as_input else {}
    attributes = {} if as_input else {"axes": axes}
    one(tmp_path, op, IMAGE, weights, opset=opset, keepdims=keep, **attributes)


@pytest.mark.parametrize(
    ("flip", "alpha", "beta", "bias"),
    [
        (1, 1.0, 1.0, (5,)),
        (1, 1.0, 1.0, (1, 5)),
        (1, 1.0, 1.0, None),
        (0, 1.0, 1.0, (5,)),
        (0, 0.5, 2.0, (5,)),
        (1, 0.5, 1.0, (1,)),
    ],
)
def test_gemm(tmp_path, flip, alpha, beta, bias):
    weights = {"w": values(5, 6) if flip else values(6, 5)}
    weights |= {"b": values(*bias, seed=1)} if bias else {}
    one(tmp_path, "Gemm", ROWS, weights, transB=flip, alpha=alpha, beta=beta)


def test_matmul_with_a_bias_of_one_value_keeps_it_as_a_weight(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"]),
        helper.make_node("Add", ["t", "b"], ["u"]),
        helper.make_node("Mul", ["u", "c"], ["y"]),
    ]
    weights = {"w": values(6, 1), "b": values(1, seed=1), "c": values(1, seed=2)}
    structure = check(tmp_path, nodes, weights, ROWS)
    assert structure["weights"] == {"w": [6, 1], "b": [1]}
    assert structure["nodes"][2][1][1] == pytest.approx(float(weights["c"][0]))


def test_attention(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "q"], ["a"]),
        helper.make_node("MatMul", ["x", "k"], ["b"]),
        helper.make_node("Transpose", ["b"], ["bt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["a", "bt"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "x"], ["y"]),
    ]
    weights = {"q": values(11, 5), "k": values(11, 5, seed=1)}
    check(tmp_path, nodes, weights, SERIES)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (), (1,), (7,)])
@pytest.mark.parametrize("first", [False, True])
def test_arithmetic_with_constants(tmp_path, op, shape, first):
    inputs = ["c", "t"] if first else ["t", "c"]
    nodes = [helper.make_node("Exp", ["x"], ["t"]), helper.make_node(op, inputs, ["y"])]
    structure = check(tmp_path, nodes, {"c": np.exp(values(*shape, seed=2))}, IMAGE)
    assert list(structure["weights"]) == ([] if np.prod(shape) == 1 else ["c"])


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"])
def test_arithmetic_of_two_tensors(tmp_path, op):
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["b"], axes=[2, 3]),
        helper.make_node(op, ["a", "b"], ["y"]),
    ]
    check(tmp_path, nodes, {}, IMAGE)


@pytest.mark.parametrize("exponent", [np.array(2, np.int64), np.array(0.5, np.float32)])
def test_pow(tmp_path, exponent):
    nodes = [helper.make_node("Exp", ["x"], ["t"]), helper.make_node("Pow", ["t", "e"], ["y"])]
    check(tmp_path, nodes, {"e": exponent}, IMAGE)


@pytest.mark.parametrize("op", ["Min", "Max"])
def test_extreme_of_three(tmp_path, op):
    nodes = [
        helper.make_node("Neg", ["x"], ["t"]),
        helper.make_node(op, ["x", "c", "t"], ["y"]),
    ]
    check(tmp_path, nodes, {"c": np.array(0.1, np.float32)}, IMAGE)


@pytest.mark.parametrize("opset", [7, 14, 15])
@pytest.mark.parametrize("shape", [IMAGE, SERIES, ROWS])
def test_batch_norm_is_a_real_one(tmp_path, opset, shape):
    from torch import nn

    from slfac.export.onnx_model import build

    c = shape[1]
    weights = {
        "bn.weight": values(c),
        "bn.bias": values(c, seed=1),
        "bn.running_mean": values(c, seed=2),
        "bn.running_var": np.exp(values(c, seed=3)),
    }
    structure = one(
        tmp_path, "BatchNormalization", shape, weights, opset=opset, epsilon=1e-3, momentum=0.8
    )
    module = build(structure).get_submodule("bn")
    assert isinstance(module, nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)
    assert (module.eps, module.momentum) == (1e-3, 0.2)


@pytest.mark.parametrize("shape", [IMAGE, SERIES])
def test_instance_norm(tmp_path, shape):
    weights = {"w": values(4), "b": values(4, seed=1)}
    one(tmp_path, "InstanceNormalization", shape, weights, epsilon=1e-3)


def test_group_norm(tmp_path):
    weights = {"w": values(4), "b": values(4, seed=1)}
    one(tmp_path, "GroupNormalization", IMAGE, weights, opset=21, num_groups=2)


@pytest.mark.parametrize(("axis", "shape"), [(-1, (7,)), (2, (9, 7)), (1, (4, 9, 7))])
@pytest.mark.parametrize("bias", [False, True])
def test_layer_norm(tmp_path, axis, shape, bias):
    weights = {"w": values(*shape)} | ({"b": values(*shape, seed=1)} if bias else {})
    one(tmp_path, "LayerNormalization", IMAGE, weights, axis=axis, epsilon=1e-3)


@pytest.mark.parametrize(
    ("opset", "attributes", "weights", "ratio"),
    [
        (7, {"ratio": 0.3}, {}, 0.3),
        (7, {}, {}, None),
        (13, {}, {"r": np.array(0.3, np.float32)}, 0.3),
        (13, {}, {"r": np.array(0.3, np.float32), "t": np.array(False)}, 0.3),
        (13, {}, {}, None),
    ],
)
def test_dropout(tmp_path, opset, attributes, weights, ratio):
    from torch import nn

    from slfac.export.onnx_model import build

    nodes = [
        helper.make_node("Neg", ["x"], ["t0"]),
        helper.make_node("Dropout", ["t0", *weights], ["y"], **attributes),
    ]
    structure = check(tmp_path, nodes, weights, IMAGE, opset)
    drops = [m for m in build(structure).modules() if isinstance(m, nn.Dropout)]
    assert [m.p for m in drops] == ([ratio] if ratio else [])

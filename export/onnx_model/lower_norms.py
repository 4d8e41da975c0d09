"""Normalisations and dropout of a file as operators of a structure."""

from __future__ import annotations

from slfac.export.onnx_model.lower_layers import Lower
from slfac.export.onnx_model.lowering import Lowering
from slfac.export.onnx_model.node import Node
from slfac.export.onnx_model.values import Known

_TRAINING = "export the model in evaluation mode, with BatchNorm left unfolded"


def _batch_norm(node: Node, to: Lowering) -> None:
    if node.attribute("training_mode", 0) or any(node.outputs[1:]):
        node.refuse("was exported in training mode", _TRAINING)
    if node.attribute("spatial", 1) != 1:
        node.refuse("has statistics for every pixel")
    x = node.live()
    features = x.static(1) if x.rank in {2, 3, 4} else None
    arrays = [node.array(i) for i in range(1, 5)]
    weights = [a for a in arrays if a is not None and a.shape == (features,)]
    if len(weights) != 4:
        node.refuse(f"does not have four weights of {features} values")
    origins = [v.origin for v in node.inputs[1:5] if isinstance(v, Known)]
    if (weights[3] < 0).any():
        node.refuse("has a negative variance")
    momentum = round(1 - node.attribute("momentum", 0.9), 9)
    eps = node.attribute("epsilon", 1e-5)
    to.emit_batch_norm(node, weights, origins, eps=eps, momentum=momentum)


def _instance_norm(node: Node, to: Lowering) -> None:
    to.emit(node, node.op, node.inputs, {"eps": node.attribute("epsilon", 1e-5)})


def _group_norm(node: Node, to: Lowering) -> None:
    attributes = {"groups": node.attribute("num_groups"), "eps": node.attribute("epsilon", 1e-5)}
    to.emit(node, node.op, node.inputs, attributes)


def _layer_norm(node: Node, to: Lowering) -> None:
    if any(node.outputs[1:]):
        node.refuse("gives its statistics too")
    x = node.live()
    axis = node.axis(node.attribute("axis", -1), x.rank)
    sizes = [x.static(i) for i in range(axis, x.rank)]
    shape = [size for size in sizes if size is not None]
    if len(shape) != len(sizes):
        node.refuse("runs over the batch axis")
    for index in (1, 2):
        array = node.array(index)
        if array is not None and list(array.shape) != shape:
            node.refuse(f"has weights of {list(array.shape)} for values of {shape}")
    inputs = node.inputs[:3] if node.input(2) is not None else node.inputs[:2]
    to.emit(node, node.op, inputs, {"shape": shape, "eps": node.attribute("epsilon", 1e-5)})


def _dropout(node: Node, to: Lowering) -> None:
    if any(node.outputs[1:]):
        node.refuse("gives its mask too")
    training = node.array(2)
    if training is not None and bool(training.any()):
        node.refuse("was exported in training mode", _TRAINING)
    ratio = node.number(1) if node.opset >= 12 else node.attribute("ratio")
    if ratio is None or ratio == 0:
        to.alias(node, node.live())
        return
    if not 0 < ratio < 1:
        node.refuse(f"has the ratio {ratio}")
    to.emit(node, "Dropout", [node.live()], {"p": ratio})


NORMS: dict[str, Lower] = {
    "BatchNormalization": _batch_norm,
    "Dropout": _dropout,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
}

"""The manifest of a bundle: what its graphs take and give, and how the back is rebuilt.

A bundle is a folder. Its id is the sha256 of ``manifest.json``, which holds the sha256 of
every other file, so one id stands for the whole folder. ``docs/wire-format.md`` is
normative for the fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

# Bundles without a head are written as before, so that older releases go on reading them.
SCHEMA_VERSION = 2
HEAD_SCHEMA_VERSION = 3
MANIFEST_NAME = "manifest.json"
# With the manifest, as many as one message has sections: so a bundle travels in one reply.
MAX_FILES = 15

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Dim = Annotated[int, Meta(ge=1, le=2**24)]
Shape = Annotated[tuple[Dim, ...], Meta(max_length=8)]
Loss = Literal["cross_entropy", "bce_with_logits", "mse"]


class FileEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the bundle.

    Attributes:
        sha256: Hex digest of the file's bytes.
        length_bytes: Its size.
    """

    sha256: Sha256
    length_bytes: Annotated[int, Meta(ge=0, le=2**32)]


class TensorSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A named tensor, without its batch axis where it has one.

    Attributes:
        name: Its name in the graphs (and, for a parameter or buffer, in torch).
        shape: Its shape; the leading batch axis of inputs and activations is left out.
        dtype: A NumPy dtype name.
    """

    name: Name
    shape: Shape
    dtype: Literal["float32", "int64"] = "float32"


class BufferSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A buffer of the front or head, and how a training step changes it.

    Attributes:
        tensor: Its name, shape and dtype.
        update: ``graph`` when a graph puts out its new value under ``output``, ``count``
            when each training step adds one (``num_batches_tracked``), ``none`` otherwise.
        output: The graph output that holds its new value; empty unless ``graph``.
    """

    tensor: TensorSpec
    update: Literal["graph", "count", "none"]
    output: str = ""


class RandomSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Uniform numbers in [0, 1) that a training step of the front draws, as for dropout.

    Attributes:
        name: The input of the forward graph, or of the head's, that takes them, ``float32``.
        shape: Their shape, without the batch axis where they have one.
        per_sample: Whether each sample has its own: the batch axis comes first.
    """

    name: Name
    shape: Shape
    per_sample: bool


class Graph(Struct, frozen=True, forbid_unknown_fields=True):
    """One ONNX graph of the bundle.

    Attributes:
        file: Its file name.
        inputs: Names of its inputs, in order.
        outputs: Names of its outputs, in order.
        frozen: Tensors of the front's state that no step changes, whose values are not in
            the file but given when it is opened. Of ``infer`` these are all, and unnamed.
    """

    file: FileName
    inputs: tuple[Name, ...]
    outputs: tuple[Name, ...]
    frozen: tuple[Name, ...] = ()


class Graphs(Struct, frozen=True, forbid_unknown_fields=True):
    """The graphs that a front is made of.

    Attributes:
        forward: ``x``, parameters, buffers -> smashed data, residuals, new buffers.
        backward: Residuals, gradient of the smashed data, parameters -> gradients of the
            parameters, new buffers. Inputs named as the forward's in- or outputs are fed
            from them.
        infer: Evaluation-mode front; its weights are initializers stored outside the
            file, to be injected at load. Inputs: ``x`` alone.
        gradients: Parameter name -> backward output that holds its gradient.
        smashed_gradients: Smashed tensor name -> backward input that takes its gradient.
    """

    forward: Graph
    backward: Graph
    infer: Graph
    gradients: dict[Name, Name]
    smashed_gradients: dict[Name, Name]


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """The last part of a model that is cut twice: from the middle's outputs to the loss.

    It is trained where the front is, and the server has what lies between. Its parameters and
    buffers are among those of the manifest.

    Attributes:
        cut: Where the middle ends, for people and for whoever rebuilds it.
        inputs: What the middle gives, in order; these cross the network too.
        state: Those of the manifest's parameters and buffers that are the head's alone.
        step: ``inputs``, target, random numbers, parameters, buffers -> mean loss, gradients
            of the inputs, gradients of the parameters, new buffers.
        infer: Evaluation-mode head; all its weights are frozen in it. Inputs: ``inputs``
            alone; one output, the model's.
        target: The step's input that takes the targets: ``(B,) int64`` for
            ``cross_entropy``, ``(B, num_outputs) float32`` otherwise.
        loss: The step's output that holds the mean loss.
        input_gradients: Input -> output of the step that holds its gradient.
        gradients: Parameter name -> output of the step that holds its gradient.
        random: What a training step draws, in order, after what the front draws.
    """

    cut: Name
    inputs: Annotated[tuple[TensorSpec, ...], Meta(min_length=1, max_length=8)]
    state: tuple[Name, ...]
    step: Graph
    infer: Graph
    target: Name
    loss: Name
    input_gradients: dict[Name, Name]
    gradients: dict[Name, Name]
    random: Annotated[tuple[RandomSpec, ...], Meta(max_length=256)] = ()


class Preprocessing(Struct, frozen=True, forbid_unknown_fields=True):
    """From stored values to the front's input: ``(x * scale - mean) / std`` per channel.

    Attributes:
        scale: Multiplies the stored value (1/255 for 8-bit images).
        mean: One value a channel, or one for all.
        std: One value a channel, or one for all.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Annotated[float, Meta(gt=0)], ...] = (1.0,)


class BackSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """How a server rebuilds the back half.

    Attributes:
        factory: ``package.module:callable`` that makes the whole model, or the back half
            itself; servers call only allow-listed ones.
        kwargs: JSON values passed to it.
        cut: Where the whole model is cut; empty for a factory of back halves.
    """

    factory: Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z", max_length=256)]
    kwargs: dict[str, Any] = {}
    cut: Annotated[str, Meta(max_length=256)] = ""


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything about a bundle except the bytes of its files.

    Attributes:
        schema_version: Version of this structure: 3 where there is a head, else 2.
        slfac_version: The release that wrote it.
        model: Name of the model, for people.
        cut: Name of the cut layer, for people.
        opset: ONNX opset of the graphs.
        batch_norm: Whether the front or head holds training-mode BatchNorm.
        input: The front's input ``x``, without batch axis.
        smashed: The tensors that cross the network, in order.
        parameters: Trainable tensors of the front and head, in order.
        buffers: Their buffers, in order.
        graphs: The ONNX graphs.
        random: What a training step of the front draws, in order.
        num_outputs: Width of the model's output (classes for cross_entropy).
        loss: The loss's name.
        preprocessing: From stored values to ``x``.
        back: How the back half is rebuilt.
        files: File name -> hash and size, for every file but the manifest.
        head: The part behind the middle; left out where the back goes to the end.
    """

    schema_version: int = SCHEMA_VERSION
    slfac_version: str
    model: Name
    cut: Name
    opset: int
    batch_norm: bool
    input: TensorSpec
    smashed: Annotated[tuple[TensorSpec, ...], Meta(min_length=1, max_length=8)]
    parameters: tuple[TensorSpec, ...]
    buffers: tuple[BufferSpec, ...]
    graphs: Graphs
    random: Annotated[tuple[RandomSpec, ...], Meta(max_length=256)] = ()
    num_outputs: Dim
    loss: Loss = "cross_entropy"
    preprocessing: Preprocessing = Preprocessing()
    back: BackSpec
    files: Annotated[dict[FileName, FileEntry], Meta(max_length=MAX_FILES)]
    head: Head | UnsetType = UNSET


def encode_manifest(manifest: Manifest) -> bytes:
    """Serialise a manifest; equal manifests give equal bytes.

    Args:
        manifest: What to write.

    Returns:
        Indented UTF-8 JSON with a final newline.
    """
    raw = msgspec.json.encode(manifest, order="deterministic")
    return msgspec.json.format(raw, indent=2) + b"\n"

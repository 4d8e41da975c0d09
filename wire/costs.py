"""What a front costs a board, layer by layer: the file ``costs.json`` of a bundle.

It is a count, not a measurement, and the same for every board. ``docs/wire-format.md`` is
normative for the fields.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from slfac.wire.bundle import Bundle
from slfac.wire.errors import BundleError

COSTS_FILE: Final = "costs.json"
COSTS_SCHEMA: Final = 1
MAX_COSTS_BYTES: Final = 1 << 24
_REMEDY = "export the bundle again"

LayerKind = Literal["conv", "depthwise", "matmul", "norm", "other"]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class Layer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One node of a front's graph. An addition and a multiplication are two operations.

    Attributes:
        name: Its name, for people.
        kind: What it mostly does: ``depthwise`` is a convolution with a group for each
            channel, ``conv`` any other, ``matmul`` a product of matrices, ``norm`` a
            normalisation, ``other`` what has no products.
        forward_flop: Operations of products in its forward pass, a sample.
        backward_flop: The same of its gradients.
        forward_bytes: Bytes of activations that its forward pass reads and writes, a sample.
        backward_bytes: The same of its gradients.
        weight_bytes: Of its trainable weights, whatever the batch; of those that several
            layers share, the first has them.
    """

    name: Annotated[str, Meta(max_length=256)]
    kind: LayerKind
    forward_flop: Count
    backward_flop: Count
    forward_bytes: Count
    backward_bytes: Count
    weight_bytes: Count


class Costs(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a front's training step costs.

    Attributes:
        schema: Version of this structure.
        layers: The nodes that do something, in order.
        residual_bytes: What is held between the two passes, a sample.
    """

    schema: int = COSTS_SCHEMA
    layers: Annotated[tuple[Layer, ...], Meta(max_length=65536)]
    residual_bytes: Count

    @property
    def weight_bytes(self) -> int:
        """Bytes of all trainable weights."""
        return sum(layer.weight_bytes for layer in self.layers)


def encode_costs(costs: Costs) -> bytes:
    """Serialise costs; equal costs give equal bytes.

    Args:
        costs: What to write.

    Returns:
        Indented UTF-8 JSON with a final newline.
    """
    raw = msgspec.json.encode(costs, order="deterministic")
    return msgspec.json.format(raw, indent=1) + b"\n"


def costs_id(costs: Costs) -> str:
    """What tells fronts apart that cost alike: their weights do not matter.

    Args:
        costs: The costs.

    Returns:
        SHA-256 of what :func:`encode_costs` gives, as hex.
    """
    return hashlib.sha256(encode_costs(costs)).hexdigest()


def decode_costs(data: bytes, what: str = COSTS_FILE) -> Costs:
    """Parse and validate costs.

    Args:
        data: The file's bytes.
        what: What to call it in an error.

    Returns:
        The costs.

    Raises:
        BundleError: They are no JSON, of another schema, or a field is out of range.
    """
    if len(data) > MAX_COSTS_BYTES:
        raise BundleError(f"{what} has {len(data)} bytes, more than costs may", _REMEDY)
    try:
        schema = msgspec.json.decode(data, type=_Versioned).schema
        if schema != COSTS_SCHEMA:
            raise BundleError(
                f"{what}: schema is {schema}, this release reads {COSTS_SCHEMA}", _REMEDY
            )
        return msgspec.json.decode(data, type=Costs)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{what} holds no valid costs: {error}", _REMEDY) from error


def read_costs(bundle: Bundle) -> Costs | None:
    """What the front of a bundle costs.

    Args:
        bundle: The bundle.

    Returns:
        The costs; None if the bundle has none, as those of older releases and those that a
        device got from its server, which are only what training needs.

    Raises:
        BundleError: The file is not what the manifest says, or malformed.
    """
    entry = bundle.manifest.files.get(COSTS_FILE)
    path = bundle.path / COSTS_FILE
    if entry is None or not path.exists():
        return None
    if entry.length_bytes > MAX_COSTS_BYTES:
        raise BundleError(f"{path} has {entry.length_bytes} bytes, more than costs may", _REMEDY)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}", _REMEDY) from error
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BundleError(f"{path} does not match its hash in the manifest", _REMEDY)
    return decode_costs(data, str(path))


class _Versioned(Struct):
    schema: int

"""The body of an slfac-rd payload: fields to bytes and back.

``docs/codec-format-rd.md`` is normative. The reader derives the size of every section from
what it has read and compares it with the buffer before it allocates the section.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from slfac.codec.container import DAMAGED
from slfac.codec.maps.layout import MapLayout, read_layout
from slfac.codec.packing import pack
from slfac.codec.rd.basis import Basis, read_basis, write_basis
from slfac.codec.rd.contexts import MAX_CLASS, Classes, ContextMap
from slfac.codec.rd.dense import read_dense, write_dense
from slfac.codec.rd.frame import frame_shape
from slfac.codec.rd.planes import group_count, groups
from slfac.codec.rd.stream import Coded, read_stream, write_stream
from slfac.codec.sections import SectionReader
from slfac.wire.errors import CodecError

MAX_EXPONENT = 127
MIN_EXPONENT = -149
_DCT, _BASIS, _ZERO, _DENSE = 2, 4, 8, 16
_CLASS_BITS = MAX_CLASS.bit_length()
# Of arrays that were not scaled, and of those that were.
_MAX_LIMITS = (2.0**31, 2.0)
_MIN_STEP, _MAX_STEP = 2.0**-100, 2.0**48


@dataclass(frozen=True)
class Body:
    """Everything that a payload holds after its container header.

    Attributes:
        layout: How the array divides into maps.
        dct: Whether planes are transformed.
        basis: The channel transform, if there is one.
        exponent: Everything is to be multiplied by two to this power.
        step: Step size, float32.
        limits: Smallest and largest value of the array.
        offsets: Where values of code 1, 2 and more lie; 128 is the middle.
        classes: What the contexts follow from.
        coded: The codes, in the order of contexts.
        dense: Whether they are coded by the denser of two coders.
    """

    layout: MapLayout
    dct: bool
    basis: Basis | None
    exponent: int
    step: float
    limits: tuple[float, float]
    offsets: tuple[int, ...]
    classes: Classes
    coded: Coded
    dense: bool


def write_zero_body(layout: MapLayout) -> bytes:
    """The body of an array that is all zero: one byte."""
    return bytes((layout.axes | _ZERO,))


def write_body(body: Body, contexts: ContextMap) -> list[bytes]:
    """Serialise a body.

    Args:
        body: What to write.
        contexts: What its classes give.

    Returns:
        The sections, to be joined.
    """
    flags = body.layout.axes | _DCT * body.dct | _BASIS * (body.basis is not None)
    fixed = body.exponent, body.step, *body.limits, *body.offsets
    classes = np.concatenate((body.classes.samples, body.classes.channels, body.classes.groups))
    return [
        struct.pack("<Bhfff3B", flags | _DENSE * body.dense, *fixed),
        *(write_basis(body.basis) if body.basis is not None else ()),
        pack(classes, _CLASS_BITS),
        *write_codes(body, contexts),
    ]


def write_codes(body: Body, contexts: ContextMap) -> list[bytes]:
    """Serialise the entropy-coded part of a body, which ends it.

    Args:
        body: What to write.
        contexts: What its classes give.

    Returns:
        The sections, to be joined.
    """
    write = write_dense if body.dense else write_stream
    signed = _signed(transformed=body.dct or body.basis is not None, low=body.limits[0])
    return write(body.coded, contexts.sizes, signed=signed)


def read_body(data: memoryview, shape: tuple[int, ...]) -> tuple[Body, ContextMap] | None:
    """Parse and check a body.

    Args:
        data: The payload after its container header.
        shape: The shape in that header.

    Returns:
        The body and its contexts, or None for an array that is all zero.

    Raises:
        CodecError: A field has a value that no encoder writes, or the sections do not
            fill the data exactly.
    """
    reader = SectionReader(data)
    flags = reader.take(1, "flags")[0]
    if flags > 31:
        raise CodecError(f"payload: flags are {flags}", DAMAGED)
    layout = read_layout(shape, flags & 1)
    if flags & _ZERO:
        if flags & (_DCT | _BASIS | _DENSE):
            raise CodecError(f"payload: flags are {flags}", DAMAGED)
        reader.finish()
        return None
    exponent, step, low, high, *offsets = struct.unpack("<hfff3B", reader.take(17, "fixed fields"))
    _check_fixed(exponent, step, low, high)
    samples, channels, height, width = frame_shape(layout)
    basis = read_basis(reader, channels) if flags & _BASIS else None
    components = channels if basis is None else len(basis.entries)
    dct = bool(flags & _DCT)
    classes = _read_classes(reader, samples, components, group_count(height, width, dct=dct))
    # Only now, for behind a few bytes there may be a claim of a million positions.
    contexts = ContextMap(classes, groups(height, width, dct=dct))
    read = read_dense if flags & _DENSE else read_stream
    signed = _signed(transformed=dct or basis is not None, low=low)
    coded = read(reader, contexts.sizes, signed=signed)
    reader.finish()
    limits, dense = (low, high), bool(flags & _DENSE)
    body = Body(layout, dct, basis, exponent, step, limits, tuple(offsets), classes, coded, dense)
    return body, contexts


def _signed(*, transformed: bool, low: float) -> bool:
    # Codes of values as they are, such as those of a ReLU, have no signs to send.
    return transformed or low < 0


def _check_fixed(exponent: int, step: float, low: float, high: float) -> None:
    if not MIN_EXPONENT <= exponent <= MAX_EXPONENT:
        raise CodecError(f"payload: exponent is {exponent}", DAMAGED)
    # Written so that NaN fails too.
    if not _MIN_STEP <= step <= _MAX_STEP:
        raise CodecError(f"payload: step is {step:g}", DAMAGED)
    most = _MAX_LIMITS[exponent != 0]
    if not -most < low <= high < most:
        raise CodecError(f"payload: limits are {low:g} and {high:g}", DAMAGED)


def _read_classes(reader: SectionReader, samples: int, channels: int, grouped: int) -> Classes:
    packed = reader.packed(samples + channels + grouped, _CLASS_BITS, "classes")
    classes = packed.astype(np.int64)
    return Classes(*np.split(classes, (samples, samples + channels)))

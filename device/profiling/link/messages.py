"""What a device and a peer say to each other while they measure a link (docs/calibration.md).

::

    0  2  magic  b"SL"
    2  1  version
    3  .. message (MessagePack, an array struct)

A ZeroMQ message is two frames: such a header, and a body whose bytes mean nothing. It is no part
of the protocol in which devices train; the magic tells the two apart.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from slfac.wire.errors import ProtocolError
from slfac.wire.frame import MAGIC as TRAINING_MAGIC
from slfac.wire.frame import MAX_BODY_BYTES

MAGIC: Final = b"SL"
VERSION: Final = 1
MAX_HEADER_BYTES: Final = 1024
#: Bodies that one Get may ask for, and the longest time between two of them.
MOST_BODIES: Final = 65536
MOST_GAP_US: Final = 1_000_000
_PREFIX: Final = MAGIC + bytes([VERSION])
_SAME: Final = "install the same release of slfac on both ends"

U63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Put(Struct, array_like=True, frozen=True, tag=1):
    """Device -> peer: take the body.

    Attributes:
        seq: Counts the device's messages.
        answer: Whether the peer is to answer with Taken.
    """

    seq: U63
    answer: bool


class Get(Struct, array_like=True, frozen=True, tag=2):
    """Device -> peer: send bodies.

    Attributes:
        seq: Counts the device's messages.
        count: How many.
        body_bytes: Length of each.
        gap_us: Microseconds from one to the next; 0 for as fast as the link takes them.
    """

    seq: U63
    count: Annotated[int, Meta(ge=1, le=MOST_BODIES)]
    body_bytes: Annotated[int, Meta(ge=0, le=MAX_BODY_BYTES)]
    gap_us: Annotated[int, Meta(ge=0, le=MOST_GAP_US)]


class Leave(Struct, array_like=True, frozen=True, tag=3):
    """Device -> peer: that was all."""


class Taken(Struct, array_like=True, frozen=True, tag=4):
    """Peer -> device, the answer to a Put that asks for one.

    Attributes:
        seq: The Put's.
        messages: Puts that this device's connection has brought.
        bytes: Bytes of their bodies.
        software: Release of slfac on the peer.
    """

    seq: U63
    messages: U63
    bytes: U63
    software: Annotated[str, Meta(max_length=64)]


class Given(Struct, array_like=True, frozen=True, tag=5):
    """Peer -> device, with one of the bodies that a Get asked for.

    Attributes:
        seq: The Get's.
        left: How many of them are still to come.
    """

    seq: U63
    left: U63


class Refused(Struct, array_like=True, frozen=True, tag=6):
    """Peer -> device: no. The peer forgets what the device was doing.

    Attributes:
        reason: Why.
        remedy: What to do about it; empty where nothing can be done.
    """

    reason: Annotated[str, Meta(max_length=256)]
    remedy: Annotated[str, Meta(max_length=256)]


Asked = Put | Get | Leave
Said = Taken | Given | Refused
_encoder = msgspec.msgpack.Encoder()
_asked: msgspec.msgpack.Decoder[Asked] = msgspec.msgpack.Decoder(Asked)
_said: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)


def encode(message: Asked | Said) -> bytes:
    """The header frame of a message.

    Args:
        message: The message.
    """
    return _PREFIX + _encoder.encode(message)


def decode_asked(frame: bytes | memoryview) -> Asked:
    """Read what a device says.

    Args:
        frame: The header frame.

    Raises:
        ProtocolError: It is of another protocol or version, or malformed.
    """
    try:
        return _asked.decode(_message(frame))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"malformed message: {error}", cause="header") from error


def decode_said(frame: bytes | memoryview) -> Said:
    """Read what a peer says.

    Args:
        frame: The header frame.

    Raises:
        ProtocolError: It is of another protocol or version, or malformed.
    """
    try:
        return _said.decode(_message(frame))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"malformed message: {error}", cause="header") from error


def _message(frame: bytes | memoryview) -> memoryview:
    view = memoryview(frame)
    if len(view) > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header of {len(view)} bytes exceeds {MAX_HEADER_BYTES}")
    magic = bytes(view[:2])
    if magic == TRAINING_MAGIC:
        raise ProtocolError(
            "the other end trains, and measures no links",
            "a link is measured against `slfac profile peer`, a training against `slfac server`",
        )
    if magic != MAGIC or len(view) < len(_PREFIX):
        raise ProtocolError("the other end is no peer of slfac", "check the address")
    if view[2] != VERSION:
        raise ProtocolError(
            f"the other end measures by version {view[2]}, this release by {VERSION}", _SAME
        )
    return view[3:]

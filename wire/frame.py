"""Header frames: a prefix that never changes, then one message in MessagePack.

::

    0  2  magic  b"SF"
    2  1  protocol version
    3  .. message (MessagePack, see slfac.wire.messages)

Every ZeroMQ message of the protocol is two frames: a header frame and a body, which is
empty or holds payload bytes.
"""

from __future__ import annotations

import msgspec

from slfac.wire.errors import ProtocolError
from slfac.wire.messages import Message

MAGIC = b"SF"
PROTOCOL_VERSION = 1
MAX_HEADER_BYTES = 4096
MAX_BODY_BYTES = 64 * 1024
_PREFIX = MAGIC + bytes([PROTOCOL_VERSION])

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode_header(message: Message) -> bytes:
    """Serialise a message into a header frame.

    Args:
        message: What to send.

    Returns:
        The frame.

    Raises:
        ProtocolError: It does not fit into a header frame.
    """
    frame = _PREFIX + _encoder.encode(message)
    if len(frame) > MAX_HEADER_BYTES:
        raise ProtocolError(
            f"a {type(message).__name__} header takes {len(frame)} bytes, "
            f"{MAX_HEADER_BYTES} are allowed",
            "send fewer sections, or shorter names",
        )
    return frame


def decode_header(frame: bytes | memoryview) -> Message:
    """Parse and validate a header frame from the network.

    Args:
        frame: The frame.

    Returns:
        The message, every field within its documented bounds.

    Raises:
        ProtocolError: The frame is of another protocol version, or malformed.
    """
    if len(frame) > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header frame of {len(frame)} bytes exceeds {MAX_HEADER_BYTES}")
    if bytes(frame[:2]) != MAGIC or len(frame) < len(_PREFIX):
        raise ProtocolError("the other end does not speak slfac's protocol", "check the address")
    if frame[2] != PROTOCOL_VERSION:
        raise ProtocolError(
            f"the other end speaks protocol version {frame[2]}, "
            f"this release speaks {PROTOCOL_VERSION}",
            "install the same release of slfac on both ends",
        )
    try:
        return _decoder.decode(frame[3:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # msgspec raises UnicodeDecodeError itself on text that is not UTF-8.
        raise ProtocolError(f"malformed message: {error}") from error

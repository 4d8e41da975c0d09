"""Payloads in chunks: cutting and sending under credit, collecting and checking.

A single large frame on a slow link keeps heartbeats from passing, and the link livelocks;
so a payload goes in chunks of at most 64 KB, one ZeroMQ message each. The first travels as
the body of the message that announces the payload. A receiver grants credit as it takes
bytes in, so what lies in queues is bounded by the window whatever the payload's size.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from slfac.wire.errors import ProtocolError
from slfac.wire.frame import MAX_BODY_BYTES, decode_header, encode_header
from slfac.wire.messages import Chunk, Credit, Message, Role, Section, Tensors

WINDOW_BYTES = 1 << 20
# Grants come in quarter windows: with less room than that and a chunk beyond it, a sender could
# wait for one for ever. With half windows, a sender waits for grants at 100 Mbit/s and 40 ms.
_GRANTS_A_WINDOW = 4
MIN_WINDOW_BYTES = 2 * MAX_BODY_BYTES
# Handing a small frame over without copying costs more than copying it (pyzmq #1032).
COPY_BELOW_BYTES = 16 * 1024
Buffer = bytes | bytearray | memoryview
Frames = tuple[tuple[bytes, Buffer], ...]
H = TypeVar("H", bound=Tensors)


@dataclass(frozen=True)
class Part:
    """One section with its bytes, on its way out.

    Attributes:
        role: What it is.
        name: Tensor or file name.
        data: Its bytes.
        codec: Spec of the codec that wrote it.
        shape: Shape of the array inside.
        dtype: dtype of the array inside.
    """

    role: Role
    name: str
    data: Buffer
    codec: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""

    def section(self) -> Section:
        """The entry that describes it in a header."""
        return Section(
            role=self.role,
            name=self.name,
            codec=self.codec,
            shape=self.shape,
            dtype=self.dtype,
            length=memoryview(self.data).nbytes,
            crc=zlib.crc32(self.data),
        )


@dataclass(frozen=True)
class Transfer(Generic[H]):
    """A request or reply with its whole payload, checked.

    Attributes:
        header: The message.
        payload: One view per section, in the header's order.
    """

    header: H
    payload: tuple[memoryview, ...]

    def part(self, role: Role, name: str | None = None) -> tuple[Section, memoryview]:
        """The section of a role, and of a name where one is given.

        Args:
            role: The section's role.
            name: The section's name.

        Raises:
            ProtocolError: There is none.
        """
        for section, data in zip(self.header.sections, self.payload, strict=True):
            if section.role == role and name in (None, section.name):
                return section, data
        wanted = role if name is None else f"{role} {name!r}"
        raise ProtocolError(f"a {self.header.kind} message came without its section {wanted}")


def cut_transfer(message: Tensors, parts: Sequence[Part]) -> Frames:
    """Cut a request or reply with its payload into the messages that carry it.

    Args:
        message: The header; its ``sections`` are filled in from ``parts``.
        parts: The payload; it must not change until it is sent.

    Returns:
        Header frame and body of each message, in order.

    Raises:
        ProtocolError: The header is too long.
    """
    sections = tuple(part.section() for part in parts)
    header = encode_header(msgspec.structs.replace(message, sections=sections))
    datas = [part.data for part in parts]
    stream = memoryview(datas[0] if len(datas) == 1 else b"".join(datas)).cast("B")
    frames: list[tuple[bytes, Buffer]] = [(header, stream[:MAX_BODY_BYTES])]
    for offset in range(MAX_BODY_BYTES, len(stream), MAX_BODY_BYTES):
        chunk = Chunk(session=message.session, seq=message.seq, offset=offset)
        frames.append((encode_header(chunk), stream[offset : offset + MAX_BODY_BYTES]))
    return tuple(frames)


def address_frames(frames: Frames, *, session: int, seq: int) -> Frames:
    """Make a payload that was cut before the answer to another request.

    Args:
        frames: As :func:`cut_transfer` gives them; their bodies are used as they are.
        session: The request's session.
        seq: The request's number.

    Returns:
        The same messages with other headers.
    """
    return tuple(
        (
            encode_header(msgspec.structs.replace(decode_header(head), session=session, seq=seq)),
            body,
        )
        for head, body in frames
    )


def frames_bytes(frames: Frames) -> int:
    """Bytes that messages take at the socket API, headers included.

    Args:
        frames: As :func:`cut_transfer` gives them.
    """
    return sum(len(head) + len(body) for head, body in frames)


class Outbox:
    """Messages of one connection waiting for credit.

    Args:
        window_bytes: Payload bytes the other end takes before it grants more.

    Raises:
        ProtocolError: The window is too small to keep payloads moving.
    """

    def __init__(self, window_bytes: int) -> None:
        if window_bytes < MIN_WINDOW_BYTES:
            raise ProtocolError(
                f"a window of {window_bytes} bytes is below the {MIN_WINDOW_BYTES} of two chunks"
            )
        self._window_bytes = window_bytes
        self._sent_bytes = 0
        self._granted_bytes = 0
        self._control: deque[tuple[bytes, Buffer]] = deque()
        self._payload: deque[tuple[bytes, Buffer]] = deque()

    def put(self, message: Message, body: Buffer = b"") -> None:
        """Queue a message without payload; it waits for no credit.

        Args:
            message: The message.
            body: What its second frame holds, where that is no payload.
        """
        self._control.append((encode_header(message), body))

    def put_frames(self, frames: Frames) -> None:
        """Queue a request or reply with its payload.

        Args:
            frames: As :func:`cut_transfer` gives them.
        """
        self._payload.extend(frames)

    def credit(self, consumed_bytes: int) -> None:
        """Take note of what the other end has taken in.

        Args:
            consumed_bytes: In all, on this connection.

        Raises:
            ProtocolError: It is more than was sent.
        """
        if consumed_bytes > self._sent_bytes:
            raise ProtocolError(f"credit for {consumed_bytes} bytes, {self._sent_bytes} were sent")
        self._granted_bytes = max(self._granted_bytes, consumed_bytes)

    def peek(self) -> tuple[bytes, Buffer] | None:
        """The next message that may be sent now, or None."""
        if self._control:
            return self._control[0]
        if not self._payload:
            return None
        ahead = self._sent_bytes + len(self._payload[0][1]) - self._granted_bytes
        return self._payload[0] if ahead <= self._window_bytes else None

    def pop(self) -> None:
        """Forget the message that :meth:`peek` gave: it was sent."""
        if self._control:
            self._control.popleft()
        else:
            self._sent_bytes += len(self._payload.popleft()[1])

    def __len__(self) -> int:
        return len(self._control) + len(self._payload)


class Inbox(Generic[H]):
    """Collects the payload of one connection, one transfer at a time.

    Args:
        max_bytes: Largest payload taken; memory grows with what came, up to it.
        window_bytes: What this end promised to take before it grants more.

    Attributes:
        max_bytes: As given; may be set anew before each transfer.
    """

    def __init__(self, max_bytes: int, window_bytes: int = WINDOW_BYTES) -> None:
        self.max_bytes = max_bytes
        self._window_bytes = window_bytes
        self._header: H | None = None
        self._buffer = bytearray()
        self._total = 0
        self._consumed_bytes = 0
        self._acknowledged_bytes = 0

    def begin(self, header: H, body: memoryview) -> Transfer[H] | None:
        """Take a request or reply with the first bytes of its payload.

        A transfer that was under way is dropped: its sender has moved on.

        Args:
            header: The message.
            body: First bytes of its payload.

        Returns:
            The transfer when it is complete already.

        Raises:
            ProtocolError: The payload is too large, or does not match its sections.
        """
        total = sum(section.length for section in header.sections)
        if total > self.max_bytes:
            raise ProtocolError(
                f"a {header.kind} payload of {total} bytes exceeds the {self.max_bytes} allowed"
            )
        expected = min(total, MAX_BODY_BYTES)
        if len(body) != expected:
            raise ProtocolError(f"first chunk has {len(body)} bytes, {expected} were expected")
        self._consumed_bytes += len(body)
        if len(body) == total:
            self._header = None
            return _checked(header, body)
        self._header = header
        self._buffer = bytearray(body)
        self._total = total
        return None

    def chunk(self, chunk: Chunk, body: memoryview) -> Transfer[H] | None:
        """Take the next chunk.

        Args:
            chunk: Its header.
            body: Its bytes.

        Returns:
            The transfer when this was its last chunk.

        Raises:
            ProtocolError: The chunk belongs to no transfer, or not at this place.
        """
        header = self._header
        if header is None or chunk.seq != header.seq or chunk.session != header.session:
            raise ProtocolError("a chunk came that belongs to no payload")
        filled = len(self._buffer)
        fits = 0 < len(body) <= MAX_BODY_BYTES and filled + len(body) <= self._total
        if chunk.offset != filled or not fits:
            raise ProtocolError(
                f"a chunk of {len(body)} bytes came at {chunk.offset}; {filled} was next "
                f"of {self._total}"
            )
        self._buffer += body
        self._consumed_bytes += len(body)
        if len(self._buffer) < self._total:
            return None
        self._header = None
        return _checked(header, memoryview(self._buffer))

    def credit(self, session: int) -> Credit | None:
        """A grant to send, when a quarter of the window was taken in since the last."""
        if self._consumed_bytes - self._acknowledged_bytes < self._window_bytes // _GRANTS_A_WINDOW:
            return None
        self._acknowledged_bytes = self._consumed_bytes
        return Credit(session=session, consumed_bytes=self._consumed_bytes)


def _checked(header: H, stream: memoryview) -> Transfer[H]:
    views = []
    offset = 0
    for section in header.sections:
        view = stream[offset : offset + section.length]
        offset += section.length
        if zlib.crc32(view) != section.crc:
            raise ProtocolError(f"section {section.role} {section.name!r} fails its CRC")
        views.append(view)
    return Transfer(header=header, payload=tuple(views))

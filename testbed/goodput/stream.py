"""A stream of payloads over one connection, with the frames, chunks and credits of training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final, Generic, Literal, TypeVar

from slfac.wire.frame import encode_header
from slfac.wire.messages import Chunk, Reply, Request, Tensors, Timings
from slfac.wire.transfer import WINDOW_BYTES, Buffer, Inbox, Outbox, Part, cut_transfer

Direction = Literal["up", "down"]
# What a step of a small model sends uncompressed, more or less.
PAYLOAD_BYTES: Final = 256 * 1024
SESSION: Final = 1
_AHEAD_FRAMES: Final = 2 * PAYLOAD_BYTES // 65536
H = TypeVar("H", Request, Reply)


class Source:
    """Keeps a connection's outbox full.

    Args:
        direction: Which way it sends: requests go up, replies down.
    """

    def __init__(self, direction: Direction) -> None:
        self.outbox = Outbox(WINDOW_BYTES)
        self._up = direction == "up"
        self._part = Part("smashed", "z", os.urandom(PAYLOAD_BYTES), "none", (PAYLOAD_BYTES,), "u1")
        self._seq = 0

    def send(self, hand_over: Callable[[bytes, Buffer], bool]) -> bool:
        """Hand over whatever credit and socket take.

        Args:
            hand_over: Sends a message, if the socket takes it now.

        Returns:
            Whether the socket took all that there was credit for.
        """
        while True:
            if len(self.outbox) < _AHEAD_FRAMES:
                self._seq += 1
                self.outbox.put_frames(cut_transfer(self._header(), [self._part]))
            message = self.outbox.peek()
            if message is None:
                return True
            if not hand_over(*message):
                return False
            self.outbox.pop()

    def _header(self) -> Tensors:
        return request(self._seq) if self._up else _reply(self._seq)


class Sink(Generic[H]):
    """Takes payloads in, checks them, and counts what comes in a stretch of time.

    Args:
        warm_up_s: How long to wait after the first byte before it counts.
        seconds: How long it counts.

    Attributes:
        result: Payload bytes and seconds; None before the end.
    """

    def __init__(self, warm_up_s: float, seconds: float) -> None:
        self._inbox: Inbox[H] = Inbox(PAYLOAD_BYTES)
        self._warm_up_s = warm_up_s
        self._seconds = seconds
        self._first_s = 0.0
        self._begun_s = 0.0
        self._bytes = 0
        self.result: tuple[int, float] | None = None

    def take(self, header: H | Chunk, body: memoryview) -> bytes | None:
        """Take a message.

        Args:
            header: Its header.
            body: Its bytes.

        Returns:
            Header frame of the credit to send back, if it is due.

        Raises:
            ProtocolError: It is no part of the stream, or fails its checksum.
        """
        if isinstance(header, Chunk):
            self._inbox.chunk(header, body)
        else:
            self._inbox.begin(header, body)
        self._count(len(body))
        credit = self._inbox.credit(SESSION)
        return encode_header(credit) if credit is not None else None

    def _count(self, body_bytes: int) -> None:
        now_s = time.perf_counter()
        self._first_s = self._first_s or now_s
        if not self._begun_s:
            if now_s - self._first_s >= self._warm_up_s:
                self._begun_s = now_s
            return
        self._bytes += body_bytes
        if now_s - self._begun_s >= self._seconds:
            self.result = (self._bytes, now_s - self._begun_s)


def request(seq: int) -> Request:
    """A request without payload.

    Args:
        seq: Its number.
    """
    return Request(
        session=SESSION,
        seq=seq,
        run="goodput",
        kind="step",
        round=0,
        step=seq,
        samples=0,
        timings=Timings(),
        sections=(),
    )


def _reply(seq: int) -> Reply:
    return Reply(
        session=SESSION,
        seq=seq,
        kind="step",
        round=0,
        directive="train",
        loss=0.0,
        decode_ms=0.0,
        train_ms=0.0,
        encode_ms=0.0,
        sections=(),
    )

"""What crossed a link, counted as the planner counts it."""

from __future__ import annotations

from dataclasses import dataclass

from slfac.wire.meter import Meter, packets, wire_bytes


@dataclass(frozen=True)
class Counts:
    """What went one way.

    Attributes:
        messages: ZeroMQ messages.
        bytes: Bytes on TCP, framing and encryption included.
        frames: Network packets that they fill at an MTU of 1500 bytes, each message's own: what
            :func:`slfac.wire.meter.packets` says. Acknowledgements are not counted.
    """

    messages: int
    bytes: int
    frames: int

    def __sub__(self, before: Counts) -> Counts:
        """What came on top."""
        return Counts(
            self.messages - before.messages,
            self.bytes - before.bytes,
            self.frames - before.frames,
        )

    def __add__(self, other: Counts) -> Counts:
        """Both."""
        return Counts(
            self.messages + other.messages, self.bytes + other.bytes, self.frames + other.frames
        )


class CountingMeter(Meter):
    """A meter that counts network packets as well."""

    frames = 0

    def add(self, header_bytes: int, body_bytes: int, *, curve: bool = True) -> None:
        """Count one message of two frames.

        Args:
            header_bytes: Size of its header frame.
            body_bytes: Size of its body frame.
            curve: Whether the connection is encrypted.
        """
        super().add(header_bytes, body_bytes, curve=curve)
        # libzmq hands both frames of a message to TCP at once.
        both = wire_bytes(header_bytes, curve=curve) + wire_bytes(body_bytes, curve=curve)
        self.frames += packets(both)

    @property
    def counts(self) -> Counts:
        """What was counted so far."""
        return Counts(self.messages, self.wire_bytes, self.frames)

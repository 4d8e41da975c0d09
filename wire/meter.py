"""Counting bytes: exactly at the socket API, and what ZMTP and CURVE add to them.

Sizes on the wire follow ZMTP 3.1 (RFC 37) and CURVE (RFC 26): a frame of ``n`` bytes
becomes a MESSAGE command of ``n + 33`` bytes (1 + 7 name, 8 nonce, 16 MAC, 1 flags), which
takes 2 bytes of framing up to 255 bytes and 9 above. Without CURVE it is the frame itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

CURVE_FRAME_BYTES: Final = 33
# Greeting 64, HELLO 202, INITIATE 301 (DEALER); greeting 64, WELCOME 170, READY 67 (ROUTER).
DEVICE_HANDSHAKE_BYTES: Final = 64 + 202 + 301
SERVER_HANDSHAKE_BYTES: Final = 64 + 170 + 67
# Without CURVE: greeting 64, READY with socket type and identity.
NULL_HANDSHAKE_BYTES: Final = 64 + 43
#: What one network packet of 1500 bytes (Ethernet's and Wi-Fi's MTU) takes of TCP's payload, with
#: IPv4 and time stamps.
PACKET_BYTES: Final = 1448
PING_BYTES: Final = 2 + 7
PONG_BYTES: Final = 2 + 5


def wire_bytes(frame_bytes: int, *, curve: bool = True) -> int:
    """Bytes that a frame takes on TCP.

    Args:
        frame_bytes: Its size at the socket API.
        curve: Whether the connection is encrypted.
    """
    body = frame_bytes + (CURVE_FRAME_BYTES if curve else 0)
    return body + (2 if body <= 255 else 9)


def packets(tcp_bytes: int) -> int:
    """Network packets that bytes fill which are handed to TCP at once.

    A profile's ``j_per_frame`` is the energy of one such packet. The acknowledgements that come
    back are counted nowhere: what they cost belongs to the packets that they answer.

    Args:
        tcp_bytes: Such as :func:`wire_bytes` of both frames of a message.
    """
    return math.ceil(tcp_bytes / PACKET_BYTES)


@dataclass
class Meter:
    """Totals of one direction.

    Attributes:
        messages: ZeroMQ messages.
        bytes: Bytes at the socket API: every frame, headers and payload.
        wire_bytes: The same with ZMTP and CURVE framing, handshakes and heartbeats
            left out.
    """

    messages: int = 0
    bytes: int = 0
    wire_bytes: int = 0

    def add(self, header_bytes: int, body_bytes: int, *, curve: bool = True) -> None:
        """Count one message of two frames.

        Args:
            header_bytes: Size of its header frame.
            body_bytes: Size of its body frame.
            curve: Whether the connection is encrypted.
        """
        self.messages += 1
        self.bytes += header_bytes + body_bytes
        self.wire_bytes += wire_bytes(header_bytes, curve=curve)
        self.wire_bytes += wire_bytes(body_bytes, curve=curve)

    def merge(self, other: Meter) -> None:
        """Count what another meter has counted as well.

        Args:
            other: The other.
        """
        self.messages += other.messages
        self.bytes += other.bytes
        self.wire_bytes += other.wire_bytes


@dataclass
class Traffic:
    """Everything that one device's connections carried.

    Attributes:
        up: Device to server.
        down: Server to device.
        connections: Handshakes made.
        connected_s: Time the connections stood, in all.
        curve: Whether they were encrypted.
    """

    up: Meter = field(default_factory=Meter)
    down: Meter = field(default_factory=Meter)
    connections: int = 0
    connected_s: float = 0.0
    curve: bool = True

    def wire_bytes(self, heartbeat_s: float) -> tuple[int, int]:
        """Bytes on TCP each way, handshakes and heartbeats included.

        Both ends ping at the interval and answer the other's pings.

        Args:
            heartbeat_s: The heartbeat interval.

        Returns:
            Up and down.
        """
        beats = int(self.connected_s / heartbeat_s)
        mask = CURVE_FRAME_BYTES if self.curve else 0
        beat_bytes = beats * (PING_BYTES + PONG_BYTES + 2 * mask)
        device, server = (
            (DEVICE_HANDSHAKE_BYTES, SERVER_HANDSHAKE_BYTES)
            if self.curve
            else (NULL_HANDSHAKE_BYTES, NULL_HANDSHAKE_BYTES)
        )
        return (
            self.up.wire_bytes + self.connections * device + beat_bytes,
            self.down.wire_bytes + self.connections * server + beat_bytes,
        )

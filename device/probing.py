"""Round trips, the server's clock and the link's throughput, by probes (docs/wire-format.md)."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Final

from slfac.device.connection import Channel
from slfac.wire.errors import LinkError, ProtocolError, RefusedError
from slfac.wire.frame import MAX_BODY_BYTES, encode_header
from slfac.wire.messages import Echo, Message, Ping, Probe, Refusal

# As much as a training's own window lets be on the way.
_AHEAD: Final = 16
_MOST_BODIES: Final = 512
_ANSWER_S: Final = 10.0
_SAME: Final = "install the same release of slfac on both ends"


@dataclass(frozen=True)
class Exchange:
    """A probe and its answer.

    Attributes:
        round_trip_ns: Between sending one and getting the other.
        offset_ns: The server's clock minus this one's, give or take half the round trip.
        software: Release of slfac on the server.
    """

    round_trip_ns: int
    offset_ns: int
    software: str


class Prober:
    """Measures a link over a connection of its own.

    Args:
        connection: An open connection on which nothing has been said.
        session: The session in whose traffic the probes are counted; None for none.
        answer_s: How long to wait for an answer.
    """

    def __init__(
        self, connection: Channel, *, session: int | None = None, answer_s: float | None = None
    ) -> None:
        self._connection = connection
        self._session = session if session is not None else secrets.randbits(62) + 1
        self._answer_s = answer_s if answer_s is not None else _ANSWER_S
        self._seq = 0

    def ping(self) -> Exchange:
        """Send an empty probe and wait for its answer.

        Raises:
            LinkError: The server refuses, or does not answer.
            Disconnected: The connection broke.
        """
        clock_ns, started_ns = time.time_ns(), time.perf_counter_ns()
        ((arrived_ns, echo),) = self._exchange(b"", 0, most=1)
        round_trip_ns = arrived_ns - started_ns
        offset_ns = echo.time_ns - (clock_ns + round_trip_ns // 2)
        return Exchange(round_trip_ns, offset_ns, echo.software)

    def throughput(self, direction: str, duration_s: float) -> float:
        """Bytes that cross the link in a second, one way.

        Args:
            direction: ``up`` to the server, or ``down`` from it.
            duration_s: How long to send; what is on the way then is waited for.

        Raises:
            LinkError: The server refuses, or does not answer.
            Disconnected: The connection broke.
        """
        up = direction == "up"
        body = bytes(MAX_BODY_BYTES if up else 0)
        started_ns = time.perf_counter_ns()
        answers = self._exchange(
            body, 0 if up else MAX_BODY_BYTES, most=_MOST_BODIES, for_s=duration_s
        )
        times_ns = [started_ns, *(arrived_ns for arrived_ns, _ in answers)]
        # The first half filled the link.
        late_ns = times_ns[len(times_ns) // 2 :] if len(times_ns) >= 4 else times_ns
        taken_s = max(late_ns[-1] - late_ns[0], 1) / 1e9
        return (len(late_ns) - 1) * MAX_BODY_BYTES / taken_s

    def _exchange(
        self, body: bytes, reply_bytes: int, *, most: int, for_s: float = 0.0
    ) -> list[tuple[int, Echo]]:
        """Send probes, ever more ahead of their answers; give each answer with its arrival."""
        now_s = heard_s = time.monotonic()
        end_s = now_s + for_s
        answers: list[tuple[int, Echo]] = []
        sent, ahead = 0, 1
        while True:
            go_on = sent < most and (now_s < end_s or not sent)
            if go_on and sent - len(answers) < ahead and self._send(body, reply_bytes):
                sent += 1
                continue
            if not go_on and sent == len(answers):
                return answers
            echo = self._receive(sent - len(answers))
            now_s = time.monotonic()
            if echo is not None:
                answers.append((time.perf_counter_ns(), echo))
                ahead, heard_s = min(ahead + 1, _AHEAD), now_s
            elif now_s - heard_s > self._answer_s:
                raise LinkError(
                    f"the server did not answer a probe within {self._answer_s:g} s",
                    f"check the link; {_SAME}",
                )

    def _send(self, body: bytes, reply_bytes: int) -> bool:
        probe = Probe(session=self._session, seq=self._seq, reply_bytes=reply_bytes)
        sent = self._connection.send(encode_header(probe), body)
        self._seq += sent
        return sent

    def _receive(self, awaited: int) -> Echo | None:
        message = self._connection.receive(0.1)
        if message is None or isinstance(message[0], Ping):
            return None
        return self._checked(message[0], self._seq - awaited)

    def _checked(self, header: Message, seq: int) -> Echo:
        if isinstance(header, Refusal):
            if header.reason.startswith("malformed message"):
                # So a server names a message that it does not know.
                raise ProtocolError(f"the server's release knows no probes: {header.reason}", _SAME)
            raise RefusedError(header.reason, header.remedy or _SAME)
        if not isinstance(header, Echo) or (header.session, header.seq) != (self._session, seq):
            name = type(header).__name__
            raise ProtocolError(f"the server answered a probe with a {name}", _SAME)
        return header

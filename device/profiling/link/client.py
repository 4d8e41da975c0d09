"""A device's end of a link that is measured: pings, and streams of bodies one way or the other."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import zmq

from slfac.device.connection import Connection, Disconnected
from slfac.device.profiling.link.counts import CountingMeter, Counts
from slfac.device.profiling.link.messages import (
    MOST_BODIES,
    MOST_GAP_US,
    Get,
    Given,
    Leave,
    Put,
    Refused,
    Said,
    Taken,
    decode_said,
    encode,
)
from slfac.device.routes import Fixed
from slfac.wire.addresses import check_server_address
from slfac.wire.errors import LinkError, ProtocolError, RefusedError, SettingsError
from slfac.wire.frame import MAX_BODY_BYTES
from slfac.wire.keys import DeviceKeys

Direction = Literal["up", "down"]
CONNECT_S: Final = 10.0
_ANSWER_S: Final = 10.0
# As much as a training's own window lets be on the way.
_AHEAD: Final = 16
# An answer, or a request, for each group of bodies: it costs little beside them.
_GROUP_BYTES: Final = 16384
_LEAST_GROUPS: Final = 4
_BODY: Final = memoryview(bytes(MAX_BODY_BYTES))
_BREAK: Final = "check the link, and that the peer still runs"
_SaidT = TypeVar("_SaidT", Taken, Given)


def silent(line: str) -> None:
    """Say nothing.

    Args:
        line: What would be said.
    """
    del line


@dataclass(frozen=True)
class Moved:
    """What a stream carried.

    Attributes:
        sent: By this device, the requests of a stream down included.
        received: By this device, the answers of a stream up included.
        begin_s: On the monotonic clock, before the first message.
        end_s: The same, after the last answer.
        body_bytes_s: Bytes of bodies a second once the stream filled the link; None where it was
            paced, or too short to tell.
    """

    sent: Counts
    received: Counts
    begin_s: float
    end_s: float
    body_bytes_s: float | None


class PeerLink:
    """A connection to a peer.

    Args:
        address: The peer's ``tcp://HOST:PORT``.
        keys: This device's keys, with the peer's ``server.key``; None on loopback without keys.
        timeout_s: How long to try to connect.
        on_status: Told what it is waiting for.

    Attributes:
        address: Where it is connected to, as a number.
        software: Release of slfac on the peer; empty before the first answer.

    Raises:
        AddressError: The address is malformed, or is no one machine's.
        AuthError: The peer does not know this key, or has another one itself.
        LinkError: Nothing answers.
        SettingsError: There are no keys, and the address is not loopback.
    """

    def __init__(
        self,
        address: str,
        keys: DeviceKeys | None,
        *,
        timeout_s: float = CONNECT_S,
        on_status: Callable[[str], None] = silent,
    ) -> None:
        check_server_address(address, insecure=keys is None)
        self.address = Fixed(address).find(timeout_s)
        self.software = ""
        self._sent, self._received = CountingMeter(), CountingMeter()
        self._inbox: deque[Said] = deque()
        self._seq = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._connection = Connection(
                self._context, self.address, keys, sent=self._sent, received=self._received
            )
        except BaseException:
            self._context.term()
            raise
        try:
            self._connection.open(timeout_s, on_status)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PeerLink:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(LinkError):
            self._send(Leave())
        self.close(linger_ms=500)

    def close(self, linger_ms: int = 0) -> None:
        """Hang up.

        Args:
            linger_ms: How long unsent messages may still take.
        """
        self._connection.close(linger_ms)
        self._context.term()

    def ping(self) -> float:
        """Seconds of one round trip of the smallest messages.

        Raises:
            LinkError: The peer refuses, or does not answer.
        """
        begin_s = time.perf_counter()
        self._put(0, answer=True)
        self._answered(self._seq)
        return time.perf_counter() - begin_s

    def stream(
        self, direction: Direction, body_bytes: int, duration_s: float, *, gap_s: float = 0.0
    ) -> Moved:
        """Send bodies for a while; what is on the way then is waited for.

        Args:
            direction: ``up`` to the peer, or ``down`` from it.
            body_bytes: Length of each, up to 65536.
            duration_s: How long.
            gap_s: From one body to the next, up to a second; 0 for as fast as the link takes them.

        Raises:
            LinkError: The peer refuses, or does not answer.
            SettingsError: A length or gap is out of range.
        """
        if not (0 <= body_bytes <= MAX_BODY_BYTES and 0 <= gap_s * 1e6 <= MOST_GAP_US):
            raise SettingsError(
                f"a stream of {body_bytes} bytes every {gap_s:g} s cannot be measured",
                f"give up to {MAX_BODY_BYTES} bytes and {MOST_GAP_US / 1e6:g} s",
            )
        before = self._sent.counts, self._received.counts
        begin_s, rate = time.monotonic(), None
        if gap_s:
            self._pace(direction, body_bytes, duration_s, gap_s)
        else:
            rate = self._fill(direction, body_bytes, duration_s)
        return Moved(
            sent=self._sent.counts - before[0],
            received=self._received.counts - before[1],
            begin_s=begin_s,
            end_s=time.monotonic(),
            body_bytes_s=rate,
        )

    def _pace(self, direction: Direction, body_bytes: int, duration_s: float, gap_s: float) -> None:
        count = max(1, min(round(duration_s / gap_s), MOST_BODIES))
        if direction == "down":
            self._get(count, body_bytes, gap_s)
            while self._said(Given).left:
                pass
            return
        due_s = time.monotonic()
        for left in reversed(range(count)):
            self._put(body_bytes, answer=not left)
            # At most one behind: a burst of small messages would share packets.
            due_s = max(due_s + gap_s, time.monotonic() - gap_s)
            self._pause(due_s)
        self._answered(self._seq)

    def _pause(self, until_s: float) -> None:
        """Wait, and notice a break meanwhile; it takes no processor time that would be measured."""
        while (wait_s := until_s - time.monotonic()) > 0:
            self._listen(max(wait_s, 1e-3))

    def _fill(self, direction: Direction, body_bytes: int, duration_s: float) -> float:
        """Keep the link full, ever more groups of bodies ahead of their answers.

        Returns:
            Bytes of bodies a second.
        """
        group = max(1, _GROUP_BYTES // max(body_bytes, 1))
        end_s = time.monotonic() + duration_s
        waiting: deque[int] = deque()
        times_s = [time.monotonic()]
        ahead, asked = 1, 0
        while True:
            go_on = asked < _LEAST_GROUPS or time.monotonic() < end_s
            if go_on and len(waiting) < ahead:
                waiting.append(self._ask_group(direction, group, body_bytes))
                asked += 1
            elif waiting:
                self._end_group(direction, waiting.popleft())
                times_s.append(time.monotonic())
                ahead = min(ahead + 1, _AHEAD)
            else:
                # The first half filled the link.
                late_s = times_s[len(times_s) // 2 :]
                return (len(late_s) - 1) * group * body_bytes / max(late_s[-1] - late_s[0], 1e-9)

    def _ask_group(self, direction: Direction, group: int, body_bytes: int) -> int:
        """Send a group of bodies, or ask for one; the number of the message to be answered."""
        if direction == "down":
            self._get(group, body_bytes, 0.0)
        else:
            for left in reversed(range(group)):
                self._put(body_bytes, answer=not left)
        return self._seq

    def _end_group(self, direction: Direction, seq: int) -> None:
        if direction == "up":
            self._answered(seq)
            return
        while True:
            given = self._said(Given)
            if given.seq != seq:
                raise ProtocolError(f"the peer served request {given.seq}, not {seq}")
            if not given.left:
                return

    def _put(self, body_bytes: int, *, answer: bool) -> None:
        self._seq += 1
        self._send(Put(self._seq, answer), body_bytes)

    def _get(self, count: int, body_bytes: int, gap_s: float) -> None:
        self._seq += 1
        self._send(Get(self._seq, count, body_bytes, round(gap_s * 1e6)))

    def _send(self, message: Put | Get | Leave, body_bytes: int = 0) -> None:
        head, body = encode(message), _BODY[:body_bytes]
        end_s = time.monotonic() + _ANSWER_S
        with self._breaking():
            while not self._connection.send(head, body):
                if time.monotonic() > end_s:
                    raise LinkError(f"nothing could be sent for {_ANSWER_S:g} s", _BREAK)
                self._listen(0.02)

    def _answered(self, seq: int) -> None:
        taken = self._said(Taken)
        if taken.seq != seq:
            raise ProtocolError(f"the peer answered message {taken.seq}, not {seq}")
        self.software = taken.software

    def _said(self, kind: type[_SaidT]) -> _SaidT:
        """The next message, which must be of a kind."""
        if not self._inbox:
            self._listen(_ANSWER_S)
        if not self._inbox:
            raise LinkError(f"the peer did not answer within {_ANSWER_S:g} s", _BREAK)
        said = self._inbox.popleft()
        if not isinstance(said, kind):
            raise ProtocolError(f"the peer said {type(said).__name__}, not {kind.__name__}")
        return said

    def _listen(self, timeout_s: float) -> None:
        """Wait for a message, and keep it."""
        end_s = time.monotonic() + timeout_s
        with self._breaking():
            frames = self._connection.frames(timeout_s)
            # The monitor wakes as well, with nothing that matters.
            while frames is None and (left_s := end_s - time.monotonic()) > 0:
                frames = self._connection.frames(max(left_s, 1e-3))
        if frames is None:
            return
        said = decode_said(frames[0])
        if isinstance(said, Refused):
            raise RefusedError(f"the peer refused: {said.reason}", said.remedy)
        self._inbox.append(said)

    @contextlib.contextmanager
    def _breaking(self) -> Iterator[None]:
        try:
            yield
        except Disconnected:
            raise LinkError(f"the connection to {self.address} broke", _BREAK) from None

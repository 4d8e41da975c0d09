"""Requests to the server, answered exactly once each, over connections that may break."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq

from slfac import __version__
from slfac.device.connection import Connection, Disconnected, UnreachableError
from slfac.device.whereabouts import PATIENCE_S, Whereabouts
from slfac.wire.errors import LinkError, ProtocolError, RefusedError
from slfac.wire.keys import device_keys
from slfac.wire.messages import (
    Bye,
    Chunk,
    Credit,
    Hello,
    Kind,
    Message,
    Ping,
    Refusal,
    Reply,
    Request,
    Summary,
    Timings,
    Welcome,
)
from slfac.wire.meter import Meter
from slfac.wire.transfer import WINDOW_BYTES, Inbox, Outbox, Part, Transfer, cut_transfer

_POLL_S = 0.25
_HELLO_TIMEOUT_S = 15.0
_BACKOFF_S = (0.1, 0.5, 1.0, 2.0)
_log = logging.getLogger(__name__)


class SessionLost(Exception):  # noqa: N818 - a condition that the agent handles, not an error
    """The server no longer knows this session; the device has to join again."""


@dataclass(frozen=True)
class Exchanged:
    """A request that was answered.

    Attributes:
        reply: The reply with its payload.
        send_ms: Until the last byte was handed to the socket.
        wait_ms: From there until the reply was in.
    """

    reply: Transfer[Reply]
    send_ms: float
    wait_ms: float


class Link:
    """The device's side of the protocol.

    Args:
        address: The server's address.
        keys: The device's key folder; None on loopback without keys.
        name: Name to go by without keys.
        bundle_id: Id of the bundle the device holds; empty for none.
        connect_timeout_s: How long to try at the start.
        reconnect_timeout_s: How long to try after a break.
        on_status: Told about waiting and reconnecting.

    Attributes:
        sent: Everything handed to sockets.
        received: Everything they handed back.

    Raises:
        KeyFileError: The keys cannot be read.
    """

    def __init__(
        self,
        *,
        address: str,
        keys: Path | None,
        name: str,
        bundle_id: str,
        connect_timeout_s: float,
        reconnect_timeout_s: float,
        on_status: Callable[[str], None],
    ) -> None:
        self.sent = Meter()
        self.received = Meter()
        self._where = Whereabouts(address)
        self._keys = device_keys(keys) if keys is not None else None
        self._name = name
        self._bundle_id = bundle_id
        self._connect_timeout_s = connect_timeout_s
        self._reconnect_timeout_s = reconnect_timeout_s
        self._on_status = on_status
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._connection: Connection | None = None
        self._outbox = Outbox(WINDOW_BYTES)
        self._inbox: Inbox[Reply] = Inbox(0)
        self._session = 0
        self._seq = 0
        self._run = ""

    def join(self) -> Welcome:
        """Open a connection and a new session.

        Returns:
            What the server says about the run.

        Raises:
            LinkError: A branch of it: unreachable, refused, another version.
        """
        self._session = secrets.randbits(62) + 1
        self._seq = 0
        welcome = self._reach(self._connect_timeout_s, resume=False)
        self._run = welcome.run
        return welcome

    def request(
        self,
        kind: Kind,
        parts: Sequence[Part] = (),
        *,
        max_reply_bytes: int,
        round_: int = 0,
        step: int = 0,
        samples: int = 0,
        timings: Timings | None = None,
    ) -> Exchanged:
        """Send a request until it is answered, over as many connections as it takes.

        Args:
            kind: What is asked.
            parts: Its payload.
            max_reply_bytes: Largest payload that its reply may have.
            round_: The present round.
            step: The device's step.
            samples: Samples behind the payload.
            timings: Phases of the step before.

        Returns:
            The reply and how long it took.

        Raises:
            SessionLost: The server forgot this session.
            RefusedError: The server refuses to go on with this device.
            LinkError: The server did not come back in time.
        """
        self._seq += 1
        header = Request(
            session=self._session,
            seq=self._seq,
            run=self._run,
            kind=kind,
            round=round_,
            step=step,
            samples=samples,
            timings=timings or Timings(),
            sections=(),
        )
        frames = cut_transfer(header, parts)
        started_s = time.perf_counter()
        while True:
            try:
                self._outbox.put_frames(frames)
                self._inbox.max_bytes = max_reply_bytes
                sent_s, reply = self._converse()
            except Disconnected:
                self._resume()
                continue
            done_s = time.perf_counter()
            return Exchanged(reply, (sent_s - started_s) * 1e3, (done_s - sent_s) * 1e3)

    def bye(self, *, finished: bool, timings: Timings, summary: Summary) -> None:
        """Say goodbye, if there is a connection to say it on.

        Args:
            finished: Whether the server said stop.
            timings: Phases of the last step.
            summary: About this process.
        """
        if self._connection is None:
            return
        self._outbox = Outbox(WINDOW_BYTES)
        self._outbox.put(
            Bye(session=self._session, finished=finished, timings=timings, summary=summary)
        )
        self._flush(self._connection)

    def close(self) -> None:
        """Close the connection; what was said still leaves."""
        self._drop(linger_ms=1000)
        self._context.term()

    def _converse(self) -> tuple[float, Transfer[Reply]]:
        """Send what is queued and take in messages until the reply is complete."""
        connection = self._connection
        if connection is None:
            raise Disconnected
        sent_s = 0.0
        while True:
            drained = self._flush(connection)
            if drained and not sent_s:
                sent_s = time.perf_counter()
            message = connection.receive(_POLL_S if drained else 0.002)
            if message is None:
                continue
            transfer = self._take(*message)
            if transfer is not None and transfer.header.seq == self._seq:
                return sent_s or time.perf_counter(), transfer

    def _take(self, header: Message, body: memoryview) -> Transfer[Reply] | None:
        if isinstance(header, Refusal):
            raise self._refused(header)
        if header.session != self._session or isinstance(header, Ping):
            return None
        if isinstance(header, Credit):
            self._outbox.credit(header.consumed_bytes)
            return None
        if isinstance(header, Reply):
            transfer = self._inbox.begin(header, body)
        elif isinstance(header, Chunk):
            transfer = self._inbox.chunk(header, body)
        else:
            raise ProtocolError(f"the server sent a {type(header).__name__}")
        credit = self._inbox.credit(self._session)
        if credit is not None:
            self._outbox.put(credit)
        return transfer

    def _flush(self, connection: Connection) -> bool:
        while (message := self._outbox.peek()) is not None:
            if not connection.send(*message):
                return False
            self._outbox.pop()
        return not len(self._outbox)

    def _resume(self) -> None:
        """Connect again and take the session up where it was."""
        self._on_status(f"lost the server at {self._where}; connecting again")
        welcome = self._reach(self._reconnect_timeout_s, resume=True)
        if not welcome.resumed or welcome.run != self._run:
            raise SessionLost
        self._on_status("connected again")

    def _reach(self, timeout_s: float, *, resume: bool) -> Welcome:
        """Greet the server until it answers, with pauses that grow."""
        deadline_s = time.monotonic() + timeout_s
        met = bool(self._run)
        for pause_s in itertools.chain(_BACKOFF_S, itertools.repeat(_BACKOFF_S[-1])):
            try:
                return self._find(deadline_s - time.monotonic(), resume=resume)
            except UnreachableError:
                if not met:
                    raise
                break
            except Disconnected:
                met = True
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    break
                # Else libzmq would go on connecting during the pause.
                self._drop()
                self._where.go_home()
                time.sleep(min(pause_s, left_s))
        raise self._gone(timeout_s)

    def _find(self, timeout_s: float, *, resume: bool) -> Welcome:
        """Greet the server, and each that it sends this device on to."""
        while True:
            away = self._where.away
            try:
                answer = self._greet(min(timeout_s, PATIENCE_S) if away else timeout_s, resume)
            except UnreachableError:
                if not away:
                    raise
                raise Disconnected from None
            if isinstance(answer, Welcome):
                self._where.arrive()
                return answer
            self._where.follow(answer.address)

    def _greet(self, timeout_s: float, resume: bool) -> Welcome | Refusal:
        self._drop()
        connection = Connection(
            self._context, self._where.address, self._keys, sent=self.sent, received=self.received
        )
        self._connection = connection
        self._inbox = Inbox(0)
        self._outbox = Outbox(WINDOW_BYTES)
        connection.open(max(timeout_s, 0.0), self._on_status, known=bool(self._run))
        self._outbox.put(
            Hello(
                session=self._session,
                resume=resume,
                window_bytes=WINDOW_BYTES,
                software=__version__,
                device=self._name,
                bundle=self._bundle_id,
            )
        )
        deadline_s = time.monotonic() + _HELLO_TIMEOUT_S
        while time.monotonic() < deadline_s:
            self._flush(connection)
            message = connection.receive(_POLL_S)
            if message is None:
                continue
            header = message[0]
            if isinstance(header, Refusal) and header.address:
                return header
            if isinstance(header, Refusal):
                raise self._refused(header)
            if isinstance(header, Welcome) and header.session == self._session:
                self._outbox = Outbox(header.window_bytes)
                return header
        if self._run:
            raise Disconnected
        raise ProtocolError(
            f"the server at {self._where} did not answer HELLO within {_HELLO_TIMEOUT_S:g} s",
            "check that both ends run the same release of slfac",
        )

    def _refused(self, refusal: Refusal) -> RefusedError:
        # The server has ended the session: there is nobody left to say goodbye to.
        self._drop()
        return RefusedError(refusal.reason, refusal.remedy)

    def _gone(self, timeout_s: float) -> LinkError:
        return LinkError(
            f"lost the server at {self._where}; it did not come back within {timeout_s:.0f} s",
            "check that it runs, then start this device again",
        )

    def _drop(self, linger_ms: int = 0) -> None:
        if self._connection is not None:
            self._connection.close(linger_ms)
            self._connection = None

"""Requests to the server, answered exactly once each, over connections that may break."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from slfac import __version__
from slfac.device.caller import Caller, Patience, Where
from slfac.device.clock_meter import ClockMeter
from slfac.device.connection import Connection, Disconnected
from slfac.wire.errors import ProtocolError, RefusedError
from slfac.wire.keys import DeviceKeys
from slfac.wire.messages import (
    Bye,
    Chunk,
    Clock,
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
_CLOCK_WAIT_S = 1.0


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
        where: Where the server is.
        keys: The device's keys; None on loopback without keys.
        name: Name to go by without keys.
        bundle_id: Id of the bundle the device holds; empty for none.
        patience: How long to try.
        on_status: Told about waiting and reconnecting.

    Attributes:
        sent: Everything handed to sockets.
        received: Everything they handed back.
    """

    def __init__(
        self,
        *,
        where: Where,
        keys: DeviceKeys | None,
        name: str,
        bundle_id: str,
        patience: Patience,
        on_status: Callable[[str], None],
    ) -> None:
        self.sent = Meter()
        self.received = Meter()
        self._where = where
        self._name = name
        self._bundle_id = bundle_id
        self._on_status = on_status
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._caller = Caller(
            self._context,
            where,
            keys,
            patience,
            on_status=on_status,
            sent=self.sent,
            received=self.received,
        )
        self._clock = ClockMeter(self._context, keys, sent=self.sent, received=self.received)
        self._connection: Connection | None = None
        self._outbox = Outbox(WINDOW_BYTES)
        self._inbox: Inbox[Reply] = Inbox(0)
        self._session = 0
        self._seq = 0
        self._run = ""
        self._boot = ""

    def join(self) -> Welcome:
        """Open a connection and a new session.

        Returns:
            What the server says about the run.

        Raises:
            LinkError: A branch of it: unreachable, refused, another version.
        """
        self._session = secrets.randbits(62) + 1
        self._seq = 0
        welcome = self._call(resume=False)
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
            clock=self._measured(kind),
        )
        frames = cut_transfer(header, parts)
        started_s = time.perf_counter()
        while True:
            try:
                self._outbox.put_frames(frames)
                self._inbox.max_bytes = max_reply_bytes
                sent_s, reply = self._converse(kind)
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

    def settle(self) -> None:
        """Wait for what is measured beside the training: only then are the counts whole."""
        self._clock.close()

    def close(self) -> None:
        """Close the connection; what was said still leaves."""
        self.settle()
        self._drop(linger_ms=1000)
        self._context.term()

    def _converse(self, kind: Kind) -> tuple[float, Transfer[Reply]]:
        """Send what is queued and take in messages until the reply is complete."""
        connection = self._connection
        if connection is None:
            raise Disconnected
        sent_s = 0.0
        while True:
            drained = self._flush(connection)
            if drained and not sent_s:
                sent_s = time.perf_counter()
                if kind == "front":
                    # Until all fronts are in, nothing else crosses the link.
                    self._clock.begin(connection.address, self._session)
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
        self._on_status(f"lost the server at {self._where.text}; connecting again")
        welcome = self._call(resume=True)
        if not welcome.resumed or welcome.run != self._run:
            raise SessionLost
        self._on_status("connected again")

    def _measured(self, kind: Kind) -> tuple[Clock, ...]:
        """What is to be said of the server's clock; only joining may wait for it."""
        if kind not in ("join", "resume", "front"):
            return ()
        found = self._clock.take(0.0 if kind == "front" else _CLOCK_WAIT_S)
        return (found,) if found is not None else ()

    def _call(self, *, resume: bool) -> Welcome:
        self._drop()
        hello = Hello(
            session=self._session,
            resume=resume,
            window_bytes=WINDOW_BYTES,
            software=__version__,
            device=self._name,
            bundle=self._bundle_id,
        )
        self._connection, welcome = self._caller.call(hello, known=bool(self._run))
        self._inbox = Inbox(0)
        self._outbox = Outbox(welcome.window_bytes)
        self._look_at(welcome)
        self._clock.begin(self._connection.address, self._session)
        return welcome

    def _look_at(self, welcome: Welcome) -> None:
        """Say what people should know about the server that answered."""
        if self._boot and welcome.boot != self._boot:
            self._on_status("the server was started again: it is another process than before")
        elif not self._boot and welcome.software not in ("", __version__):
            self._on_status(
                f"the server runs slfac {welcome.software!r}, this device {__version__!r}: install "
                "the same release on both ends"
            )
        self._boot = welcome.boot

    def _refused(self, refusal: Refusal) -> RefusedError:
        # The server has ended the session: there is nobody left to say goodbye to.
        self._drop()
        return RefusedError(refusal.reason, refusal.remedy)

    def _drop(self, linger_ms: int = 0) -> None:
        if self._connection is not None:
            self._connection.close(linger_ms)
            self._connection = None

"""Requests to the server, answered exactly once each, over connections that may break."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from slfac import __version__
from slfac.device.asking import UNSCORED, WHOLE, Asked, Exchanged, Scores, Share, Span
from slfac.device.connection import Channel, Disconnected
from slfac.device.network import Network
from slfac.device.pump import Pump
from slfac.wire.errors import ProtocolError, RefusedError
from slfac.wire.messages import (
    Bye,
    Chunk,
    Clock,
    Credit,
    Energy,
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
from slfac.wire.transfer import WINDOW_BYTES, Inbox, Outbox, Part, cut_transfer

_POLL_S = 0.25
_FULL_POLL_S = 0.002
_CLOCK_WAIT_S = 1.0


class SessionLost(Exception):  # noqa: N818 - a condition that the agent handles, not an error
    """The server no longer knows this session; the device has to join again."""


class Link:
    """The device's side of the protocol.

    Args:
        network: Gets through to the server.
        name: Name to go by without keys.
        bundle_id: Id of the bundle the device holds; empty for none.
        on_status: Told about reconnecting.

    Attributes:
        sent: Everything handed over.
        received: Everything that came.
    """

    def __init__(
        self,
        network: Network,
        *,
        name: str,
        bundle_id: str,
        on_status: Callable[[str], None],
    ) -> None:
        self.sent = network.sent
        self.received = network.received
        self._network = network
        self._name = name
        self._bundle_id = bundle_id
        self._on_status = on_status
        self._connection: Channel | None = None
        self._outbox = Outbox(WINDOW_BYTES)
        self._inbox: Inbox[Reply] = Inbox(0)
        self._session = 0
        self._seq = 0
        self._run = ""
        self._boot = ""
        self._asked: dict[int, Asked] = {}
        self._repeated_bytes = 0
        self._pump = Pump(self._move)

    def join(self) -> Welcome:
        """Open a connection and a new session.

        Returns:
            What the server says about the run.

        Raises:
            LinkError: A branch of it: unreachable, refused, another version.
        """
        self._session = secrets.randbits(62) + 1
        self._seq = 0
        self._asked.clear()
        self._repeated_bytes = 0
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
        scores: Scores = UNSCORED,
        energy: tuple[Energy, ...] = (),
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
            scores: Of those samples, where they were computed here.
            energy: What this device has spent, where it is to be told.

        Returns:
            The reply and how long it took.

        Raises:
            SessionLost: The server forgot this session.
            RefusedError: The server refuses to go on with this device.
            LinkError: The server did not come back in time.
        """
        seq = self.post(
            kind,
            parts,
            max_reply_bytes=max_reply_bytes,
            round_=round_,
            step=step,
            samples=samples,
            timings=timings,
            scores=scores,
            energy=energy,
        )
        return self.collect(seq)

    def post(
        self,
        kind: Kind,
        parts: Sequence[Part] = (),
        *,
        max_reply_bytes: int,
        round_: int = 0,
        step: int = 0,
        samples: int = 0,
        timings: Timings | None = None,
        share: Share = WHOLE,
        scores: Scores = UNSCORED,
        energy: tuple[Energy, ...] = (),
    ) -> int:
        """Begin a request, and leave its answer for :meth:`collect`.

        Only the parts of one step may be on their way at the same time. A payload larger than
        the server's window moves on in later calls, and during :meth:`moving`.

        Args:
            kind: What is asked.
            parts: Its payload; it must not change until it is answered.
            max_reply_bytes: Largest payload that its reply may have.
            round_: The present round.
            step: The device's step.
            samples: Samples behind the payload.
            timings: Phases of the step before.
            share: Which part of the step it holds.
            scores: Of those samples, where they were computed here.
            energy: What this device has spent, where it is to be told.

        Returns:
            The request's number.
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
            part=share.part,
            parts=share.parts,
            step_samples=share.step_samples,
            clock=self._measured(kind),
            loss=scores.loss,
            accuracy=scores.accuracy,
            balanced_accuracy=scores.balanced_accuracy,
            energy=energy,
        )
        asked = Asked(kind, cut_transfer(header, parts), max_reply_bytes)
        asked.begun_ns = begun_ns = time.monotonic_ns()
        self._asked[self._seq] = asked
        self._expect()
        self._outbox.put_frames(asked.frames)
        if self._connection is not None:
            self._flush(self._connection)
        asked.posted_ns = time.monotonic_ns() - begun_ns
        return self._seq

    def collect(self, seq: int) -> Exchanged:
        """Wait for the answer to a request, over as many connections as it takes.

        Args:
            seq: The number that :meth:`post` gave; the answers to others stay where they are.

        Returns:
            The reply and how long it took.

        Raises:
            SessionLost: The server forgot this session.
            RefusedError: The server refuses to go on with this device.
            LinkError: The server did not come back in time.
        """
        asked = self._asked[seq]
        started_ns, sent_ns = time.monotonic_ns(), 0
        broken: list[Span] = []
        while asked.reply is None:
            try:
                drained = self._drain()
                if drained and not sent_ns:
                    sent_ns = time.monotonic_ns()
                    self._measure(asked)
                self._receive(drained=drained)
            except Disconnected:
                broken_ns = time.monotonic_ns()
                self._resume()
                broken.append((broken_ns, time.monotonic_ns()))
                sent_ns = 0
        done_ns = time.monotonic_ns()
        sent_ns = sent_ns or done_ns
        del self._asked[seq]
        self._expect()
        return Exchanged(
            asked.reply,
            send_ms=(asked.posted_ns + sent_ns - started_ns) * 1e-6,
            wait_ms=(done_ns - sent_ns) * 1e-6,
            sending_ns=(asked.begun_ns, asked.sent_ns or done_ns),
            waiting_ns=(sent_ns, done_ns),
            without_link_ns=tuple(broken),
        )

    def moving(self) -> AbstractContextManager[None]:
        """Let what was posted, and its answers, move on during a block that only computes.

        Without it, a payload beyond the window stays where it is until the next call.
        """
        asked = self._asked.values()
        expected_bytes = sum(one.max_reply_bytes for one in asked if one.reply is None)
        large = len(self._outbox) or expected_bytes >= WINDOW_BYTES // 2
        if self._connection is None or not large or not self._network.waits:
            # All of it lies with libzmq, whose own thread sends and receives.
            return nullcontext()
        return self._pump.running()

    def bye(
        self,
        *,
        finished: bool,
        timings: Timings,
        summary: Summary,
        energy: tuple[Energy, ...] = (),
    ) -> None:
        """Say goodbye, if there is a connection to say it on.

        Args:
            finished: Whether the server said stop.
            timings: Phases of the last step.
            summary: About this process.
            energy: What it has spent, where that is measured.
        """
        if self._connection is None:
            return
        self._outbox = Outbox(WINDOW_BYTES)
        self._outbox.put(
            Bye(
                session=self._session,
                finished=finished,
                timings=timings,
                summary=summary,
                energy=energy,
            )
        )
        self._flush(self._connection)

    def settle(self) -> None:
        """Wait for what is measured beside the training: only then are the counts whole."""
        self._network.settle()

    def close(self) -> None:
        """Close the connection; what was said still leaves."""
        self.settle()
        self._drop(linger_ms=1000)
        self._pump.close()
        self._network.close()

    def _move(self) -> bool:
        """What the pump does: hand over what the socket takes, and take in what came."""
        try:
            self._receive(drained=self._drain())
        except Disconnected:
            # Who collects next finds out, and connects again.
            return False
        return any(asked.reply is None for asked in self._asked.values())

    def _drain(self) -> bool:
        """Hand over what the socket takes; whether nothing is left."""
        if self._connection is None:
            raise Disconnected
        return self._flush(self._connection)

    def _receive(self, *, drained: bool) -> None:
        """Take in one message, or wait for a while until one comes."""
        if self._connection is None:
            raise Disconnected
        # A full socket tells nobody when it takes more; credit comes as a message.
        full = not drained and self._outbox.peek() is not None
        message = self._connection.receive(_FULL_POLL_S if full else _POLL_S)
        if message is not None:
            self._take(*message)

    def _take(self, header: Message, body: memoryview) -> None:
        if isinstance(header, Refusal):
            raise self._refused(header)
        if header.session != self._session or isinstance(header, Ping):
            return
        if isinstance(header, Credit):
            self._outbox.credit(header.consumed_bytes)
            return
        if isinstance(header, Reply):
            transfer = self._inbox.begin(header, body)
        elif isinstance(header, Chunk):
            transfer = self._inbox.chunk(header, body)
        else:
            raise ProtocolError(f"the server sent a {type(header).__name__}")
        credit = self._inbox.credit(self._session)
        if credit is not None:
            self._outbox.put(credit)
        if transfer is not None and transfer.header.seq in self._asked:
            self._asked[transfer.header.seq].reply = transfer

    def _expect(self) -> None:
        """Let the inbox take what may come."""
        sizes = [asked.max_reply_bytes for asked in self._asked.values()]
        self._inbox.max_bytes = max(self._repeated_bytes, *sizes, 0)

    def _flush(self, connection: Channel) -> bool:
        while (message := self._outbox.peek()) is not None:
            if not connection.send(*message):
                return False
            self._outbox.pop()
        drained = not len(self._outbox)
        if drained:
            self._note_sent()
        return drained

    def _note_sent(self) -> None:
        now_ns = time.monotonic_ns()
        for asked in self._asked.values():
            asked.sent_ns = asked.sent_ns or now_ns

    def _resume(self) -> None:
        """Connect again and take the session up where it was."""
        self._on_status(f"lost the server at {self._network.place}; connecting again")
        welcome = self._call(resume=True)
        if not welcome.resumed or welcome.run != self._run:
            raise SessionLost
        again = [asked for asked in self._asked.values() if asked.reply is None]
        # An answer that was under way as the server heard from this device again comes twice.
        self._repeated_bytes = max(asked.max_reply_bytes for asked in again)
        self._expect()
        for asked in again:
            asked.begun_ns, asked.sent_ns = time.monotonic_ns(), 0
            self._outbox.put_frames(asked.frames)
        self._on_status("connected again")

    def _measure(self, asked: Asked) -> None:
        """Measure the clock while all fronts come in: nothing else crosses the link then."""
        if asked.kind == "front" and self._connection is not None:
            self._network.measure(self._connection, self._session)

    def _measured(self, kind: Kind) -> tuple[Clock, ...]:
        """What is to be said of the server's clock; only joining may wait for it."""
        if kind not in ("join", "resume", "front"):
            return ()
        found = self._network.measured(0.0 if kind == "front" else _CLOCK_WAIT_S)
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
        known = bool(self._run)
        self._connection, welcome = self._network.call(hello, known=known, wake=self._pump.wake)
        self._inbox = Inbox(0)
        self._outbox = Outbox(welcome.window_bytes)
        self._look_at(welcome)
        self._network.measure(self._connection, self._session)
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

"""What the server does with each message: sessions, sequence numbers, remembered replies.

No socket is touched here. Messages go in with the device that sent them; what is to be
sent lands in the connections' outboxes, and what the trainer must know in a queue.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from slfac import __version__
from slfac.server.bundle_reply import BundleReply
from slfac.server.connection import Connection, Session
from slfac.server.events import Arrived, Event, Left, Lost, Reconnected, Restarted
from slfac.server.probes import answer_probe
from slfac.server.roster import Roster
from slfac.wire.addresses import split_address
from slfac.wire.bundle import Bundle
from slfac.wire.errors import ProtocolError
from slfac.wire.messages import (
    Bye,
    Chunk,
    Credit,
    Hello,
    Message,
    Ping,
    Plan,
    Probe,
    Refusal,
    Request,
    Welcome,
)
from slfac.wire.transfer import WINDOW_BYTES, Frames, Outbox, Transfer

PING_EVERY_S = 1.0
# Pings, credits and the like that may wait beside a reply on a busy link.
_CONTROL_MESSAGES = 64
_WITHOUT_PAYLOAD = ("bundle", "join", "resume")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFacts:
    """What every device of a run is told.

    Attributes:
        boot: Random id of this server process.
        run: Id of the run.
        bundle: The bundle to train.
        plan: The run's settings.
        roster: The run's devices.
        grace_s: How long a lost connection may take to come back.
        elsewhere: Where devices are served that are not served here, by index.
    """

    boot: str
    run: str
    bundle: Bundle
    plan: Plan
    roster: Roster
    grace_s: float
    elsewhere: dict[int, str] = field(default_factory=dict)

    @property
    def served(self) -> tuple[int, ...]:
        """Indices of the devices that are served here."""
        return tuple(i for i in range(len(self.roster)) if i not in self.elsewhere)


class Protocol:
    """Sessions of all devices, fed with messages by the I/O thread.

    Args:
        facts: What every device is told.
        emit: Takes what the trainer must know.

    Attributes:
        repeated: Requests that came again, and were not taken for new ones.
    """

    def __init__(self, facts: RunFacts, emit: Callable[[Event], None]) -> None:
        self._facts = facts
        self._emit = emit
        self._sessions: dict[int, Session] = {}
        self._bundle: BundleReply | None = None
        self.repeated = 0
        self._other_releases: Counter[str] = Counter()

    def session(self, index: int) -> Session | None:
        """Present session of a device, or None.

        Args:
            index: The device.
        """
        return self._sessions.get(index)

    def sessions(self) -> Sequence[Session]:
        """All present sessions."""
        return tuple(self._sessions.values())

    def device_of(self, session_id: int) -> str:
        """Name of the device whose present session has an id; empty for none.

        Args:
            session_id: The session.
        """
        names = (one.name for one in self._sessions.values() if one.id == session_id)
        return next(names, "")

    def connected(self) -> frozenset[str]:
        """Names of the devices that have a connection now."""
        return frozenset(s.name for s in self.sessions() if s.connection is not None)

    def on_message(
        self, connection: Connection, device: str, header: Message, body: memoryview
    ) -> None:
        """Act on one message.

        Args:
            connection: Where it came from.
            device: Name of its device, by its key.
            header: The message.
            body: Its second frame.

        Raises:
            ProtocolError: The message is not allowed here; the connection is to be refused.
        """
        if isinstance(header, Probe) != connection.probes:
            raise ProtocolError(
                "a probe and another message came on one connection", cause="direction"
            )
        if isinstance(header, Probe):
            answer_probe(connection, header)
            return
        if isinstance(header, Hello):
            self._on_hello(connection, device, header)
            return
        session = connection.session
        if session is None or header.session != session.id:
            raise ProtocolError(
                "a message came before HELLO, or from another session", cause="session"
            )
        if isinstance(header, Request):
            if header.sections and header.kind in _WITHOUT_PAYLOAD:
                raise ProtocolError(f"a {header.kind} request came with a payload")
            self._collect(connection, session, connection.inbox.begin(header, body))
        elif isinstance(header, Chunk):
            self._collect(connection, session, connection.inbox.chunk(header, body))
        elif isinstance(header, Credit):
            connection.outbox.credit(header.consumed_bytes)
        elif isinstance(header, Bye):
            self._end(session)
            self._emit(Left(index=session.index, bye=header))
        else:
            raise ProtocolError(f"a device sent a {type(header).__name__}", cause="direction")

    def reply(self, index: int, session_id: int, seq: int, frames: Frames) -> None:
        """Answer a device's request, now and whenever it asks again.

        Args:
            index: The device.
            session_id: The session that asked; an older one gets nothing.
            seq: The request's number.
            frames: The answer.
        """
        session = self._sessions.get(index)
        if session is None or session.id != session_id or seq not in session.asked:
            return
        session.asked[seq] = frames
        if session.connection is not None:
            session.connection.outbox.put_frames(frames)

    def refuse(self, index: int, session_id: int, reason: str, remedy: str) -> None:
        """End a device's session and tell it why.

        Args:
            index: The device.
            session_id: The session; a newer one of the same device goes on.
            reason: What is wrong.
            remedy: What to do about it.
        """
        session = self._sessions.get(index)
        if session is not None and session.id == session_id:
            refuse_connection(session.connection, session.id, reason, remedy)
            self._end(session)

    def cut(self, connection: Connection, now_s: float) -> None:
        """Take note that a connection is gone; its session may come back.

        Args:
            connection: The connection.
            now_s: Monotonic time.
        """
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None
            session.lost_s = now_s
            session.heard_s = connection.heard_s

    def drop(self, connection: Connection, reason: str) -> None:
        """End the session behind a connection that broke a rule.

        Args:
            connection: The connection.
            reason: What it did, for people.
        """
        session = connection.session
        if session is not None and session.connection is connection:
            self._end(session)
            self._emit(Lost(index=session.index, reason=reason))

    def tick(self, now_s: float) -> None:
        """Ping who is silent, give up who stayed away too long.

        Args:
            now_s: Monotonic time.
        """
        for session in self.sessions():
            connection = session.connection
            if connection is None:
                if now_s - session.lost_s > self._facts.grace_s:
                    self._end(session)
                    self._emit(Lost(index=session.index, reason="its connection is gone"))
            elif now_s - max(connection.heard_s, connection.pinged_s) >= PING_EVERY_S:
                connection.pinged_s = now_s
                connection.outbox.put(Ping(session=session.id))

    def _on_hello(self, connection: Connection, device: str, hello: Hello) -> None:
        index = self._facts.roster.index(device)
        if index in self._facts.elsewhere:
            _send_on(connection, hello.session, device, self._facts.elsewhere[index])
            return
        connection.outbox = Outbox(hello.window_bytes)
        session = self._sessions.get(index)
        resumed = session is not None and session.id == hello.session and hello.resume
        if session is None or not resumed:
            if session is not None:
                self._end(session)
                self._emit(Restarted(index=index))
            session = Session(
                id=hello.session,
                index=index,
                name=device,
                connection=connection,
                software=hello.software,
            )
            self._sessions[index] = session
            if hello.software != __version__ and self._is_news(device):
                _log.warning(
                    "device %s runs slfac %r, this server %r: install the same release on both",
                    device,
                    hello.software,
                    __version__,
                )
        elif session.connection is not connection:
            before = session.connection
            heard_s = before.heard_s if before is not None else session.heard_s
            self._emit(Reconnected(index, max(0.0, connection.heard_s - heard_s)))
        if session.connection is not None:
            # An earlier connection that nobody has found broken yet speaks for it no more.
            session.connection.end_session()
        session.connection = connection
        connection.session = session
        connection.outbox.put(self._welcome(session, resumed=resumed))

    def _is_news(self, device: str) -> bool:
        """Whether to log a device's release: the first, second, fourth, ... time that it greets."""
        self._other_releases[device] += 1
        return self._other_releases[device].bit_count() == 1

    def _welcome(self, session: Session, *, resumed: bool) -> Welcome:
        facts = self._facts
        return Welcome(
            session=session.id,
            resumed=resumed,
            boot=facts.boot,
            run=facts.run,
            device=session.name,
            index=session.index,
            devices=len(facts.roster),
            bundle=facts.bundle.id,
            window_bytes=WINDOW_BYTES,
            plan=facts.plan,
            software=__version__,
        )

    def _collect(
        self, connection: Connection, session: Session, transfer: Transfer[Request] | None
    ) -> None:
        credit = connection.inbox.credit(session.id)
        if credit is not None:
            connection.outbox.put(credit)
        if transfer is None:
            return
        request_bytes, connection.request_bytes = connection.request_bytes, 0
        self._on_request(connection, session, transfer, request_bytes)

    def _on_request(
        self,
        connection: Connection,
        session: Session,
        transfer: Transfer[Request],
        request_bytes: int,
    ) -> None:
        header = transfer.header
        if header.seq <= session.last_seq:
            self._answer_again(connection, session, header)
            return
        if header.seq != session.last_seq + 1:
            raise ProtocolError(
                f"request {header.seq} came after request {session.last_seq}", cause="order"
            )
        self._check_part(session.last, header)
        queued, kept = len(connection.outbox), session.kept_messages
        _confirm(session, header)
        # No second bundle is queued behind one that the device has not taken in.
        if queued > (0 if header.kind == "bundle" else kept) + _CONTROL_MESSAGES:
            raise ProtocolError(
                f"request {header.seq} came from a device that takes nothing in", cause="order"
            )
        session.last_seq, session.last = header.seq, header
        session.asked[header.seq] = None
        if header.kind == "bundle":
            self.reply(session.index, session.id, header.seq, self._bundle_frames(header))
        else:
            self._emit(
                Arrived(session.index, session.id, transfer, request_bytes, session.software)
            )

    def _answer_again(self, connection: Connection, session: Session, header: Request) -> None:
        if header.seq not in session.asked:
            raise ProtocolError(
                f"request {header.seq} came after request {session.last_seq}", cause="order"
            )
        self.repeated += 1
        _log.info("device %s sent request %d again", session.name, header.seq)
        frames = session.asked[header.seq]
        # While all answers wait, other copies would only fill the memory.
        if frames is not None and len(connection.outbox) < session.kept_messages:
            connection.outbox.put_frames(frames)

    def _check_part(self, last: Request | None, header: Request) -> None:
        """Refuse a request that is no part of a step, or not the next one."""
        plan = self._facts.plan
        most = max(plan.micro_batches, plan.stream_blocks) if header.kind == "step" else 1
        if not header.part < header.parts <= most:
            raise ProtocolError(
                f"part {header.part} of {header.parts} of a {header.kind} request came; a run of "
                f"this kind has up to {most}",
                cause="order",
            )
        if header.part and (last is None or _place(header) != (*_place(last)[:-1], last.part + 1)):
            raise ProtocolError(
                f"part {header.part} of step {header.step} came out of order", cause="order"
            )

    def _bundle_frames(self, request: Request) -> Frames:
        if self._bundle is None:
            try:
                self._bundle = BundleReply(self._facts.bundle)
            except OSError as error:
                raise ProtocolError(
                    f"the server cannot read its bundle any more: {error.strerror}",
                    "restore it there, then start this device again",
                ) from error
        return self._bundle.frames(request)

    def _end(self, session: Session) -> None:
        if self._sessions.get(session.index) is session:
            del self._sessions[session.index]
        if session.connection is not None:
            session.connection.end_session()


def _confirm(session: Session, header: Request) -> None:
    """Forget the answers that a new request shows to be taken in: those of earlier steps."""
    for seq in [seq for seq in session.asked if seq < header.seq - header.part]:
        if session.asked.pop(seq) is None:
            raise ProtocolError(
                f"request {header.seq} came before the answer to request {seq}", cause="order"
            )


def _place(header: Request) -> tuple[str, int, int, int, int]:
    return header.kind, header.round, header.step, header.parts, header.part


def _send_on(connection: Connection, session_id: int, device: str, address: str) -> None:
    # Only a device of an older release shows this text to anybody.
    host, port = split_address(address)
    where = f"port {port} of this host" if host == "*" else address
    refuse_connection(
        connection,
        session_id,
        f"device {device!r} is served at {where}",
        "start it with that --server, or install the server's release of slfac, which finds it",
        address,
    )


def refuse_connection(
    connection: Connection | None, session_id: int, reason: str, remedy: str, address: str = ""
) -> None:
    """Queue a refusal, if there is a connection to send it on, in place of all else.

    Args:
        connection: The connection.
        session_id: The session it is about; 0 where none is known.
        reason: What is wrong.
        remedy: What to do about it.
        address: Where to go instead.
    """
    if connection is not None:
        refusal = Refusal(session_id, reason[:512], remedy[:512], address)
        connection.outbox = Outbox(WINDOW_BYTES)
        connection.outbox.put(refusal)

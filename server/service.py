"""The I/O thread: one ROUTER, polled; bytes in, bytes out, nothing that takes long."""

from __future__ import annotations

import errno
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import zmq

from slfac.server.connection import Connection
from slfac.server.events import Failed
from slfac.server.protocol import RunFacts, refuse_connection
from slfac.server.transit import NOBODY, Transit
from slfac.server.transport import Transport
from slfac.wire.errors import ProtocolError
from slfac.wire.frame import decode_header
from slfac.wire.gate import Gate
from slfac.wire.keys import server_keys
from slfac.wire.messages import Hello, Message, Ping, Probe
from slfac.wire.meter import Traffic
from slfac.wire.sockets import bind_server
from slfac.wire.transfer import COPY_BELOW_BYTES, Frames

_TICK_MS = 250
_RETRY_MS = 5
_RECEIVE_BURST = 64
_FORGET_AFTER_S = 60.0
_NEVER = math.inf
_ENROLL = "on the server: `slfac keys list`, `slfac keys enroll NAME device.key`"
_JOIN = "restart the server: it counts the devices that are enrolled, or named, at its start"
_log = logging.getLogger(__name__)


class Service(Transport):
    """Owns the server's socket and its thread.

    The socket is bound when the object is made, so that a taken port is an error there.

    Args:
        address: ``tcp://HOST:PORT`` to bind.
        keys: The server's key folder; None works on loopback without keys.
        facts: What every device of the run is told.
        max_request_bytes: Largest payload of a request.
        traffic: What connections carried before this server was started again, by device.

    Attributes:
        events: What the trainer must know, in order.
        address: Where the socket listens, port included.
        refusals: Messages that were not taken, by cause.
        connected: Devices that have a connection, four times a second.

    Raises:
        AddressError: The address cannot be bound.
        KeyFileError: The server's keys cannot be read.
    """

    def __init__(
        self,
        *,
        address: str,
        keys: Path | None,
        facts: RunFacts,
        max_request_bytes: int,
        traffic: Mapping[str, Traffic] | None = None,
    ) -> None:
        own = server_keys(keys) if keys is not None else None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._gate: Gate | None = None
        try:
            self._gate = Gate(self._context, keys) if keys is not None else None
            self._router = bind_server(self._context, address, own)
            self._wake_out = self._context.socket(zmq.PAIR)
            self._wake_in = self._context.socket(zmq.PAIR)
            self._wake_in.bind("inproc://wake")
            self._wake_out.connect("inproc://wake")
        except BaseException:
            if self._gate is not None:
                self._gate.close()
            self._context.destroy(linger=0)
            raise
        self.address = self._router.get_string(zmq.LAST_ENDPOINT)
        self._transit = Transit(
            facts,
            max_request_bytes=max_request_bytes,
            curve=keys is not None,
            traffic=traffic,
        )
        self.events = self._transit.events
        self.refusals = self._transit.refusals
        self._protocol = self._transit.protocol
        self.connected = frozenset()
        self._connections: dict[bytes, Connection] = {}
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._finish_by_s = _NEVER
        self._leaving: set[bytes] = set()
        self._unreachable: set[bytes] = set()
        self._thread = threading.Thread(target=self._run, name="slfac-io", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def reply(self, index: int, session: int, seq: int, frames: Frames) -> None:
        """Answer a device's request; see :meth:`Transport.reply`."""
        self._do(lambda: self._protocol.reply(index, session, seq, frames))

    def refuse(self, index: int, session: int, reason: str, remedy: str, cause: str) -> None:
        """End a device's session and tell it why; see :meth:`Transport.refuse`."""
        self._do(lambda: self._transit.refuse(index, session, reason, remedy, cause))

    @property
    def repeated(self) -> int:
        """Requests that came again, and were not taken for new ones."""
        return self._protocol.repeated

    def traffic(self, name: str) -> Traffic:
        """What a device's connections carried; see :meth:`Transport.traffic`."""
        return self._transit.traffic(name)

    def refused_keys(self) -> dict[str, int]:
        """Public keys that knocked without being enrolled, and how often."""
        return dict(self._gate.refused) if self._gate is not None else {}

    def close(self, farewell: tuple[str, str] | None = None, drain_s: float = 3.0) -> None:
        """Send what is queued, tell the devices why where asked to, and stop.

        Args:
            farewell: Reason and remedy of a refusal to every device still there.
            drain_s: How long queued messages may take to leave.
        """
        if self._thread.is_alive():
            self._do(lambda: self._finish(farewell, time.monotonic() + drain_s))
            self._thread.join()
        self._wake_out.close()
        self._wake_in.close()
        # What the outboxes handed over may still lie in libzmq's queues.
        self._router.close(linger=500)
        if self._gate is not None:
            self._gate.close()
        self._context.term()

    def _do(self, command: Callable[[], None]) -> None:
        self._commands.put(command)
        self._wake_out.send(b"")

    def _finish(self, farewell: tuple[str, str] | None, deadline_s: float) -> None:
        if farewell is not None:
            for session in self._protocol.sessions():
                if session.connection is not None:
                    self._leaving.add(session.connection.identity)
                self._protocol.refuse(session.index, session.id, *farewell)
        self._finish_by_s = deadline_s

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001 - the trainer must learn of anything
            self._transit.events.put(Failed(error))

    def _loop(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wake_in, zmq.POLLIN)
        ticked_s = time.monotonic()
        while True:
            poller.poll(_RETRY_MS if self._backlog() else _TICK_MS)
            self._run_commands()
            self._receive()
            now_s = time.monotonic()
            if now_s - ticked_s >= _TICK_MS / 1e3:
                ticked_s = now_s
                self._protocol.tick(now_s)
                self.connected = self._protocol.connected()
                self._forget(now_s)
            self._send()
            if self._finish_by_s < _NEVER and self._is_done(now_s):
                return

    def _is_done(self, now_s: float) -> bool:
        """Whether all was sent, and everyone who was told to go has hung up.

        Closing while a device still sends would make the kernel reset the connection,
        and the device would lose what it was told.
        """
        self._leaving &= self._connections.keys()
        for identity in self._leaving:
            connection = self._connections[identity]
            if not len(connection.outbox):
                connection.outbox.put(Ping(session=0))
        return now_s >= self._finish_by_s or not (self._backlog() or self._leaving)

    def _backlog(self) -> int:
        return sum(len(connection.outbox) for connection in self._connections.values())

    def _run_commands(self) -> None:
        while self._wake_in.poll(0):
            self._wake_in.recv()
        # Not one a wake-up: Ctrl-C may strike between a command and its wake-up.
        while not self._commands.empty():
            self._commands.get()()

    def _receive(self) -> None:
        for _ in range(_RECEIVE_BURST):
            try:
                frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                self._cut_unreachable()
                return
            if frames[0].bytes in self._leaving:
                continue
            if len(frames) == 3:
                self._on_frames(*frames)
            else:
                self._on_odd_frames(frames)

    def _on_odd_frames(self, frames: list[zmq.Frame]) -> None:
        """Take note of a message that is not of two frames; what sent it goes on."""
        known = self._connections.get(frames[0].bytes)
        device = known.device if known is not None else None
        if self.refusals.add("frames", device):
            sender = device or "a stranger"
            _log.warning("passed over a message of %d frames from %s", len(frames) - 1, sender)

    def _on_frames(self, identity: zmq.Frame, head: zmq.Frame, body: zmq.Frame) -> None:
        try:
            header: Message | ProtocolError = decode_header(head.buffer)
        except ProtocolError as error:
            header = error
        connection = self._connection(identity.bytes, head, header)
        if connection is None:
            return
        self._transit.take(connection, header, len(head), body.buffer, time.monotonic())

    def _connection(
        self, identity: bytes, head: zmq.Frame, header: Message | ProtocolError
    ) -> Connection | None:
        """The connection behind a message, or None when its sender is not let in."""
        known = self._connections.get(identity)
        device = self._device(head, header, known)
        now_s = time.monotonic()
        renamed = known is not None and known.device != device
        if device is None or renamed or not self._may_speak(device, header, known):
            stranger = Connection(identity, "", 0, heard_s=now_s)
            self._turn_away(known or stranger, device, header)
            return None
        if known is None:
            known = self._transit.open(identity, device, header, now_s)
            self._connections[identity] = known
        return known

    def _turn_away(
        self, stranger: Connection, device: str | None, header: Message | ProtocolError
    ) -> None:
        cause = "key"
        if device is None and self._gate is None:
            cause, reason, remedy = "session", "a message came before HELLO", ""
        elif device is None:
            reason, remedy = "this device's key is not enrolled, or was revoked", _ENROLL
        elif stranger.device and stranger.device != device:
            reason = f"this device's key was enrolled as {stranger.device!r}, now as {device!r}"
            remedy = "start this device again"
        else:
            cause, reason, remedy = "roster", f"device {device!r} is not part of this run", _JOIN
        if self.refusals.add(cause, stranger.device or None):
            _log.warning("turned away %s: %s", stranger.device or "a stranger", reason)
        session = 0 if isinstance(header, ProtocolError) else header.session
        refuse_connection(stranger, session, reason, remedy)
        self._protocol.drop(stranger, reason)
        self._send_one(stranger)

    def _device(
        self, head: zmq.Frame, header: Message | ProtocolError, known: Connection | None
    ) -> str | None:
        if self._gate is not None:
            public = head.get("User-Id")
            return self._gate.name_of(public) if isinstance(public, str) else None
        if known is not None:
            return known.device
        if isinstance(header, Probe):
            return NOBODY
        return header.device if isinstance(header, Hello) else None

    def _may_speak(
        self,
        device: str,
        header: Message | ProtocolError,
        known: Connection | None,
    ) -> bool:
        if self._gate is None and device == NOBODY:
            # Whatever a device without a key calls itself: it may measure the link.
            return known.probes if known is not None else isinstance(header, Probe)
        return self._transit.knows(device)

    def _send(self) -> None:
        for connection in tuple(self._connections.values()):
            self._send_one(connection)

    def _send_one(self, connection: Connection) -> None:
        while (message := connection.outbox.peek()) is not None:
            head, body = message
            try:
                self._router.send_multipart(
                    [connection.identity, head, body],
                    zmq.NOBLOCK,
                    copy=len(body) < COPY_BELOW_BYTES,
                )
            except zmq.Again:
                return
            except zmq.ZMQError as error:
                if error.errno != errno.EHOSTUNREACH:
                    raise
                self._unreachable.add(connection.identity)
                return
            connection.outbox.pop()
            self._transit.sent(connection, len(head), len(body))

    def _cut_unreachable(self) -> None:
        """Give up connections that are gone, once everything they brought has been read.

        A device that says goodbye and hangs up is unreachable while its goodbye still waits.
        """
        now_s = time.monotonic()
        for identity in self._unreachable:
            connection = self._connections.pop(identity, None)
            if connection is not None:
                self._protocol.cut(connection, now_s)
        self._unreachable.clear()

    def _forget(self, now_s: float) -> None:
        """Drop connections without a session that have been silent for long."""
        for identity, connection in tuple(self._connections.items()):
            if connection.session is None and now_s - connection.heard_s > _FORGET_AFTER_S:
                del self._connections[identity]

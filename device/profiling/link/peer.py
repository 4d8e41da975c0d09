"""The far end of a link that is measured: takes bytes, gives bytes, and answers at once."""

from __future__ import annotations

import contextlib
import errno
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq

from slfac import __version__
from slfac.device.profiling.link.messages import (
    MAX_HEADER_BYTES,
    Asked,
    Get,
    Given,
    Leave,
    Put,
    Refused,
    Said,
    Taken,
    decode_asked,
    encode,
)
from slfac.wire.errors import ProtocolError
from slfac.wire.frame import MAX_BODY_BYTES
from slfac.wire.gate import Gate
from slfac.wire.keys import server_keys
from slfac.wire.sockets import bind_server

_TICK_MS: Final = 250
_RETRY_MS: Final = 2
_BURST: Final = 64
# Bodies to one device that wait in the socket: a megabyte.
_SEND_QUEUE: Final = 16
_MOST_GETS: Final = 32
_MOST_CONNECTIONS: Final = 8
_SILENT_S: Final = 60.0
_NOBODY: Final = "a device without a key"
_ENROLL: Final = "on the peer: `slfac keys list`, `slfac keys enroll NAME device.key`"
_BODY: Final = memoryview(bytes(MAX_BODY_BYTES))


@dataclass
class _Job:
    """A Get that is being served."""

    seq: int
    left: int
    body_bytes: int
    gap_s: float
    due_s: float


@dataclass
class _Client:
    """A device's connection, in constant memory."""

    name: str
    since_s: float
    heard_s: float
    jobs: deque[_Job] = field(default_factory=deque)
    answers: deque[Said] = field(default_factory=deque)
    puts: int = 0
    taken_bytes: int = 0
    given: int = 0
    given_bytes: int = 0

    def line(self, how: str, now_s: float) -> str:
        """What there is to say of it once it has gone."""
        return (
            f"{self.name} {how} after {now_s - self.since_s:.1f} s: "
            f"took {self.taken_bytes / 1e6:.2f} MB in {self.puts} messages, "
            f"gave {self.given_bytes / 1e6:.2f} MB in {self.given}"
        )


class Peer:
    """Serves devices that measure their link, until it is told to stop.

    Only keys that are enrolled get in, and each message's key is looked up again. A device costs a
    constant amount of memory, whatever it says: bodies are counted and dropped.

    Args:
        address: ``tcp://HOST:PORT`` to bind; port ``*`` for any that is free.
        keys: A server's key folder; None works on loopback without keys.
        say: Told one line for each device, once it has gone, and for each refusal.

    Attributes:
        address: Where it listens, port included.

    Raises:
        AddressError: The address is malformed, taken, or not this machine's.
        KeyFileError: The keys cannot be read.
        SettingsError: There are no keys, and the address is not loopback.
    """

    def __init__(self, address: str, keys: Path | None, say: Callable[[str], None]) -> None:
        own = server_keys(keys) if keys is not None else None
        self._say = say
        self._clients: dict[bytes, _Client] = {}
        self._refusals = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._gate: Gate | None = None
        try:
            self._gate = Gate(self._context, keys) if keys is not None else None
            self._router = bind_server(self._context, address, own, send_queue=_SEND_QUEUE)
        except BaseException:
            if self._gate is not None:
                self._gate.close()
            self._context.destroy(linger=0)
            raise
        self.address = self._router.get_string(zmq.LAST_ENDPOINT)

    def serve(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Answer devices.

        Args:
            go_on: Asked at least four times a second whether to go on.
        """
        while go_on():
            self._router.poll(self._wait_ms())
            self._receive()
            now_s = time.monotonic()
            for identity, client in tuple(self._clients.items()):
                if not self._answer(identity, client, now_s):
                    self._forget(identity, "hung up", now_s)
                elif now_s - client.heard_s > _SILENT_S:
                    self._forget(identity, "fell silent", now_s)

    def close(self) -> None:
        """Close the socket; devices that are still there get their line."""
        for identity in tuple(self._clients):
            self._forget(identity, "was cut off", time.monotonic())
        self._router.close(linger=0)
        if self._gate is not None:
            self._gate.close()
        self._context.term()

    def _wait_ms(self) -> int:
        now_s = time.monotonic()
        waits = [_TICK_MS]
        for client in self._clients.values():
            if client.answers:
                return _RETRY_MS
            if client.jobs:
                # What is overdue waits for room in the socket.
                due_ms = int(1e3 * (client.jobs[0].due_s - now_s))
                waits.append(max(due_ms, _RETRY_MS))
        return min(waits)

    def _receive(self) -> None:
        for _ in range(_BURST):
            try:
                frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._on_frames(frames[0].bytes, frames[1:])

    def _on_frames(self, identity: bytes, frames: list[zmq.Frame]) -> None:
        name = self._name(frames)
        now_s = time.monotonic()
        try:
            if name is None:
                raise ProtocolError("this key is not enrolled, or was revoked", _ENROLL)
            asked = self._asked(frames)
            client = self._client(identity, name, now_s)
            if isinstance(asked, Leave):
                self._forget(identity, "left", now_s)
            else:
                self._take(client, asked, len(frames[1]), now_s)
        except ProtocolError as error:
            self._refuse(identity, name or "a stranger", error)

    def _name(self, frames: list[zmq.Frame]) -> str | None:
        if self._gate is None:
            return _NOBODY
        public = frames[0].get("User-Id") if frames else None
        return self._gate.name_of(public) if isinstance(public, str) else None

    def _asked(self, frames: list[zmq.Frame]) -> Asked:
        if len(frames) != 2:
            raise ProtocolError(f"a message of {len(frames)} frames came, 2 were expected")
        if len(frames[0]) > MAX_HEADER_BYTES or len(frames[1]) > MAX_BODY_BYTES:
            raise ProtocolError("a frame is too long")
        return decode_asked(frames[0].buffer)

    def _client(self, identity: bytes, name: str, now_s: float) -> _Client:
        client = self._clients.get(identity)
        if client is None:
            theirs = sum(known.name == name for known in self._clients.values())
            if theirs >= _MOST_CONNECTIONS:
                raise ProtocolError(
                    f"{name} has {theirs} connections already", "end those measurements first"
                )
            client = self._clients[identity] = _Client(name, now_s, now_s)
        client.heard_s = now_s
        return client

    def _take(self, client: _Client, asked: Put | Get, body_bytes: int, now_s: float) -> None:
        if isinstance(asked, Put):
            client.puts += 1
            client.taken_bytes += body_bytes
            if not asked.answer:
                return
            if len(client.answers) >= _MOST_GETS:
                raise ProtocolError("more answers are asked for than taken")
            said = Taken(asked.seq, client.puts, client.taken_bytes, __version__)
            client.answers.append(said)
            return
        if len(client.jobs) >= _MOST_GETS:
            raise ProtocolError(f"more than {_MOST_GETS} Gets wait to be served")
        gap_s = asked.gap_us / 1e6
        client.jobs.append(_Job(asked.seq, asked.count, asked.body_bytes, gap_s, now_s))

    def _answer(self, identity: bytes, client: _Client, now_s: float) -> bool:
        """Send what is due and fits; whether the device is still there."""
        for _ in range(_BURST):
            said, body = self._next(client, now_s)
            if said is None:
                return True
            try:
                self._send(identity, said, body)
            except zmq.Again:
                return True
            except zmq.ZMQError as error:
                if error.errno != errno.EHOSTUNREACH:
                    raise
                return False
            client.heard_s = now_s
            if isinstance(said, Given):
                self._given(client, len(body), now_s)
            else:
                client.answers.popleft()
        return True

    def _next(self, client: _Client, now_s: float) -> tuple[Said | None, memoryview]:
        if client.answers:
            return client.answers[0], _BODY[:0]
        if client.jobs and client.jobs[0].due_s <= now_s:
            job = client.jobs[0]
            return Given(job.seq, job.left - 1), _BODY[: job.body_bytes]
        return None, _BODY[:0]

    def _given(self, client: _Client, body_bytes: int, now_s: float) -> None:
        client.given += 1
        client.given_bytes += body_bytes
        job = client.jobs[0]
        job.left -= 1
        # At most one behind: a burst of small messages would share packets.
        job.due_s = max(job.due_s + job.gap_s, now_s - job.gap_s)
        if not job.left:
            client.jobs.popleft()

    def _send(self, identity: bytes, said: Said, body: memoryview) -> None:
        frames: list[bytes | memoryview] = [identity, encode(said), body]
        self._router.send_multipart(frames, zmq.NOBLOCK, copy=False)

    def _refuse(self, identity: bytes, name: str, error: ProtocolError) -> None:
        self._refusals += 1
        # The first, second, fourth, eighth: whoever sends nonsense must not fill a disk.
        if not self._refusals & (self._refusals - 1):
            self._say(f"refused {name}: {error.what[:200]} (refusal {self._refusals})")
        with contextlib.suppress(zmq.ZMQError):  # it does not listen, or has gone
            self._send(identity, Refused(error.what[:256], error.remedy[:256]), _BODY[:0])
        if identity in self._clients:
            self._forget(identity, "was refused", time.monotonic())

    def _forget(self, identity: bytes, how: str, now_s: float) -> None:
        self._say(self._clients.pop(identity).line(how, now_s))

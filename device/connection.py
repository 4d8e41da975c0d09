"""One connection to the server, from handshake to break, and what its failures mean."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import zmq
from zmq.utils.monitor import recv_monitor_message

from slfac.wire.errors import AuthError, LinkError, ProtocolError
from slfac.wire.frame import decode_header
from slfac.wire.keys import DeviceKeys
from slfac.wire.messages import Message
from slfac.wire.meter import Meter
from slfac.wire.sockets import connect_device
from slfac.wire.transfer import COPY_BELOW_BYTES, Buffer

_SLOW_S = 5.0
# A wrong server key shows only as a server that hangs up: libzmq says no more.
_HANGUPS_TO_BLAME_THE_KEY = 3
_FAILED = (zmq.Event.HANDSHAKE_FAILED_NO_DETAIL, zmq.Event.HANDSHAKE_FAILED_PROTOCOL)


def _nobody() -> None:
    """Called while a connection waits, where nobody wants to know."""


class Disconnected(Exception):  # noqa: N818 - a condition that the link handles, not an error
    """The connection broke; a fresh one may succeed."""


class UnreachableError(LinkError):
    """Nothing answers at the address.

    Args:
        place: Where nothing answers, for people.
        timeout_s: How long it was tried.
        remedy: What to check.
    """

    def __init__(
        self,
        place: str,
        timeout_s: float,
        remedy: str = "check that it runs, its address, and the firewall between",
    ) -> None:
        super().__init__(f"no server answered {place} within {timeout_s:.0f} s", remedy)
        self._place = place

    def within(self, timeout_s: float) -> UnreachableError:
        """The same of the whole time, after several attempts.

        Args:
            timeout_s: How long it was tried.
        """
        return UnreachableError(self._place, timeout_s, self.remedy)


class NotEnrolledError(AuthError):
    """The server does not know this device's key; a fresh socket may succeed once it does."""


class Channel(Protocol):
    """What carries messages to the server and back.

    Attributes:
        address: Where the server is.
    """

    address: str

    def send(self, head: bytes, body: Buffer) -> bool:
        """Send one message if it can leave now; see :meth:`Connection.send`."""

    def receive(self, timeout_s: float) -> tuple[Message, memoryview] | None:
        """Wait for one message; see :meth:`Connection.receive`."""

    def close(self, linger_ms: int = 0) -> None:
        """Close it."""


class Connection:
    """A DEALER with its monitor. After a break it is closed and a fresh one is made.

    Args:
        context: The process's context.
        address: The server's address.
        keys: The device's keys; None on loopback without keys.
        sent: Counts what is sent.
        received: Counts what is received.
        wake: A descriptor that ends a wait in :meth:`receive` while it is readable.
        on_alive: Called whenever it has waited for a while.

    Attributes:
        address: As given.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        keys: DeviceKeys | None,
        *,
        sent: Meter,
        received: Meter,
        wake: int | None = None,
        on_alive: Callable[[], None] | None = None,
    ) -> None:
        self.address = address
        self._keys = keys
        self._sent = sent
        self._received = received
        self._on_alive = on_alive or _nobody
        self._broken = False
        self._socket = connect_device(context, address, keys)
        self._monitor = self._socket.get_monitor_socket()
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        if wake is not None:
            self._poller.register(wake, zmq.POLLIN)

    def open(
        self,
        timeout_s: float,
        on_status: Callable[[str], None],
        *,
        known: bool = False,
        at_most_s: float | None = None,
    ) -> None:
        """Wait until the handshake succeeded.

        Args:
            timeout_s: How long there is to try.
            on_status: Told what it is waiting for, now and then.
            known: Whether a server was found there before. Who hangs up or says nothing is
                then something between, a tunnel say, whose far end is not back yet.
            at_most_s: How long to try this address, if the server may be at another as well.

        Raises:
            NotEnrolledError: The server refused this device's key.
            AuthError: The server has another key.
            ProtocolError: Something listens there that is no slfac server.
            UnreachableError: Nothing answers.
        """
        deadline_s = time.monotonic() + timeout_s
        leave_s = min(deadline_s, time.monotonic() + (at_most_s or math.inf))
        status_s = time.monotonic() + _SLOW_S / 2
        connected, hangups = False, 0
        while True:
            self._on_alive()
            event = self._next_event(min(0.25, max(leave_s - time.monotonic(), 0.0)))
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                return
            if event == zmq.Event.CONNECTED:
                connected = True
            if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
                raise self._refused()
            if event in _FAILED or (event == zmq.Event.DISCONNECTED and connected):
                hangups += 1
            if event == zmq.Event.CLOSED:
                # Nobody listens now; who hung up before may have been a server on its way out.
                connected, hangups = False, 0
            if not known and hangups >= _HANGUPS_TO_BLAME_THE_KEY:
                raise self._hung_up()
            now_s = time.monotonic()
            if now_s >= leave_s:
                # While there is time, the server may be at another address.
                listens = now_s >= deadline_s and not known and (connected or hangups > 0)
                raise self._silent(connected=listens, timeout_s=timeout_s)
            if now_s >= status_s:
                status_s = now_s + _SLOW_S
                state = "listens but does not answer" if connected else "does not answer yet"
                on_status(f"{self.address} {state}; trying for {deadline_s - now_s:.0f} s more")

    def send(self, head: bytes, body: Buffer) -> bool:
        """Send one message if the socket takes it now.

        Args:
            head: Header frame.
            body: Body frame.

        Returns:
            Whether it was taken; never after a break.
        """
        # libzmq connects again by itself, but the server knows nobody there before HELLO.
        self._notice_break()
        if self._broken:
            return False
        try:
            self._socket.send_multipart(
                [head, body], zmq.NOBLOCK, copy=len(body) < COPY_BELOW_BYTES
            )
        except zmq.Again:
            return False
        self._sent.add(len(head), len(body), curve=self._keys is not None)
        return True

    def receive(self, timeout_s: float) -> tuple[Message, memoryview] | None:
        """Wait for one message.

        Args:
            timeout_s: How long.

        Returns:
            Its header and body, or None when none came.

        Raises:
            Disconnected: The connection broke.
            ProtocolError: What came is no message of this protocol version.
        """
        frames = self.frames(timeout_s)
        return (decode_header(frames[0]), frames[1]) if frames is not None else None

    def frames(self, timeout_s: float) -> tuple[memoryview, memoryview] | None:
        """Wait for one message, and do not read its header.

        Args:
            timeout_s: How long.

        Returns:
            Both frames, or None when none came.

        Raises:
            Disconnected: The connection broke.
            ProtocolError: What came is no message of two frames.
        """
        self._poller.poll(0 if self._broken else int(timeout_s * 1e3))
        self._on_alive()
        # What came before the break may still lie in the socket: a refusal, say.
        self._notice_break()
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            if self._broken:
                raise Disconnected from None
            return None
        if len(frames) != 2:
            raise ProtocolError(f"a message of {len(frames)} frames came, 2 were expected")
        head, body = frames
        self._received.add(len(head), len(body), curve=self._keys is not None)
        return head.buffer, body.buffer

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket.

        Args:
            linger_ms: How long unsent messages may still take.
        """
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close(linger=linger_ms)

    def _notice_break(self) -> None:
        while (event := self._next_event(0.0)) is not None:
            self._broken |= event == zmq.Event.DISCONNECTED

    def _next_event(self, timeout_s: float) -> zmq.Event | None:
        if not self._monitor.poll(int(timeout_s * 1e3)):
            return None
        event = recv_monitor_message(self._monitor)["event"]
        return zmq.Event(event)

    def _refused(self) -> NotEnrolledError:
        key = self._keys.own.public.decode("ascii") if self._keys is not None else "-"
        return NotEnrolledError(
            f"the server at {self.address} refused this device's key {key}",
            "on the server: `slfac keys enroll NAME device.key`",
        )

    def _hung_up(self) -> AuthError:
        return AuthError(
            f"the server at {self.address} hung up during the handshake: its key is not the one "
            "in server.key, it runs without keys, or it is no slfac server",
            "copy server.key from the server's key folder again, and check host and port",
        )

    def _silent(self, *, connected: bool, timeout_s: float) -> LinkError:
        if connected:
            return ProtocolError(
                f"something listens at {self.address}, but it is no slfac server",
                "check host and port",
            )
        return UnreachableError(f"at {self.address}", timeout_s)

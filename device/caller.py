"""Getting through to the server: where it is now, with a fresh socket each time, and patience."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import zmq

from slfac.device.connection import Connection, Disconnected, NotEnrolledError, UnreachableError
from slfac.device.whereabouts import Where, Whereabouts
from slfac.wire.errors import LinkError, ProtocolError, RefusedError
from slfac.wire.frame import encode_header
from slfac.wire.keys import DeviceKeys
from slfac.wire.messages import Hello, Refusal, Welcome
from slfac.wire.meter import Meter

_POLL_S: Final = 0.25
_HELLO_TIMEOUT_S: Final = 15.0
_BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0)
# People enroll a key, and whoever is refused is a line in the server's log.
_REFUSED_BACKOFF_S: Final = (0.2, 1.0, 2.0, 5.0)
_SAY_EVERY_S: Final = 10.0


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        connect_s: To reach the server at the start.
        reconnect_s: To reach it after a break; a key that is refused then is tried again too.
        enrolled_s: To be enrolled, where the server refuses this device at the start.
    """

    connect_s: float
    reconnect_s: float
    enrolled_s: float = 0.0


class _SentOn(Exception):  # noqa: N818 - a condition that the caller handles, not an error
    """This device belongs to another server of the run."""


class Caller:
    """Opens connections on which the server has answered HELLO.

    Args:
        context: The process's context.
        where: Where the server is.
        keys: The device's keys; None on loopback without keys.
        patience: How long to try.
        on_status: Told what it is waiting for.
        sent: Counts what is sent.
        received: Counts what is received.
        on_alive: Called again and again while they wait.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        where: Where,
        keys: DeviceKeys | None,
        patience: Patience,
        *,
        on_status: Callable[[str], None],
        sent: Meter,
        received: Meter,
        on_alive: Callable[[], None] | None = None,
    ) -> None:
        self._context = context
        self._where = Whereabouts(where)
        self._keys = keys
        self._patience = patience
        self._on_status = on_status
        self._sent = sent
        self._received = received
        self._on_alive = on_alive
        self._said_s = 0.0

    @property
    def place(self) -> str:
        """Where the server is, for people."""
        return self._where.text

    def call(self, hello: Hello, *, known: bool, wake: int) -> tuple[Connection, Welcome]:
        """Greet the server until it answers, with pauses that grow.

        Args:
            hello: What to say.
            known: Whether a server was met before in this process.
            wake: A descriptor that ends a wait of the connection while it is readable.

        Returns:
            The connection, and the server's answer.

        Raises:
            LinkError: A branch of it: unreachable, refused, another version.
        """
        timeout_s = self._patience.reconnect_s if hello.resume else self._patience.connect_s
        begun_s = time.monotonic()
        deadline_s = begun_s + timeout_s
        enroll_by_s = deadline_s if known else begun_s + self._patience.enrolled_s
        pauses = itertools.chain(_BACKOFF_S, itertools.repeat(_BACKOFF_S[-1]))
        refusals = itertools.chain(_REFUSED_BACKOFF_S, itertools.repeat(_REFUSED_BACKOFF_S[-1]))
        gone = self._gone(timeout_s)
        failure: LinkError | None = gone if known else None
        while True:
            try:
                return self._greet(hello, deadline_s, known=known, wake=wake)
            except _SentOn:
                continue
            except (NotEnrolledError, RefusedError) as error:
                told = known and isinstance(error, RefusedError)
                if told or time.monotonic() >= enroll_by_s:
                    raise
                deadline_s = max(deadline_s, enroll_by_s)
                self._say_refused(error, enroll_by_s)
                failure, pause_s = error, next(refusals)
            except UnreachableError as error:
                failure, pause_s = failure or error.within(timeout_s), next(pauses)
            except Disconnected:
                failure, pause_s = gone, next(pauses)
            self._where.go_home()
            left_s = deadline_s - time.monotonic()
            time.sleep(max(min(pause_s, left_s), 0.0))
            if left_s <= pause_s:
                raise failure

    def _greet(
        self, hello: Hello, deadline_s: float, *, known: bool, wake: int
    ) -> tuple[Connection, Welcome]:
        address = self._where.find(max(deadline_s - time.monotonic(), 0.0))
        connection = Connection(
            self._context,
            address,
            self._keys,
            sent=self._sent,
            received=self._received,
            wake=wake,
            on_alive=self._on_alive,
        )
        try:
            connection.open(
                max(deadline_s - time.monotonic(), 0.0),
                self._on_status,
                known=known,
                at_most_s=self._where.at_most_s,
            )
            answer = self._say_hello(connection, hello, known=known)
            if isinstance(answer, Refusal):
                self._where.follow(answer.address, address)
                raise _SentOn
        except BaseException:
            # Else libzmq would go on connecting during the pause.
            connection.close()
            raise
        self._where.met(answer.run)
        return connection, answer

    def _say_hello(self, connection: Connection, hello: Hello, *, known: bool) -> Welcome | Refusal:
        """Say HELLO, and wait for the answer: also a refusal that says where to go instead."""
        head = encode_header(hello)
        said = False
        deadline_s = time.monotonic() + _HELLO_TIMEOUT_S
        while time.monotonic() < deadline_s:
            said = said or connection.send(head, b"")
            message = connection.receive(_POLL_S)
            if message is None:
                continue
            header = message[0]
            if isinstance(header, Refusal) and header.address:
                return header
            if isinstance(header, Refusal):
                raise RefusedError(header.reason, header.remedy)
            if isinstance(header, Welcome) and header.session == hello.session:
                return header
        if known:
            raise Disconnected
        raise ProtocolError(
            f"the server at {self._where.text} did not answer HELLO within {_HELLO_TIMEOUT_S:g} s",
            "check that both ends run the same release of slfac",
        )

    def _say_refused(self, error: LinkError, until_s: float) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s >= _SAY_EVERY_S or not self._said_s:
            self._said_s = now_s
            self._on_status(f"{error}; trying again for {until_s - now_s:.0f} s more")

    def _gone(self, timeout_s: float) -> LinkError:
        return LinkError(
            f"lost the server at {self._where.text}; it did not come back within {timeout_s:.0f} s",
            "check that it runs, then start this device again",
        )

"""How a link gets through to the server: over sockets, or however else a server is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import zmq

from slfac.device.caller import Caller, Patience
from slfac.device.clock_meter import ClockMeter
from slfac.device.connection import Channel
from slfac.device.whereabouts import Where
from slfac.wire.keys import DeviceKeys
from slfac.wire.messages import Clock, Hello, Welcome
from slfac.wire.meter import Meter


class Network(Protocol):
    """Opens channels to the server, and measures its clock over others.

    Attributes:
        sent: Everything handed over.
        received: Everything that came.
        place: Where the server is, for people.
        waits: Whether what is handed over may have to wait, so that it is worth a thread that
            looks after it while this device computes.
    """

    sent: Meter
    received: Meter

    @property
    def place(self) -> str:
        """Where the server is, for people."""

    @property
    def waits(self) -> bool:
        """Whether what is handed over may have to wait."""

    def call(self, hello: Hello, *, known: bool, wake: int) -> tuple[Channel, Welcome]:
        """Greet the server until it answers.

        Args:
            hello: What to say.
            known: Whether a server was met before in this process.
            wake: A descriptor that ends a wait of the channel while it is readable.

        Returns:
            The channel, and the server's answer.

        Raises:
            LinkError: A branch of it: unreachable, refused, another version.
        """

    def measure(self, channel: Channel, session: int) -> None:
        """Begin to measure the server's clock.

        Args:
            channel: The one that is open.
            session: The device's session, in whose traffic this is counted.
        """

    def measured(self, timeout_s: float) -> Clock | None:
        """The last measurement; None where there is none that is new.

        Args:
            timeout_s: How long to wait for one that is under way.
        """

    def settle(self) -> None:
        """Wait for what is measured."""

    def close(self) -> None:
        """Give back what it holds; the channels are closed by now."""


class Sockets:
    """The server over ZeroMQ.

    Args:
        where: Where the server is.
        keys: The device's keys; None on loopback without keys.
        patience: How long to try.
        on_status: Told about waiting.
        on_alive: Called again and again while it waits.

    Attributes:
        sent: Everything handed to sockets.
        received: Everything they handed back.
        waits: Always: a link may be slower than this device.
    """

    waits = True

    def __init__(
        self,
        *,
        where: Where,
        keys: DeviceKeys | None,
        patience: Patience,
        on_status: Callable[[str], None],
        on_alive: Callable[[], None] | None = None,
    ) -> None:
        self.sent = Meter()
        self.received = Meter()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._clock = ClockMeter(self._context, keys, sent=self.sent, received=self.received)
        self._caller = Caller(
            self._context,
            where,
            keys,
            patience,
            on_status=on_status,
            sent=self.sent,
            received=self.received,
            on_alive=on_alive,
        )

    @property
    def place(self) -> str:
        """Where the server is, for people."""
        return self._caller.place

    def call(self, hello: Hello, *, known: bool, wake: int) -> tuple[Channel, Welcome]:
        """Greet the server until it answers; see :meth:`Network.call`."""
        return self._caller.call(hello, known=known, wake=wake)

    def measure(self, channel: Channel, session: int) -> None:
        """Measure the server's clock beside the training."""
        self._clock.begin(channel.address, session)

    def measured(self, timeout_s: float) -> Clock | None:
        """The last measurement; see :meth:`Network.measured`."""
        return self._clock.take(timeout_s)

    def settle(self) -> None:
        """Wait for what is measured beside the training: only then are the counts whole."""
        self._clock.close()

    def close(self) -> None:
        """End libzmq's threads; what was said still leaves."""
        self._context.term()

"""A run's network in the memory of one process: its messages, and the bytes of them."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Mapping

from slfac.device.clock_meter import PROBES, shortest
from slfac.device.connection import Channel
from slfac.device.probing import Prober
from slfac.server.connection import Connection
from slfac.server.events import Event
from slfac.server.protocol import RunFacts
from slfac.server.transit import Transit
from slfac.server.transport import Transport
from slfac.testbed.simulate.stage import Actor
from slfac.wire.errors import ProtocolError, RefusedError, RunError
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.messages import Clock, Hello, Message, Refusal, Welcome
from slfac.wire.meter import Meter, Traffic
from slfac.wire.transfer import Buffer, Frames

ADDRESS = "memory"


class MemoryTransport(Transport):
    """Hands messages of simulated devices to the protocol of a server, and counts them.

    Bytes are those of the same messages over encrypted connections.

    Args:
        facts: What every device of the run is told.
        max_request_bytes: Largest payload of a request.
        traffic: What was carried before this server was started again, by device.
        play: Lets the devices go on; says whether any of them could.
        end: Ends the devices.
    """

    def __init__(
        self,
        facts: RunFacts,
        *,
        max_request_bytes: int,
        traffic: Mapping[str, Traffic] | None,
        play: Callable[[], bool],
        end: Callable[[], None],
    ) -> None:
        self._transit = Transit(
            facts, max_request_bytes=max_request_bytes, curve=True, traffic=traffic
        )
        self.events = _Events(self._transit, play)
        self.refusals = self._transit.refusals
        self.address = ADDRESS
        self.connected = frozenset(facts.roster.names)
        self._end = end
        self._channels: dict[bytes, MemoryChannel] = {}
        self._opened = 0

    def start(self) -> None:
        """Nothing: devices come when they get their turn."""

    def reply(self, index: int, session: int, seq: int, frames: Frames) -> None:
        """Answer a device's request; see :meth:`Transport.reply`."""
        self._transit.protocol.reply(index, session, seq, frames)
        self._send(index)

    def refuse(self, index: int, session: int, reason: str, remedy: str, cause: str) -> None:
        """End a device's session and tell it why; see :meth:`Transport.refuse`."""
        present = self._transit.protocol.session(index)
        connection = present.connection if present is not None else None
        self._transit.refuse(index, session, reason, remedy, cause)
        if connection is not None:
            self._flush(connection)

    @property
    def repeated(self) -> int:
        """Requests that came again, which none does."""
        return self._transit.protocol.repeated

    def traffic(self, name: str) -> Traffic:
        """What a device's connections carried; see :meth:`Transport.traffic`."""
        return self._transit.traffic(name)

    def refused_keys(self) -> dict[str, int]:
        """No keys knock here."""
        return {}

    def close(self, farewell: tuple[str, str] | None = None) -> None:
        """End the devices, wherever they stand."""
        del farewell
        self._end()

    def take(self, channel: MemoryChannel, head: bytes, body: Buffer) -> None:
        """Take a message from a device.

        Args:
            channel: On which it came.
            head: Its header frame.
            body: Its second frame.
        """
        header, now_s = decode_header(head), time.monotonic()
        if channel.connection is None:
            self._opened += 1
            identity = self._opened.to_bytes(8, "big")
            channel.connection = self._transit.open(identity, channel.device, header, now_s)
            self._channels[identity] = channel
        # Time here is not that of a link: no heartbeats are counted.
        channel.connection.heard_s = now_s
        self._transit.take(channel.connection, header, len(head), memoryview(body), now_s)
        self._flush(channel.connection)

    def hang_up(self, channel: MemoryChannel) -> None:
        """Forget a channel on which no more will come.

        Args:
            channel: It.
        """
        if channel.connection is not None:
            del self._channels[channel.connection.identity]

    def _send(self, index: int) -> None:
        session = self._transit.protocol.session(index)
        if session is not None and session.connection is not None:
            self._flush(session.connection)

    def _flush(self, connection: Connection) -> None:
        """Hand over what may be sent now; the rest waits for credit, as on a socket."""
        channel = self._channels.get(connection.identity)
        while channel is not None and (message := connection.outbox.peek()) is not None:
            connection.outbox.pop()
            self._transit.sent(connection, len(message[0]), len(message[1]))
            channel.inbox.append(message)


class _Events:
    """The trainer's events; while there are none, the devices go on."""

    def __init__(self, transit: Transit, play: Callable[[], bool]) -> None:
        self._queue = transit.events
        self._play = play
        self._idle = 0

    def get(self, timeout: float) -> Event:
        """Take the oldest event; see :meth:`slfac.server.transport.Events.get`."""
        try:
            return self._queue.get(0.0)
        except queue.Empty:
            moved = self._play()
        # The trainer may have something to do without an event, but not twice.
        self._idle = 0 if moved or not timeout else self._idle + 1
        if self._idle > 1:
            raise RunError(
                "the simulation stands still: devices wait for the server, and it for them",
                "this is a defect of slfac: please report it with the run's settings",
            )
        return self._queue.get(0.0)


class MemoryChannel:
    """A device's end of a connection; see :class:`slfac.device.connection.Channel`.

    Args:
        transport: The server's end of all connections.
        device: Name of the device.
        actor: The device.
        sent: Counts what is sent.
        received: Counts what is received.

    Attributes:
        address: Where the server is.
        connection: What the server has of it, once it has heard from it.
        inbox: What has come.
    """

    def __init__(
        self,
        transport: MemoryTransport,
        device: str,
        actor: Actor,
        *,
        sent: Meter,
        received: Meter,
    ) -> None:
        self.address = ADDRESS
        self.device = device
        self.connection: Connection | None = None
        self.inbox: deque[tuple[bytes, Buffer]] = deque()
        self._transport = transport
        self._actor = actor
        self._sent = sent
        self._received = received

    def send(self, head: bytes, body: Buffer) -> bool:
        """Send one message, which is always taken."""
        self._sent.add(len(head), len(body))
        self._transport.take(self, head, body)
        return True

    def receive(self, timeout_s: float) -> tuple[Message, memoryview]:
        """Wait for one message, however long that takes others."""
        del timeout_s
        self._actor.until(lambda: bool(self.inbox))
        head, body = self.inbox.popleft()
        self._received.add(len(head), len(body))
        return decode_header(head), memoryview(body)

    def close(self, linger_ms: int = 0) -> None:
        """Close it, at once."""
        del linger_ms
        self._transport.hang_up(self)
        self.connection = None


class MemoryNetwork:
    """How a simulated device gets through to its server; see :class:`slfac.device.network.Network`.

    Args:
        transport: The server's end.
        device: Name of the device.
        actor: The device.

    Attributes:
        sent: Everything handed over.
        received: Everything that came.
        place: Where the server is, for people.
        waits: Never: what is handed over is there.
    """

    place = "the same process"
    waits = False

    def __init__(self, transport: MemoryTransport, device: str, actor: Actor) -> None:
        self.sent = Meter()
        self.received = Meter()
        self._transport = transport
        self._device = device
        self._actor = actor
        self._clock: Clock | None = None

    def call(self, hello: Hello, *, known: bool, wake: int) -> tuple[MemoryChannel, Welcome]:
        """Greet the server; see :meth:`slfac.device.network.Network.call`."""
        del known, wake
        channel = self._channel()
        channel.send(encode_header(hello), b"")
        answer, _ = channel.receive(0.0)
        if isinstance(answer, Refusal):
            raise RefusedError(answer.reason, answer.remedy)
        if not isinstance(answer, Welcome):
            raise ProtocolError(f"the server answered HELLO with a {type(answer).__name__}")
        return channel, answer

    def measure(self, channel: Channel, session: int) -> None:
        """Send the probes of a real device, which are part of its bytes."""
        del channel
        beside = self._channel()
        prober = Prober(beside, session=session)
        self._clock = shortest([prober.ping() for _ in range(PROBES)])
        beside.close()

    def measured(self, timeout_s: float) -> Clock | None:
        """What the probes found of the one clock that both ends have."""
        del timeout_s
        found, self._clock = self._clock, None
        return found

    def settle(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is held."""

    def _channel(self) -> MemoryChannel:
        return MemoryChannel(
            self._transport, self._device, self._actor, sent=self.sent, received=self.received
        )

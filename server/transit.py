"""Messages on their way to the protocol and back, every one counted; no socket is touched here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from slfac.server.connection import Connection
from slfac.server.events import EventQueue
from slfac.server.protocol import Protocol, RunFacts, refuse_connection
from slfac.server.refusals import Refusals, cause_of_message
from slfac.wire.errors import ProtocolError
from slfac.wire.messages import Message, Probe, Request
from slfac.wire.meter import Traffic

# Who measures its link to a server without keys, to which devices are known by their HELLO.
NOBODY: Final = ""
_log = logging.getLogger(__name__)


class Transit:
    """Counts what comes and goes, by device, and hands on what comes.

    Args:
        facts: What every device of the run is told.
        max_request_bytes: Largest payload of a request.
        curve: Whether connections are encrypted.
        traffic: What connections carried before this server was started again, by device.

    Attributes:
        events: What the trainer must know, in order.
        protocol: Sessions of all devices.
        refusals: Messages that were not taken, by cause.
    """

    def __init__(
        self,
        facts: RunFacts,
        *,
        max_request_bytes: int,
        curve: bool,
        traffic: Mapping[str, Traffic] | None = None,
    ) -> None:
        self.events = EventQueue()
        self.protocol = Protocol(facts, self.events.put)
        self.refusals = Refusals(facts.roster.names)
        self._names = facts.roster.names
        self._max_request_bytes = max_request_bytes
        self._curve = curve
        self._traffic = {name: Traffic(curve=curve) for name in self._names}
        self._traffic.update(traffic or {})

    def knows(self, device: str) -> bool:
        """Whether a device is part of the run."""
        return device in self._traffic

    def traffic(self, name: str) -> Traffic:
        """What a device's connections carried over the whole run, every message counted.

        Args:
            name: The device.
        """
        return self._traffic[name]

    def open(
        self, identity: bytes, device: str, header: Message | ProtocolError, now_s: float
    ) -> Connection:
        """Take note of a connection by its first message.

        Args:
            identity: What it is known by.
            device: Name of its device.
            header: The message.
            now_s: Monotonic time.

        Returns:
            The connection.
        """
        made = Connection(identity, device, self._max_request_bytes, heard_s=now_s)
        made.probes = isinstance(header, Probe)
        made.counted = self._counted(device, header)
        if made.counted:
            self._traffic[made.counted].connections += 1
        return made

    def take(
        self,
        connection: Connection,
        header: Message | ProtocolError,
        head_bytes: int,
        body: memoryview,
        now_s: float,
    ) -> None:
        """Count a message and act on it; one that is not allowed ends its connection.

        Args:
            connection: Where it came from.
            header: Its header, or what is wrong with that.
            head_bytes: Size of its header frame.
            body: Its second frame.
            now_s: Monotonic time.
        """
        if connection.counted:
            traffic = self._traffic[connection.counted]
            traffic.up.add(head_bytes, len(body), curve=self._curve)
            # Probes are over before the first heartbeat.
            traffic.connected_s += 0.0 if connection.probes else now_s - connection.heard_s
        connection.heard_s = now_s
        if isinstance(header, Request):
            connection.request_bytes = 0
        connection.request_bytes += head_bytes + len(body)
        try:
            if isinstance(header, ProtocolError):
                raise header
            self.protocol.on_message(connection, connection.device, header, body)
        except ProtocolError as error:
            cause = error.cause or cause_of_message(header)
            if self.refusals.add(cause, connection.device):
                _log.warning("device %s: %s", connection.device, error)
            session = connection.session.id if connection.session is not None else 0
            refuse_connection(connection, session, error.what, error.remedy)
            self.protocol.drop(connection, error.what)

    def sent(self, connection: Connection, head_bytes: int, body_bytes: int) -> None:
        """Count a message that has left.

        Args:
            connection: Where it went.
            head_bytes: Size of its header frame.
            body_bytes: Size of its second frame.
        """
        if connection.counted:
            self._traffic[connection.counted].down.add(head_bytes, body_bytes, curve=self._curve)

    def refuse(self, index: int, session: int, reason: str, remedy: str, cause: str) -> None:
        """End a device's session and tell it why.

        Args:
            index: The device.
            session: The session; a newer one of the same device goes on.
            reason: What is wrong.
            remedy: What to do about it.
            cause: What it is counted as.
        """
        self.refusals.add(cause, self._names[index])
        self.protocol.refuse(index, session, reason, remedy)

    def _counted(self, device: str, header: Message | ProtocolError) -> str:
        """In whose traffic a new connection is counted: of probes, those of the run's sessions."""
        if not isinstance(header, Probe):
            return device
        owner = self.protocol.device_of(header.session)
        return owner if device in (owner, NOBODY) else ""

"""What carries requests to the trainer and its answers back: sockets, or a process's own memory."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Protocol

from slfac.server.events import Event
from slfac.server.refusals import Refusals
from slfac.wire.meter import Traffic
from slfac.wire.transfer import Frames


class Events(Protocol):
    """What the trainer must know, in order."""

    def get(self, timeout: float) -> Event:
        """Take the oldest event.

        Args:
            timeout: Seconds to wait for one.

        Raises:
            queue.Empty: None came.
        """


class Transport(abc.ABC):
    """Carries requests and answers; :class:`slfac.server.service.Service` does so over sockets.

    Attributes:
        events: What the trainer must know, in order.
        address: Where devices find it.
        refusals: Messages that were not taken, by cause.
        connected: Devices that have a connection.
    """

    events: Events
    address: str
    refusals: Refusals
    connected: frozenset[str]

    @abc.abstractmethod
    def start(self) -> None:
        """Begin to let devices in."""

    @abc.abstractmethod
    def reply(self, index: int, session: int, seq: int, frames: Frames) -> None:
        """Answer a device's request. Called by the trainer.

        Args:
            index: The device.
            session: The session that asked.
            seq: The request's number.
            frames: The answer, from ``cut_transfer``.
        """

    @abc.abstractmethod
    def refuse(self, index: int, session: int, reason: str, remedy: str, cause: str) -> None:
        """End a device's session and tell it why. Called by the trainer.

        Args:
            index: The device.
            session: The session; a newer one of the same device goes on.
            reason: What is wrong.
            remedy: What to do about it.
            cause: What it is counted as.
        """

    @property
    @abc.abstractmethod
    def repeated(self) -> int:
        """Requests that came again, and were not taken for new ones."""

    @abc.abstractmethod
    def traffic(self, name: str) -> Traffic:
        """What a device's connections carried over the whole run, every message counted.

        Args:
            name: The device.
        """

    @abc.abstractmethod
    def refused_keys(self) -> Mapping[str, int]:
        """Public keys that knocked without being enrolled, and how often."""

    @abc.abstractmethod
    def close(self, farewell: tuple[str, str] | None = None) -> None:
        """Send what is queued, tell the devices why where asked to, and stop.

        Args:
            farewell: Reason and remedy of a refusal to every device still there.
        """

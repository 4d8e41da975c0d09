"""What the I/O thread tells the trainer."""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass

from slfac.wire.messages import Bye, Request
from slfac.wire.transfer import Transfer


@dataclass(frozen=True)
class Arrived:
    """A device's request is in, whole and checked.

    Attributes:
        index: The device.
        session: Its session; an answer to an older session goes nowhere.
        transfer: The request with its payload.
        request_bytes: What it took at the socket API.
        software: Release of slfac on the device, as it says.
    """

    index: int
    session: int
    transfer: Transfer[Request]
    request_bytes: int
    software: str = ""


@dataclass(frozen=True)
class Lost:
    """A device is out of the run until it joins again.

    Attributes:
        index: The device.
        reason: Why, for people.
    """

    index: int
    reason: str


@dataclass(frozen=True)
class Restarted:
    """A device opened another session, and may ask to be taken back.

    Attributes:
        index: The device.
    """

    index: int


@dataclass(frozen=True)
class Reconnected:
    """A device goes on over a new connection, and has missed nothing.

    Attributes:
        index: The device.
        silent_s: How long nothing had come from it.
    """

    index: int
    silent_s: float


@dataclass(frozen=True)
class Left:
    """A device said goodbye.

    Attributes:
        index: The device.
        bye: What it said.
    """

    index: int
    bye: Bye


@dataclass(frozen=True)
class Failed:
    """The I/O thread itself failed; the server cannot go on.

    Attributes:
        error: What happened.
    """

    error: BaseException


Event = Arrived | Lost | Restarted | Reconnected | Left | Failed


class EventQueue:
    """Events on their way to the trainer: of each device, those of one session and two more.

    While the trainer is busy a device may start again and again, and each session may bring
    requests with their payloads: one, or as many as a step has parts. What an ended session
    asked for is dropped here, and a device that is known to be gone is not said to be gone a
    second time.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()

    def put(self, event: Event) -> None:
        """Add an event.

        Args:
            event: The event.
        """
        with self._changed:
            if isinstance(event, Reconnected):
                # Of a device that connects over and over, only the first is kept.
                is_news = not any(
                    isinstance(e, Reconnected) and e.index == event.index for e in self._events
                )
            else:
                is_news = isinstance(event, Failed) or self._supersede(event)
            if is_news:
                self._events.append(event)
                self._changed.notify()

    def get(self, timeout: float) -> Event:
        """Take the oldest event.

        Args:
            timeout: Seconds to wait for one.

        Raises:
            queue.Empty: None came.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._events), timeout):
                raise queue.Empty
            return self._events.popleft()

    def _supersede(self, event: Arrived | Lost | Restarted | Left) -> bool:
        """Drop what an event makes void; whether it says anything new itself."""
        self._events = deque(e for e in self._events if not _voids(event, e))
        gone = any(isinstance(e, Lost | Left) and e.index == event.index for e in self._events)
        return isinstance(event, Arrived) or not gone


def _voids(event: Arrived | Lost | Restarted | Left, before: Event) -> bool:
    if isinstance(before, Failed) or before.index != event.index:
        return False
    if isinstance(event, Arrived):
        return isinstance(before, Arrived) and before.session != event.session
    return isinstance(before, Arrived | Restarted)

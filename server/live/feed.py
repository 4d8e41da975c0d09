"""Takes metrics events from the trainer and hands them on, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

Event = dict[str, Any]
Sink = Callable[[Event, float], None]
_EVERY_S = 0.2
_MOST_WAITING = 10_000
_log = logging.getLogger(__name__)


class Feed:
    """Hands events to sinks, in order and without ever holding up who brings them.

    Args:
        sinks: Each is called with an event and the monotonic time of its coming. What a sink
            raises is logged the first time, and harms nothing else.

    Attributes:
        missed: Events that were dropped, because the sinks were too slow.
    """

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self.missed = 0
        self._sinks = dict(sinks)
        self._events: deque[tuple[Event, float]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slfac-live", daemon=True)
        self._complained: set[str] = set()

    def put(self, event: Event) -> None:
        """Take an event; called by the trainer, and as quick as appending to a list.

        Args:
            event: The event, which nobody changes any more.
        """
        if len(self._events) < _MOST_WAITING:
            self._events.append((event, time.monotonic()))
        else:
            self.missed += 1

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Hand on what is there, and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._hand_on()

    def _run(self) -> None:
        # Woken by the clock: waking it for each event would take the trainer's time.
        while not self._stop.wait(_EVERY_S):
            self._hand_on()

    def _hand_on(self) -> None:
        if self.missed and "" not in self._complained:
            self._complained.add("")
            _log.warning("what is shown lacks events: more came than could be taken in")
        while self._events:
            event, at_s = self._events.popleft()
            for name, sink in self._sinks.items():
                try:
                    sink(event, at_s)
                except Exception as error:  # noqa: BLE001 - what is shown must not end what is done
                    self._complain(name, error)

    def _complain(self, name: str, error: Exception) -> None:
        if name not in self._complained:
            self._complained.add(name)
            _log.warning("%s does not show all: %s: %s", name, type(error).__name__, error)

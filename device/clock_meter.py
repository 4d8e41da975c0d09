"""How far the server's clock is from this device's, measured beside the training.

Probes travel on a connection and a thread of their own, so that no step waits for them, and while
the link is otherwise quiet: on the data's own connection an answer may stand in line for seconds.
Of several round trips the shortest says it best (docs/network.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

import zmq

from slfac.device.connection import Connection, Disconnected
from slfac.device.probing import Exchange, Prober
from slfac.wire.errors import SlfacError
from slfac.wire.keys import DeviceKeys
from slfac.wire.messages import Clock
from slfac.wire.meter import Meter

PROBES: Final = 8
# A device that leaves does not wait for long for an answer that got lost.
_OPEN_S: Final = 3.0
_ANSWER_S: Final = 2.0
_log = logging.getLogger(__name__)


class ClockMeter:
    """Measures now and then, for whoever asks for the newest result.

    Args:
        context: The process's context.
        keys: The device's keys; None on loopback without keys.
        sent: Counts what is sent.
        received: Counts what is received.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: DeviceKeys | None,
        *,
        sent: Meter,
        received: Meter,
    ) -> None:
        self._context = context
        self._keys = keys
        self._totals = (sent, received)
        self._own = (Meter(), Meter())
        self._thread: threading.Thread | None = None
        self._found: Clock | None = None

    def begin(self, address: str, session: int) -> None:
        """Measure once, unless that is under way.

        Args:
            address: Where the server is.
            session: The device's session, in whose traffic the probes are counted.
        """
        if not self._is_at_work():
            self._count()
            self._thread = threading.Thread(
                target=self._run, args=(address, session), name="slfac-clock", daemon=True
            )
            self._thread.start()

    def take(self, timeout_s: float = 0.0) -> Clock | None:
        """The result of the last measurement; None where there is none that is new.

        Args:
            timeout_s: How long to wait for one that is under way.
        """
        if self._is_at_work(timeout_s):
            return None
        self._count()
        found, self._found = self._found, None
        return found

    def close(self) -> None:
        """Wait for what is under way, and count it."""
        if not self._is_at_work(_OPEN_S + 2 * _ANSWER_S):
            self._count()

    def _is_at_work(self, timeout_s: float = 0.0) -> bool:
        if self._thread is not None:
            self._thread.join(timeout_s)
            if not self._thread.is_alive():
                self._thread = None
        return self._thread is not None

    def _count(self) -> None:
        """Add what the thread has counted; two threads must not add to one meter."""
        for total, own in zip(self._totals, self._own, strict=True):
            total.merge(own)
        self._own = (Meter(), Meter())

    def _run(self, address: str, session: int) -> None:
        sent, received = self._own
        try:
            connection = Connection(
                self._context, address, self._keys, sent=sent, received=received
            )
        except (SlfacError, zmq.ZMQError) as error:
            _log.debug("clock offset not measured: %s", error)
            return
        try:
            connection.open(_OPEN_S, _log.debug)
            prober = Prober(connection, session=session, answer_s=_ANSWER_S)
            until_s = time.monotonic() + _ANSWER_S
            exchanges = [prober.ping()]
            while len(exchanges) < PROBES and time.monotonic() < until_s:
                exchanges.append(prober.ping())
            self._found = shortest(exchanges)
        except (SlfacError, Disconnected, zmq.ZMQError) as error:
            # Training does not depend on it, and a server of an older release has no answer.
            _log.debug("clock offset not measured: %s", error)
        finally:
            connection.close()


def shortest(exchanges: Sequence[Exchange]) -> Clock:
    """What the quickest of several round trips says of the server's clock.

    Args:
        exchanges: At least one.
    """
    best = min(exchanges, key=lambda one: one.round_trip_ns)
    return Clock(offset_ms=best.offset_ns / 1e6, round_trip_ms=best.round_trip_ns / 1e6)

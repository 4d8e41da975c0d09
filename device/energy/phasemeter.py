"""Stamps when phases begin and end, and does nothing else while training runs."""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Callable
from types import TracebackType

import numpy as np

from slfac.device.energy.phases import PHASES, Timeline, no_spans
from slfac.wire.errors import SettingsError

# A stamp is one integer, so that a thread writes it at once: nanoseconds * 32 + code. Codes are
# 2 * phase + (0 begin, 1 end); the step is one more "phase". With 5 bits for it, monotonic time
# may reach 9 years.
_CODES = 32
_NAMES = (*PHASES, "step")
_BEGIN = {name: 2 * index for index, name in enumerate(_NAMES)}
DEFAULT_CAPACITY = 1 << 18


class _Buffer:
    """Stamps, and the place of the next one."""

    __slots__ = ("next", "stamps")

    def __init__(self, capacity: int) -> None:
        self.stamps = array("q", bytes(8 * capacity))
        # Counting up is atomic, so that stamps of several threads take places of their own.
        self.next = itertools.count().__next__


class _Span:
    """A phase as a context manager; one object serves all its times, and all threads."""

    __slots__ = ("_begin", "_stamp")

    def __init__(self, stamp: Callable[[int], None], begin: int) -> None:
        self._stamp = stamp
        self._begin = begin

    def __enter__(self) -> None:
        self._stamp(self._begin)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stamp(self._begin + 1)


class PhaseMeter:
    """Takes down when phases and steps begin and end; any thread may stamp.

    Args:
        capacity: Stamps that fit between two calls of :meth:`take`, 8 bytes each; two for each
            phase and each step. Further ones are counted and lost.
        clock: Nanoseconds of the monotonic clock that the sensor's readings also have.
    """

    def __init__(
        self, capacity: int = DEFAULT_CAPACITY, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        if capacity < 2:
            raise SettingsError(f"capacity is {capacity}", "give room for two stamps or more")
        self._capacity = capacity
        self._clock = clock
        self._buffer = _Buffer(capacity)
        self._spans = {name: _Span(self._stamp, code) for name, code in _BEGIN.items()}
        self._open: dict[str, int] = {}

    def phase(self, name: str) -> _Span:
        """A context within which a phase runs.

        Args:
            name: One of :data:`~slfac.device.energy.phases.PHASES`.
        """
        return self._spans[name]

    def step(self) -> _Span:
        """A context within which one training step is made."""
        return self._spans["step"]

    def record(self, name: str, begin_ns: int, end_ns: int) -> None:
        """Take down a phase that was timed elsewhere, such as in a link.

        Args:
            name: The phase.
            begin_ns: When it began, on the meter's clock.
            end_ns: When it ended.
        """
        code = _BEGIN[name]
        buffer = self._buffer
        for stamp in (begin_ns * _CODES + code, end_ns * _CODES + code + 1):
            place = buffer.next()
            if place < len(buffer.stamps):
                buffer.stamps[place] = stamp

    def take(self) -> Timeline:
        """Hand out what was stamped since the last time, and go on with an empty buffer.

        What still runs is cut here: the part so far is handed out, the rest next time. A step
        that still runs is in neither, for phases of both would be missing in it.
        """
        buffer, self._buffer = self._buffer, _Buffer(self._capacity)
        now_ns = self._clock()
        wanted = buffer.next()
        written = np.frombuffer(buffer.stamps, dtype=np.int64)[: min(wanted, self._capacity)]
        stamps = written[written != 0]
        # Stamps of other threads, and of phases that were recorded later, come in any order; at
        # the same instant the order of writing holds.
        stamps = stamps[np.argsort(stamps // _CODES, kind="stable")]
        lost = wanted - len(stamps)
        spans, steps = {}, no_spans()
        for name, code in _BEGIN.items():
            found, unmatched = self._pair(name, stamps, code, now_ns)
            lost += unmatched
            if name == "step":
                steps = found
            elif len(found):
                spans[name] = found
        ends = [pair[[0, -1], [0, 1]] for pair in (*spans.values(), steps) if len(pair)]
        return Timeline(
            spans=spans,
            steps=steps,
            begin_s=min((float(pair[0]) for pair in ends), default=now_ns * 1e-9),
            end_s=max((float(pair[1]) for pair in ends), default=now_ns * 1e-9),
            dropped=lost,
        )

    def _stamp(self, code: int) -> None:
        buffer = self._buffer
        try:
            buffer.stamps[buffer.next()] = self._clock() * _CODES + code
        except IndexError:
            return  # full: take() counts what had no place

    def _pair(
        self, name: str, stamps: np.ndarray, code: int, now_ns: int
    ) -> tuple[np.ndarray, int]:
        """Spans in which a phase ran at least once, in seconds, and ends without beginning."""
        own = stamps[stamps % _CODES // 2 * 2 == code]
        change = 1 - 2 * (own % 2)
        times = own // _CODES
        before = self._open.pop(name, None)
        if before is not None:
            change, times = np.append(1, change), np.append(before, times)
        depth = np.cumsum(change)
        # An end without a beginning would leave all that follows one too low.
        unmatched = max(0, -int(depth.min(initial=0)))
        if unmatched:
            lowest = np.minimum.accumulate(np.minimum(depth, 0))
            keep = np.diff(lowest, prepend=0) == 0
            change, times = change[keep], times[keep]
            depth = np.cumsum(change)
        begins = times[(depth == 1) & (change == 1)]
        ends = times[depth == 0]
        if len(begins) > len(ends):
            self._open[name] = now_ns
            ends = np.append(ends, now_ns)
            if name == "step":
                begins, ends = begins[:-1], ends[:-1]
        if name == "step" and before is not None:
            begins, ends = begins[1:], ends[1:]
        spans = np.stack([begins, ends], axis=1) * 1e-9
        return spans[spans[:, 1] > spans[:, 0]], unmatched

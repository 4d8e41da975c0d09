"""Times that other work on the machine has little part in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_TURNS = 30
_TRIES = 6
_DISTURBED = 0.1


def best_cpu_seconds(*functions: Callable[[], object]) -> list[float]:
    """CPU time of each function's fastest call on this thread; they take turns."""
    best = [float("inf")] * len(functions)
    for _ in range(_TURNS):
        for i, function in enumerate(functions):
            began = time.thread_time()
            function()
            best[i] = min(best[i], time.thread_time() - began)
    return best


def waited_s() -> float:
    """How long this process's threads, of those that still live, were ready and got no core.

    0 where the kernel does not count it.
    """
    waited_ns = 0
    for task in Path("/proc/self/task").iterdir():
        # A thread may end meanwhile.
        with contextlib.suppress(OSError):
            waited_ns += int((task / "schedstat").read_text().split()[1])
    return waited_ns / 1e9


def assert_takes(
    seconds: float, act: Callable[[], Sequence[float]], *, early: float = 0.02, late: float = 0.02
) -> None:
    """Assert how long something takes that the machine can make slower, but not faster.

    Args:
        seconds: How long it is to take.
        act: Does it, once or several times; gives the seconds that each took.
        early: By which part of ``seconds`` one may be faster.
        late: By which part it may be slower. The best of several tries counts; one in which this
            process's threads waited for a core for a tenth of the time may be slower by that.
    """
    seen = []
    for _ in range(_TRIES):
        before_s = waited_s()
        took_s = act()
        waiting_s = max(0.0, waited_s() - before_s)
        assert min(took_s) >= seconds * (1 - early), (took_s, seconds)
        seen.append((took_s, waiting_s))
        disturbed = waiting_s > _DISTURBED * sum(took_s)
        if max(took_s) <= seconds * (1 + late) + waiting_s * disturbed:
            return
    raise AssertionError(f"{seconds} s expected; took, and waited for a core: {seen}")

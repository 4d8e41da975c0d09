"""Says what runs, and how long the rest may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Progress:
    """Lines before each thing that is measured.

    Args:
        say: Takes a line.
        expected_s: How long each of them takes, about, in their order.
    """

    def __init__(self, say: Callable[[str], None], expected_s: Sequence[float]) -> None:
        self._say = say
        self._expected_s = list(expected_s)
        self._done = 0

    def begin(self, label: str) -> None:
        """Say that the next one begins.

        Args:
            label: What it is.
        """
        left_s = sum(self._expected_s[self._done :])
        self._done += 1
        self._say(f"[{self._done}/{len(self._expected_s)}] {label}, {about(left_s)} left")

    def note(self, line: str) -> None:
        """Say something that a user must know now.

        Args:
            line: What.
        """
        self._say(line)


def about(seconds: float) -> str:
    """A time as people estimate it: ``about 4 min``.

    Args:
        seconds: How long.
    """
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s" if seconds > 5 else "some seconds"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"

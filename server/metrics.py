"""Metrics as JSON lines, one event a line, flushed as they happen."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slfac.wire.errors import SettingsError, TrainingError

Listener = Callable[[dict[str, Any]], None]
_DIGITS = 6
METRICS_NAME = "metrics.jsonl"


class Metrics:
    """Writes events to ``metrics.jsonl`` and hands them to a listener.

    Args:
        folder: Where the file goes; made when missing. It must not hold an earlier
            run, whose metrics and checkpoints would mix with this one's.
        keep_bytes: To go on with the run that it holds: how much of its metrics stays. What
            came after is of steps that are made again.
        listener: Called with each event after it is written; for progress displays.

    Raises:
        SettingsError: The folder cannot be written, or holds an earlier run.
    """

    def __init__(
        self, folder: Path, listener: Listener | None = None, *, keep_bytes: int | None = None
    ) -> None:
        self._listener = listener
        self._path = folder / METRICS_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if keep_bytes is not None:
                _cut(self._path, keep_bytes)
            self._file = self._path.open("x" if keep_bytes is None else "a", encoding="utf-8")
        except FileExistsError as error:
            raise SettingsError(
                f"setting out is {str(folder)!r}, which holds an earlier run",
                "choose another folder, or delete that one",
            ) from error
        except OSError as error:
            raise SettingsError(
                f"setting out is {str(folder)!r}: {error.strerror}", "choose a writable folder"
            ) from error

    def write(self, event: str, **values: Any) -> None:
        """Write one event.

        Args:
            event: Its name.
            **values: Its fields; a number that is not finite becomes null.

        Raises:
            TrainingError: The file cannot be written.
        """
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds")
        line = {"event": event, "time": now, **finite_or_null(values, digits=_DIGITS)}
        try:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise TrainingError(
                f"cannot write {self._path}: {error.strerror}", "free some space"
            ) from error
        if self._listener is not None:
            self._listener(line)

    def mark(self) -> int:
        """Make sure that what was written is on disk.

        Returns:
            Bytes of the file.

        Raises:
            TrainingError: It cannot be written.
        """
        try:
            os.fsync(self._file.fileno())
            return self._path.stat().st_size
        except OSError as error:
            raise TrainingError(
                f"cannot write {self._path}: {error.strerror}", "free some space"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cut(path: Path, keep_bytes: int) -> None:
    path.touch()
    if path.stat().st_size > keep_bytes:
        os.truncate(path, keep_bytes)


def finite_or_null(value: Any, *, digits: int | None = None) -> Any:
    """What JSON can hold of a value: null for a number that is not finite.

    Args:
        value: A value, or dicts and lists of them.
        digits: Digits to round floats to; None leaves them whole.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else round(value, digits)
    if isinstance(value, dict):
        return {key: finite_or_null(item, digits=digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item, digits=digits) for item in value]
    return value

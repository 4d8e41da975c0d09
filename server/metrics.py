"""Metrics as JSON lines, one event a line, flushed as they happen."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from slfac.wire.errors import SettingsError, TrainingError

_log = logging.getLogger(__name__)
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
        SettingsError: The folder cannot be written, holds an earlier run, or another server
            works in it.
    """

    def __init__(
        self, folder: Path, listener: Listener | None = None, *, keep_bytes: int | None = None
    ) -> None:
        self._listener = listener
        self._path = folder / METRICS_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = _open(self._path, keep_bytes)
        except FileExistsError as error:
            raise SettingsError(
                f"setting out is {str(folder)!r}, which holds an earlier run",
                "choose another folder, or delete that one",
            ) from error
        except BlockingIOError as error:
            raise SettingsError(
                f"setting out is {str(folder)!r}, in which a server is at work",
                "stop that one first",
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


def _open(path: Path, keep_bytes: int | None) -> TextIO:
    file = path.open("x" if keep_bytes is None else "a", encoding="utf-8")
    try:
        _lock(file)
        if keep_bytes is not None and path.stat().st_size > keep_bytes:
            file.truncate(keep_bytes)
    except BaseException:
        file.close()
        raise
    return file


def _lock(file: TextIO) -> None:
    """Keep other servers out until the file is closed or this process dies."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        # Some network file systems have no locks.
        _log.warning("%s cannot be locked: %s", file.name, error.strerror)


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

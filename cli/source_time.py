"""The time that images and packages are said to be of."""

from __future__ import annotations

import os
import time

from slfac.wire.errors import SettingsError

VARIABLE = "SOURCE_DATE_EPOCH"


def source_time_s(locked_s: int | None = None) -> int:
    """The present, unless a lock or the environment says which present to take.

    https://reproducible-builds.org/specs/source-date-epoch/

    Args:
        locked_s: The time in a lock; None where there is none.

    Returns:
        Seconds since 1970.

    Raises:
        SettingsError: The environment says nothing that can be right, or another time than the
            lock.
    """
    told = os.environ.get(VARIABLE)
    if told is None:
        return int(time.time()) if locked_s is None else locked_s
    if not told.isdecimal() or len(told) > 11:
        raise SettingsError(f"{VARIABLE} is {told!r}", "give seconds since 1970")
    if locked_s is not None and int(told) != locked_s:
        raise SettingsError(f"{VARIABLE} is {told}, the lock's is {locked_s}", f"unset {VARIABLE}")
    return int(told)

"""Is the clock right? Boards without a battery begin at some date of the past."""

from __future__ import annotations

import ctypes
from datetime import datetime, timezone
from pathlib import Path

from slfac.device.doctor.finding import Finding, exists

# No release of slfac is older.
FIRST_YEAR = 2026
_LAST_YEAR = 2100
_SYNCHRONIZED = "run/systemd/timesync/synchronized"
_SET_IT = (
    "let systemd-timesyncd or chrony set it (`timedatectl set-ntp true`): times in metrics, and "
    "pip's certificates, go by it"
)
# linux/timex.h: what adjtimex returns when nobody keeps the clock.
_TIME_ERROR = 5
_TIMEX_BYTES = 512


def check_clock(root: Path, *, now_s: float, kernel: bool | None) -> Finding:
    """Whether the clock is plausible, and kept by a time service.

    Args:
        root: Root of the file system.
        now_s: What it says, seconds since 1970.
        kernel: As :func:`kernel_synchronized` says.
    """
    now = datetime.fromtimestamp(now_s, tz=timezone.utc)
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if not FIRST_YEAR <= now.year <= _LAST_YEAR:
        return Finding("warning", "clock", f"it says {text}, which cannot be", _SET_IT)
    if kernel or exists(root / _SYNCHRONIZED):
        return Finding("ok", "clock", f"{text}, synchronised")
    if kernel is None:
        return Finding("unknown", "clock", f"{text}; the kernel does not say who keeps it")
    return Finding("warning", "clock", f"{text}, kept by no time service", _SET_IT)


def kernel_synchronized() -> bool | None:
    """Whether some time service keeps the kernel's clock; None where the kernel does not say."""
    try:
        libc = ctypes.CDLL(None)
        # Room for a struct timex, whose first number, 0, asks without setting anything.
        state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)

"""Peak memory of this process."""

from __future__ import annotations

import re
import resource
from pathlib import Path

_HIGH_WATER = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_rss_bytes() -> int:
    """Highest resident set of this process, in bytes.

    Linux's ``ru_maxrss`` starts at the size of the process that forked this one, so the
    kernel's own high-water mark is asked first.
    """
    try:
        match = _HIGH_WATER.search(Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        match = None
    if match is not None:
        return int(match[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

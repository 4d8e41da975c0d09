"""Is there room: memory, and disk where slfac writes?"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from slfac.device.doctor.finding import Finding, exists, read_text

# A device's process held 100 MB at its peak with small fronts.
_LITTLE_MEMORY_MB = 200
_LITTLE_DISK_MB = 500
_NO_DISK_MB = 20
_LINE = re.compile(r"^(MemTotal|MemAvailable|SwapFree):\s+(\d+) kB$", re.MULTILINE)


def check_memory(root: Path) -> Finding:
    """How much memory is free for training.

    Args:
        root: Root of the file system.
    """
    found = dict(_LINE.findall(read_text(root / "proc/meminfo") or ""))
    if not {"MemTotal", "MemAvailable"} <= found.keys():
        return Finding("unknown", "memory", "the kernel does not say (/proc/meminfo)")
    total_mb, free_mb = (int(found[key]) // 1000 for key in ("MemTotal", "MemAvailable"))
    text = f"{free_mb} MB available of {total_mb} MB"
    if free_mb < _LITTLE_MEMORY_MB:
        return Finding(
            "warning",
            "memory",
            text,
            "end other programs, or train with --low-memory or a bundle of --recompute",
        )
    return Finding("ok", "memory", text)


def check_disk(name: str, folder: Path) -> Finding:
    """Whether a folder can be written, and how much fits into it.

    Args:
        name: What the folder is for.
        folder: It need not be there yet: its nearest parent counts then.
    """
    label = f"disk {name}"
    try:
        there = next(
            path for path in (folder.absolute(), *folder.absolute().parents) if exists(path)
        )
        usage = shutil.disk_usage(there)
    except (OSError, StopIteration) as error:
        return Finding("unknown", label, f"{folder} cannot be looked at: {error}")
    free_mb = usage.free // 1_000_000
    text = f"{free_mb} MB free at {folder}"
    if not there.is_dir():
        return Finding("failed", label, f"{there} is no folder", f"move {there} away")
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            "failed",
            label,
            f"{there} cannot be written",
            "choose another folder, or change its owner",
        )
    if free_mb < _NO_DISK_MB:
        return Finding("failed", label, text, "delete files there, or choose another folder")
    if free_mb < _LITTLE_DISK_MB:
        return Finding("warning", label, text, "delete files there before a long run")
    return Finding("ok", label, text)

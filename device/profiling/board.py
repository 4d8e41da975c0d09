"""What this machine is, as far as it bears on what is measured."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata

import numpy as np
import psutil

from slfac.device.energy.host import Host

_MODEL = "proc/device-tree/model"
_PACKAGES = ("slfac", "onnxruntime", "numpy", "msgspec")
_SIZE = re.compile(r"(\d{1,9})([KMG]?)", re.ASCII)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def board_model(host: Host) -> str:
    """What the device tree calls the board; empty on machines without one.

    Args:
        host: Where to look.
    """
    return (host.text(host.root / _MODEL) or "").strip()


def processor(host: Host) -> str:
    """The processor's name, or else its kind.

    Args:
        host: Where to look.
    """
    # Its file is longer than what a sensor may say.
    try:
        text = (host.root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(\S.*)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine(host: Host) -> dict[str, str]:
    """Processor, cores, memory and system, as text.

    Args:
        host: Where the processor's name is read.
    """
    return {
        "processor": processor(host),
        "cores": str(cores()),
        "memory": f"{psutil.virtual_memory().total / 2**20:.0f} MiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python, of packages that matter, and of NumPy's matrix products."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    if blas.get("name"):
        found["blas"] = f"{blas['name']} {blas.get('version', '')}".strip()
    return found


def last_cache_bytes(host: Host) -> int:
    """Size of the largest cache of the first core; 0 where the kernel does not say.

    Args:
        host: Where to look.
    """
    folder = host.root / "sys/devices/system/cpu/cpu0/cache"
    sizes = [0]
    for file in folder.glob("index*/size"):
        match = _SIZE.fullmatch(host.text(file) or "")
        if match:
            sizes.append(int(match[1]) * _UNITS[match[2]])
    return max(sizes)


def highest_clock_mhz(host: Host) -> float | None:
    """The highest clock that a CPU may have; None where the kernel does not say.

    Args:
        host: Where to look.
    """
    folder = host.root / "sys/devices/system/cpu/cpufreq"
    texts = [host.text(file) for file in folder.glob("policy*/cpuinfo_max_freq")]
    clocks = [int(text) / 1e3 for text in texts if text and text.isdecimal()]
    return max(clocks, default=None)

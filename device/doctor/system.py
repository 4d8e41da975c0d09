"""Is this a machine and a Python that slfac and its packages run on?"""

from __future__ import annotations

from pathlib import Path

from slfac.device.doctor.finding import Finding, read_text

OLDEST_PYTHON = (3, 10)
NEWEST_PYTHON = (3, 13)
# onnxruntime 1.31 and pyzmq 27 are built for it (manylinux_2_28).
OLDEST_GLIBC = (2, 28)
_MACHINES = ("x86_64", "aarch64")
_MODEL = "proc/device-tree/model"


def check_python(version: tuple[int, int, int]) -> Finding:
    """Whether this Python is one that slfac is tested on.

    Args:
        version: Such as (3, 11, 2).
    """
    text = ".".join(map(str, version))
    span = f"{_dotted(OLDEST_PYTHON)} to {_dotted(NEWEST_PYTHON)}"
    if version[:2] < OLDEST_PYTHON:
        return Finding(
            "failed",
            "python",
            f"{text} is too old: slfac runs on {span}",
            f"install Python {_dotted(OLDEST_PYTHON)} or newer, and slfac in a virtual environment",
        )
    if version[:2] > NEWEST_PYTHON:
        return Finding(
            "warning",
            "python",
            f"{text} is newer than what slfac is tested on, {span}",
            f"use Python {_dotted(NEWEST_PYTHON)} if a package below is missing or fails",
        )
    return Finding("ok", "python", f"{text}, slfac runs on {span}")


def check_platform(root: Path, *, system: str, machine: str, bits: int) -> Finding:
    """Whether packages are built for this machine.

    Args:
        root: Root of the file system, where a board's model is read.
        system: ``platform.system()``.
        machine: ``platform.machine()``.
        bits: Width of the interpreter's addresses: a kernel of 64 bits also runs programs of 32.
    """
    board = read_text(root / _MODEL)
    found = f"{system} {machine}, {bits} bits" + (f", {board}" if board else "")
    if bits < 64:
        remedy = "install a 64-bit system: Raspberry Pi OS and Ubuntu have one for Pi 3 and newer"
        return Finding("failed", "platform", f"{found}: no packages for 32 bits", remedy)
    if system != "Linux":
        return Finding("failed", "platform", f"{found}: slfac runs on Linux", "use a Linux machine")
    if machine not in _MACHINES:
        return Finding(
            "warning",
            "platform",
            f"{found}: slfac is tested on {' and '.join(_MACHINES)}",
            "onnxruntime and the others may have to be built from source",
        )
    return Finding("ok", "platform", found)


def check_glibc(version: str | None) -> Finding:
    """Whether ready-made wheels run with this C library.

    Args:
        version: As ``os.confstr("CS_GNU_LIBC_VERSION")`` says it, such as ``glibc 2.36``; None
            where it says nothing.
    """
    name, _, number = (version or "").partition(" ")
    parts = tuple(int(part) for part in number.split(".") if part.isdigit())
    if name != "glibc" or not parts:
        return Finding(
            "unknown",
            "glibc",
            "the C library does not say that it is glibc",
            "on a system with another one (Alpine's musl), onnxruntime has no wheels: use Debian, "
            "Ubuntu or Raspberry Pi OS",
        )
    if parts < OLDEST_GLIBC:
        return Finding(
            "warning",
            "glibc",
            f"{number}: wheels of the newest onnxruntime and pyzmq need {_dotted(OLDEST_GLIBC)}",
            "use a newer system, or pip takes older releases (onnxruntime 1.28 at most)",
        )
    return Finding("ok", "glibc", f"{number}, wheels need {_dotted(OLDEST_GLIBC)}")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))

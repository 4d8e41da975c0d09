"""The machine as sensors see it: files, commands, plugs, buses and clocks, each replaceable."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slfac.wire.errors import MissingExtraError, SensorError

_MOST_BYTES = 4096
_COMMAND_S = 2.0
_INTEGER = re.compile(r"[-+]?[0-9]{1,20}", re.ASCII)
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR)


class Bus(Protocol):
    """An I2C bus, as smbus2 gives one."""

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        """Read bytes of a register."""

    def close(self) -> None:
        """Close it."""


def read_file(path: Path) -> str:
    """A short file of the kernel's, stripped of white space and NULs.

    Args:
        path: Where it is; a pipe is not waited for.

    Raises:
        OSError: It cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(handle, _MOST_BYTES).decode("utf-8", "replace").strip("\0 \t\n")
    finally:
        os.close(handle)


def run_command(command: Sequence[str]) -> str:
    """What a program prints, errors included.

    Args:
        command: The program and its arguments; no shell sees them.

    Raises:
        OSError: It is not there, cannot be started, or does not end.
    """
    program = shutil.which(command[0])
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "no such program", command[0])
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command of a driver's
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(errno.ETIMEDOUT, f"no end within {_COMMAND_S:g} s", program) from error
    return done.stdout[:_MOST_BYTES].decode("utf-8", "replace")


def refuse_command(command: Sequence[str]) -> str:
    """Run nothing: this machine's programs say nothing about a copied tree.

    Args:
        command: What would be run.

    Raises:
        OSError: Always.
    """
    raise OSError(errno.ENOTSUP, "no programs run for a copied tree", command[0])


def fetch_url(url: str, timeout_s: float) -> bytes:
    """The body of a web page.

    Args:
        url: Such as ``http://192.168.1.9/shelly``.
        timeout_s: All of it must have come by then.

    Raises:
        OSError: It does not come, is too long, or is an error page.
    """
    # Loads http.client and its friends, which only a plug needs.
    from slfac.device.energy.http import fetch  # noqa: PLC0415

    return fetch(url, timeout_s)


def open_bus(number: int) -> Bus:
    """Open ``/dev/i2c-<number>``.

    Args:
        number: Of the bus.

    Raises:
        MissingExtraError: smbus2 is not installed.
        OSError: It is not there, or may not be opened.
    """
    try:
        from smbus2 import SMBus  # noqa: PLC0415 - only sensors without a kernel driver need it
    except ImportError as error:
        raise MissingExtraError(
            f"smbus2 is missing, by which a sensor on I2C is read: {error}",
            "pip install smbus2, or slfac with its extra i2c; or let the kernel read the chip "
            "(docs/energy.md, inline meters)",
        ) from error
    bus: Bus = SMBus(number)
    return bus


def pause(seconds: float) -> None:
    """Wait.

    Args:
        seconds: How long.
    """
    threading.Event().wait(seconds)


@dataclass(frozen=True)
class Host:
    """Where sensors look and what they use.

    Attributes:
        root: Root of the file system.
        read: Reads a short file.
        run: Runs a program and gives what it prints.
        fetch: Gets a web page, by URL and seconds.
        open_bus: Opens an I2C bus by number.
        clock: Monotonic nanoseconds.
        wait: Waits for seconds.
    """

    root: Path = Path("/")
    read: Callable[[Path], str] = read_file
    run: Callable[[Sequence[str]], str] = run_command
    fetch: Callable[[str, float], bytes] = fetch_url
    open_bus: Callable[[int], Bus] = open_bus
    clock: Callable[[], int] = time.monotonic_ns
    wait: Callable[[float], None] = pause

    def text(self, path: Path) -> str | None:
        """What a file holds; None if it cannot be read.

        Args:
            path: Where it is.
        """
        try:
            return self.read(path)
        except OSError:
            return None

    def integer(self, path: Path) -> int:
        """The whole number that a file holds.

        Args:
            path: Where it is.

        Raises:
            OSError: It cannot be read.
            SensorError: It holds something else.
        """
        text = self.read(path)
        if not _INTEGER.fullmatch(text):
            raise SensorError(
                f"{path} holds {text[:40]!r}, not a whole number",
                "the chip or its driver is not as expected",
            )
        return int(text)


def host_at(root: Path) -> Host:
    """This machine, or a tree of files that was copied from another.

    Args:
        root: ``/``, or where the copy begins; no programs are run for a copy.
    """
    return Host(root) if root.absolute() == Path("/") else Host(root, run=refuse_command)


def is_gone(error: OSError) -> bool:
    """Whether a file or a device is no longer there.

    Args:
        error: What reading it raised.
    """
    return error.errno in _GONE


def reason(error: OSError) -> str:
    """What the system said of an error, without numbers and names.

    Args:
        error: The error.
    """
    return error.strerror or str(error) or type(error).__name__


def unreadable(place: object, error: OSError, permit: str = "") -> SensorError:
    """Make an error of what reading a sensor raised.

    Args:
        place: What was read.
        error: What that raised.
        permit: What to do where only the permission is missing.
    """
    if isinstance(error, PermissionError):
        remedy = permit or f"let this user read it: sudo chmod a+r {place}"
    elif is_gone(error):
        remedy = "it has gone; it is used again when it comes back"
    else:
        remedy = "the chip did not answer; it is tried again"
    return SensorError(f"{place} cannot be read: {reason(error)}", remedy)

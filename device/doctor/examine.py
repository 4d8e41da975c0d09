"""All checks in order, each on its own: what fails in one does not stop the others."""

from __future__ import annotations

import importlib
import os
import platform
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from slfac.device.doctor.clock import check_clock, kernel_synchronized
from slfac.device.doctor.finding import Finding, exists
from slfac.device.doctor.heat import (
    check_governor,
    check_power_mode,
    check_temperature,
    check_throttling,
)
from slfac.device.doctor.packages import check_server_packages
from slfac.device.doctor.resources import check_disk, check_memory
from slfac.device.doctor.software import check_software
from slfac.device.doctor.system import check_glibc, check_platform, check_python
from slfac.device.places import default_cache

ROOT: Final = Path("/")


def examine(
    *,
    keys: Path | None = None,
    server: str | None = None,
    discover: bool = False,
    cache: Path | None = None,
    out: Path | None = None,
) -> Iterator[Finding]:
    """Look at this machine, and at a key folder and a server where they are given.

    Args:
        keys: A key folder, a device's or a server's.
        server: A server to try with the device's key, ``tcp://HOST:PORT``.
        discover: Look for the server on the network, and try the one that is the device's.
        cache: Where the device keeps bundles; None for the default.
        out: Where the server writes results.

    Yields:
        A finding as soon as it is made.
    """
    yield from _system()
    yield from check_software()
    if keys is not None and _is_server(keys):
        yield from check_server_packages()
    yield from _board()
    yield from _disks(cache, out)
    if keys is not None:
        yield from _with_packages("keys", "check_keys", keys)
    if server is not None:
        yield from _with_packages("server", "check_server", server, keys)
    if discover:
        yield from _with_packages("discover", "check_discovery", keys)


def _system() -> Iterator[Finding]:
    yield check_python(sys.version_info[:3])
    yield check_platform(
        ROOT,
        system=platform.system(),
        machine=platform.machine(),
        bits=8 * struct.calcsize("P"),
    )
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        libc = None
    yield check_glibc(libc)


def _board() -> Iterator[Finding]:
    yield check_clock(ROOT, now_s=time.time(), kernel=kernel_synchronized())
    yield check_memory(ROOT)
    for check in (check_temperature, check_throttling, check_governor, check_power_mode):
        finding = check(ROOT)
        if finding is not None:
            yield finding


def _disks(cache: Path | None, out: Path | None) -> Iterator[Finding]:
    try:
        yield check_disk("cache", cache or default_cache())
    except RuntimeError as error:
        yield Finding("unknown", "disk cache", f"this user has no home: {error}", "give --cache")
    if out is not None:
        yield check_disk("out", out)


def _is_server(keys: Path) -> bool:
    try:
        return exists(keys / "server.key_secret")
    except OSError:
        return False


def _with_packages(name: str, check: str, *arguments: object) -> Iterator[Finding]:
    """Run a check whose module needs packages, if they can be imported."""
    try:
        module = importlib.import_module(f"slfac.device.doctor.{name}")
    except ImportError as error:
        yield Finding("unknown", name, f"not tried: {error}", "install what failed above first")
        return
    findings: Iterable[Finding] = getattr(module, check)(*arguments)
    yield from findings

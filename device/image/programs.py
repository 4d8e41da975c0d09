"""Programs of the system that images are made with: by argument lists, with an end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from slfac.wire.errors import ImageError, MissingExtraError

# What a program that must not fail prints about a failure.
_MOST_SAID = 400
# Where users' PATH lacks what administrators' has.
SYSTEM_PATHS = "/usr/local/sbin:/usr/sbin:/sbin"
#: Program -> Debian's package of it, where that has another name.
PACKAGES = {
    "apt-get": "apt",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "newuidmap": "uidmap",
    "qemu-img": "qemu-utils",
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "dumpe2fs": "e2fsprogs",
    "mcopy": "mtools",
    "mdel": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mmd": "mtools",
    "mshowfat": "mtools",
    "mtype": "mtools",
}


class Ended(NamedTuple):
    """How a program ended.

    Attributes:
        code: Its exit code.
        output: What it printed, without errors.
        said: What it printed as errors, on one line.
    """

    code: int
    output: bytes
    said: str


def wide_path() -> str:
    """The search path, with what ordinary users do not have on theirs."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), SYSTEM_PATHS))


def find_program(name: str) -> str | None:
    """Where a program is; None where it is not installed.

    Args:
        name: Its name.
    """
    return shutil.which(name, path=wide_path())


def run_program(
    command: Sequence[str],
    *,
    given: bytes = b"",
    limit_s: float = 60.0,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program to its end.

    Args:
        command: Its name and arguments; no shell sees them.
        given: What it reads.
        limit_s: When it is ended.
        env: What its environment has besides this process's.

    Returns:
        How it ended.

    Raises:
        MissingExtraError: It is not installed; the message names the package.
        ImageError: It does not end, or cannot be started.
    """
    name = command[0]
    program = find_program(name)
    if program is None:
        package = PACKAGES.get(name, name)
        raise MissingExtraError(
            f"{name} is not installed", f"install the package {package}: sudo apt install {package}"
        )
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, its arguments not through a shell
            [program, *command[1:]],
            input=given,
            capture_output=True,
            timeout=limit_s,
            check=False,
            # Images have geometries of their own, which mtools would refuse.
            env={**os.environ, "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1", **(env or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise ImageError(
            f"{name} did not end within {limit_s:g} s", "try again when the machine has less to do"
        ) from error
    except OSError as error:
        raise ImageError(
            f"cannot start {program}: {error.strerror}", "see to it that you may run it"
        ) from error
    said = " ".join(done.stderr.decode("utf-8", "replace").split())
    return Ended(done.returncode, done.stdout, said[:_MOST_SAID])

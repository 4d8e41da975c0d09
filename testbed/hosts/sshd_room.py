"""Runs sshd as root where a system may lack what it wants: ``python -m ... USER PROGRAM ARGS``.

Alone, in mounts of its own: sshd insists on a user of that name and a folder below ``/run``, which
only its package's installation makes.
"""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import Final, NoReturn

from slfac.testbed.emulate import linux

_RUN: Final = Path("/run")
_FOLDER: Final = _RUN / "sshd"
_NAME: Final = "sshd"


def main() -> NoReturn:
    """Make the room and become sshd."""
    user, program, *arguments = sys.argv[1:]
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    # It also hides this machine's systemd, which knows nothing of an emulated host.
    linux.mount("tmpfs", str(_RUN), "tmpfs", 0)
    _FOLDER.mkdir(mode=0o755)
    _cover(Path("/etc/passwd"), _passwd())
    _cover(Path("/etc/shadow"), f"{user}:*:19000:0:99999:7:::\n")
    os.execv(program, [program, *arguments])  # noqa: S606 - this is what it is for


def _passwd() -> str:
    text = Path("/etc/passwd").read_text("utf-8")
    try:
        pwd.getpwnam(_NAME)
    except KeyError:
        return f"{text.rstrip()}\n{_NAME}:x:65533:65534::{_FOLDER}:/usr/sbin/nologin\n"
    return text


def _cover(path: Path, text: str) -> None:
    """Let a file hold something else, for this process and its children."""
    other = _RUN / path.name
    other.write_text(text, "utf-8")
    other.chmod(0o644 if path.name == "passwd" else 0o600)
    linux.mount(str(other), str(path), None, linux.MS_BIND)


if __name__ == "__main__":
    main()

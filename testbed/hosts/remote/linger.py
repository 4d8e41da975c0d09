"""Has units of a user's go on without a log-in, and gives that back in the end."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from slfac.testbed.hosts.remote.ended import ended
from slfac.testbed.hosts.remote.problem import HostProblem

#: Stands in the folder of all testbeds where it was one of them that asked.
MARK_FILE: Final = ".asked-to-linger"


def lingers(work: Path) -> bool:
    """Whether units of this user go on without a log-in; it is asked for where they do not.

    Args:
        work: Folder of all testbeds.
    """
    if shutil.which("loginctl") is None:
        return False
    if _state() == "yes":
        return True
    mark = work / MARK_FILE
    mark.touch()
    _loginctl("--no-ask-password", "enable-linger", _user())
    if _state() == "yes":
        return True
    mark.unlink()
    return False


def give_back(work: Path) -> None:
    """Let units of this user end with its log-in again, if it was a testbed that changed that.

    Args:
        work: Folder of all testbeds; nothing happens while another uses it.

    Raises:
        HostProblem: It is refused.
    """
    mark = work / MARK_FILE
    if not mark.exists() or any(entry != mark for entry in work.iterdir()):
        return
    done = _loginctl("--no-ask-password", "disable-linger", _user())
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise HostProblem(
            f"`loginctl disable-linger` failed: {lines[-1]}",
            f"`sudo loginctl disable-linger {_user()}` there, then remove {mark}",
        )
    mark.unlink()


def _user() -> str:
    return str(os.getuid())


def _state() -> str:
    return _loginctl("show-user", "--property=Linger", "--value", _user()).stdout.strip()


def _loginctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return ended(["loginctl", *arguments])

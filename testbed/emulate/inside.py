"""Runs a program in an emulated host: ``python -m slfac.testbed.emulate.inside PID INODE PROGRAM``.

The program ends when this process does, and this process as the program does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

from slfac.testbed.emulate import linux

_KINDS: Final = {
    "user": linux.CLONE_NEWUSER,
    "pid": linux.CLONE_NEWPID,
    "net": linux.CLONE_NEWNET,
    "uts": linux.CLONE_NEWUTS,
    "mnt": linux.CLONE_NEWNS,
}
_PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_NOT_THERE: Final = 125
_CANNOT_RUN: Final = 127


def main() -> NoReturn:
    """Enter the host, run the program, and end as it did."""
    pid, inode, *command = sys.argv[1:]
    folder = os.getcwd()  # noqa: PTH109 - handed to chdir as it is
    try:
        _enter(int(pid), int(inode))
        os.chdir(folder)
    except OSError as error:
        print(f"cannot enter the host: {error.strerror}; is its testbed still up?", file=sys.stderr)  # noqa: T201
        sys.exit(_NOT_THERE)
    child = os.fork()
    if child == 0:
        _become(command)

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        os.kill(child, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        with contextlib.suppress(OSError):  # some signals cannot be handled anyway
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _enter(pid: int, inode: int) -> None:
    if os.stat(f"/proc/{pid}/ns/net").st_ino != inode:  # noqa: PTH116
        raise ProcessLookupError(0, "its process is another by now")
    opened = {}
    for name, kind in _KINDS.items():
        path = f"/proc/{pid}/ns/{name}"
        # One's own user namespace cannot be entered again.
        if os.stat(path).st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:  # noqa: PTH116
            opened[os.open(path, os.O_RDONLY | os.O_CLOEXEC)] = kind
    for descriptor, kind in opened.items():
        linux.set_namespace(descriptor, kind)


def _become(command: list[str]) -> NoReturn:
    linux.die_with_parent(signal.SIGKILL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - this is what it is for
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        os._exit(_CANNOT_RUN)


if __name__ == "__main__":
    main()

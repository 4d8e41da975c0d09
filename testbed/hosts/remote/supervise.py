"""Keeps one agent running: starts it again when it fails, and ends with it when it is done.

The agent dies with its supervisor, even where that is killed, so that there are never two.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final

from slfac.testbed.hosts.remote.processes import MARK, started_at
from slfac.testbed.hosts.remote.state import (
    AGENT_FILE,
    ENDED,
    LOCK_FILE,
    LOG_FILE,
    STOP_FILE,
    add_event,
    boot_id,
    last_line,
    read_state,
    write_state,
)

_PR_SET_PDEATHSIG: Final = 1
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0
# An agent that ran for so long did not fail at once.
_STEADY_S: Final = 60.0
_GRACE_S: Final = 15
_ROOM_S: Final = 2.0
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Supervisor:
    """Runs the agent that a folder describes.

    Args:
        folder: It holds ``agent.json``: the command, what to run instead where it is started
            again and a folder exists, variables, and exit codes after which another try is of
            no use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._agent: dict[str, Any] = json.loads((folder / AGENT_FILE).read_bytes())
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def run(self) -> None:
        """Run the agent until it is done, can never be, or SIGTERM comes.

        Where nobody has asked for it to stop, SIGTERM says that the host does: the agent is then
        cut off, as by a loss of power, and goes on with the run after the boot. One that were
        asked to end would take leave of the run.
        """
        with (self._folder / LOCK_FILE).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # one is at work here
            signal.signal(signal.SIGTERM, self._on_stop)
            signal.signal(signal.SIGALRM, self._on_alarm)
            before = read_state(self._folder)
            if before.get("state") in ENDED:
                return  # the host has started again since
            self._starts = before.get("starts", 0)
            if before.get("state") in {"running", "waiting"}:
                how = "loss" if before.get("boot") == boot_id() else "reboot"
                add_event(self._folder, "supervisor_restarted", after=how)
            self._keep_running()

    def _keep_running(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._stop.is_set():
            begin_s = time.monotonic()
            code = self._run_once()
            if time.monotonic() - begin_s > _STEADY_S:
                wait_s = _FIRST_WAIT_S
            if self._stop.is_set():
                break
            if code == 0 or code in self._agent["never"]:
                self._write("done" if code == 0 else "failed", code=code)
                return
            self._write("waiting", code=code, wait_s=wait_s)
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        if self._was_asked():
            self._write("stopped")

    def _was_asked(self) -> bool:
        return (self._folder / STOP_FILE).exists()

    def _run_once(self) -> int:
        command = self._command()
        self._starts += 1
        with (self._folder / LOG_FILE).open("ab") as log:
            try:
                self._child = self._start(command, log)
            except OSError as error:
                log.write(f"cannot start {command[0]}: {error.strerror}\n".encode())
                return 127
            add_event(self._folder, "agent_started", pid=self._child.pid, start=self._starts)
            self._write("running")
            code = self._child.wait()
        signal.alarm(0)
        what = {"signal": signal.Signals(-code).name} if code < 0 else {"code": code}
        add_event(self._folder, "agent_ended", **what, last_line=last_line(self._folder))
        return code

    def _command(self) -> list[str]:
        command: list[str] = self._agent["command"]
        again = self._agent["again"]
        if again is None or self._starts == 0:
            return command
        if Path(again["exists"]).exists():
            command = again["command"]
        else:
            # It had not come far enough to be gone on with.
            shutil.rmtree(again["else_remove"], ignore_errors=True)
        return command

    def _start(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - the agent's own command, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env={**os.environ, **self._agent["environment"], MARK: str(self._folder)},
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - calls prctl and nothing else
        )

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stop.set()
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(signal.SIGTERM if self._was_asked() else signal.SIGKILL)
            signal.alarm(_GRACE_S)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._child is not None and self._child.returncode is None:
            self._child.kill()

    def _write(self, state: str, **values: Any) -> None:
        """Write the state down; on a full drive as soon as there is room: an end must be told."""
        while not self._is_written(state, **values):
            if self._stop.wait(_ROOM_S):
                break

    def _is_written(self, state: str, **values: Any) -> bool:
        try:
            self._write_once(state, **values)
        except OSError:
            return False
        return True

    def _write_once(self, state: str, **values: Any) -> None:
        child = self._child.pid if self._child is not None and state == "running" else None
        write_state(
            self._folder,
            {
                "state": state,
                "supervisor": os.getpid(),
                "supervisor_began": started_at(os.getpid()),
                "agent": child,
                "starts": self._starts,
                "boot": boot_id(),
                "since_s": time.time(),
                "last_line": last_line(self._folder) if state != "running" else "",
                **values,
            },
        )

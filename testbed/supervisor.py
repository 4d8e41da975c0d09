"""Starts processes of this machine, watches them, and never leaves one behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from slfac.wire.errors import RunError

_PR_SET_PDEATHSIG = 1
_STOP_S = 10.0


@dataclass(frozen=True)
class Child:
    """A process that was started.

    Attributes:
        name: What to call it.
        process: The process.
        log: File that takes its output.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_line(self) -> str:
        """The last line it printed."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


class Supervisor:
    """Holds the processes of one run; leaving its ``with`` block ends them all.

    Each child is told by the kernel when this process dies, so that even ``kill -9``
    leaves no orphan.

    Attributes:
        children: Started processes, in order.
    """

    def __init__(self) -> None:
        self.children: list[Child] = []

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> Child:
        """Start a process.

        Args:
            name: What to call it.
            command: Program and arguments; no shell is involved.
            log: File for its output.
            environment: Variables added to this process's.

        Returns:
            The process.

        Raises:
            RunError: It could not be started.
        """
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment},
                    # Ctrl-C reaches this process alone, which then stops them in order.
                    start_new_session=True,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - calls prctl and nothing else
                )
        except OSError as error:
            raise RunError(f"cannot start {name}: {error.strerror}") from error
        child = Child(name=name, process=process, log=log)
        self.children.append(child)
        return child

    def failed(self) -> Child | None:
        """A process that ended with an exit code other than 0, or None."""
        return next((c for c in self.children if c.process.poll() not in (None, 0)), None)

    def wait(self, timeout_s: float) -> None:
        """Wait until every process has ended.

        Args:
            timeout_s: How long.

        Raises:
            RunError: One is still running.
        """
        deadline_s = time.monotonic() + timeout_s
        for child in self.children:
            try:
                child.process.wait(max(deadline_s - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired as error:
                raise RunError(
                    f"{child.name} did not end within {timeout_s:g} s", f"see {child.log}"
                ) from error

    def stop(self) -> None:
        """End every process that still runs: last started first, politely, then not."""
        running = [c for c in reversed(self.children) if c.process.poll() is None]
        for child in running:
            child.process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + _STOP_S
        for child in running:
            try:
                child.process.wait(max(deadline_s - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

"""Starts a worker, waits for it, and never for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec

from slfac.device.profiling.worker import Done, Task
from slfac.wire.errors import RunError

# What a board of a thousandth of this machine's speed would need to start one.
_START_S = 180.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


def run_worker(task: Task, *, threads: int) -> Done:
    """Do a task in a process of its own.

    Args:
        task: What.
        threads: Threads of NumPy there.

    Returns:
        What came of it.

    Raises:
        RunError: The process failed, was killed, or did not end in time.
    """
    command = [sys.executable, "-m", "slfac.device.profiling.worker"]
    limit_s = _START_S + 10 * task.repetitions * task.least_s
    with subprocess.Popen(  # noqa: S603 - this interpreter, and a task of ours
        [*command, msgspec.json.encode(task).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **dict.fromkeys(_THREADS, str(threads))},
    ) as process:
        try:
            said, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RunError(f"its process did not end within {limit_s:.0f} s") from None
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RunError(_why(process.returncode, errors))
    try:
        return msgspec.json.decode(said.splitlines()[-1], type=Done)
    except (msgspec.MsgspecError, IndexError) as error:
        raise RunError(f"its process said {said[-80:]!r}, which is no result") from error


def _why(code: int, errors: bytes) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed, as the system does when memory runs out"
    if code < 0:
        return f"its process was ended by signal {-code}"
    last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
    return f"its process failed: {' '.join(last)[:300] or f'exit code {code}'}"

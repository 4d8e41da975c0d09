"""Measures one thing in a process of its own: ``python -m slfac.device.profiling.worker TASK``.

How many threads a matrix product takes is settled when NumPy is first imported, and the most
memory that a process has held is known of a whole process only. The last line that it prints is
what it found, as JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

GEMM_SIZE = 1024
_WARM_UP = 2


class Task(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be done.

    Attributes:
        kind: A matrix product, copying or setting memory, or training steps of a front.
        repetitions: How often all but a front's steps are measured.
        least_s: How long each of these lasts at least.
        dtype: Of a matrix product.
        array_bytes: Size of what is copied or set.
        bundle: The front.
        batch: Samples of its batches.
        threads: Of onnxruntime.
        optimizer: What updates the front.
    """

    kind: Literal["gemm", "copy", "set", "front"]
    repetitions: int = 1
    least_s: float = 0.0
    dtype: Literal["float32", "float64"] = "float32"
    array_bytes: int = 0
    bundle: str = ""
    batch: int = 0
    threads: int = 1
    optimizer: str = ""


class Done(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of it.

    Attributes:
        repetitions: Of each, its beginning and end on the monotonic clock, which processes share,
            in nanoseconds, and how often the thing was done meanwhile.
        peak_bytes: Of a front: the most memory that the process held.
        step_s: Of a front: how long its last step took.
    """

    repetitions: tuple[tuple[int, int, int], ...] = ()
    peak_bytes: int = 0
    step_s: float = 0.0


def work(task: Task) -> Done:
    """Do it.

    Args:
        task: What.
    """
    if task.kind == "front":
        return _front(task)
    once = _product(task.dtype) if task.kind == "gemm" else _memory(task.kind, task.array_bytes)
    for _ in range(_WARM_UP):
        once()
    least_ns = round(task.least_s * 1e9)
    return Done(repetitions=tuple(_repeat(once, least_ns) for _ in range(task.repetitions)))


def _repeat(once: Callable[[], object], least_ns: int) -> tuple[int, int, int]:
    begin_ns = end_ns = time.monotonic_ns()
    count = 0
    while not count or end_ns - begin_ns < least_ns:
        once()
        count += 1
        end_ns = time.monotonic_ns()
    return begin_ns, end_ns, count


def _product(dtype: str) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((GEMM_SIZE, GEMM_SIZE)).astype(dtype) for _ in range(2))
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def _memory(kind: str, array_bytes: int) -> Callable[[], object]:
    target = np.ones(array_bytes // 8)
    if kind == "set":
        return lambda: target.fill(1.0)
    source = np.full_like(target, 2.0)
    return lambda: np.copyto(target, source)


def _front(task: Task) -> Done:
    # onnxruntime is 30 MB that the others need not hold.
    from slfac.device.memory import peak_rss_bytes  # noqa: PLC0415
    from slfac.device.profiling.steps import FrontSteps  # noqa: PLC0415
    from slfac.wire.bundle import open_bundle  # noqa: PLC0415

    bundle = open_bundle(Path(task.bundle), "device")
    steps = FrontSteps(bundle, task.batch, threads=task.threads, optimizer=task.optimizer)
    taken_s = 0.0
    # onnxruntime has all the memory that it wants only by the third run.
    for _ in range(3):
        begin_s = time.monotonic()
        steps.forward()
        steps.backward()
        steps.update()
        taken_s = time.monotonic() - begin_s
    return Done(peak_bytes=peak_rss_bytes(), step_s=taken_s)


if __name__ == "__main__":
    sys.stdout.write(
        msgspec.json.encode(work(msgspec.json.decode(sys.argv[1], type=Task))).decode() + "\n"
    )

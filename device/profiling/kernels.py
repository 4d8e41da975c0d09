"""Matrix products and memory, each in a process of its own."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import psutil

from slfac.device.energy.host import Host
from slfac.device.profiling.bench import Bench, Raw
from slfac.device.profiling.board import cores, last_cache_bytes
from slfac.device.profiling.child import run_worker
from slfac.device.profiling.record import Kind, Section
from slfac.device.profiling.worker import GEMM_SIZE, Task
from slfac.wire.errors import RunError

_LEAST_BYTES = 64 << 20
_TIMES_CACHE = 2
_FREE_SHARE = 8
_DTYPES: Final[tuple[tuple[Literal["float32", "float64"], str], ...]] = (
    ("float32", "fp32"),
    ("float64", "fp64"),
)
_MEMORY: Final[tuple[tuple[Literal["copy", "set"], str], ...]] = (
    ("copy", "memory copied"),
    ("set", "memory set"),
)


def array_bytes(host: Host, asked_mib: int) -> tuple[int, str]:
    """Size of arrays that no cache holds.

    Args:
        host: Where the caches are looked up.
        asked_mib: What the user wants; 0 for twice the last cache, at least 64 MiB, at most an
            eighth of the free memory.

    Returns:
        The size, and what must be said about it; empty for nothing.
    """
    cache = last_cache_bytes(host)
    size = asked_mib << 20
    if not size:
        free = psutil.virtual_memory().available // _FREE_SHARE
        size = min(max(_TIMES_CACHE * cache, _LEAST_BYTES), free)
    size -= size % 8
    if size >= _TIMES_CACHE * cache:
        return size, ""
    return size, (
        f"memory was copied and set in arrays of {size >> 20} MiB, less than twice the last cache "
        f"of {cache >> 20} MiB, which may have helped"
    )


def kernels(size_bytes: int) -> list[tuple[Section, Task]]:
    """What is measured of every board.

    Args:
        size_bytes: Size of what is copied and set.

    Returns:
        Sections without results, each with the task of its process.
    """
    found = []
    for dtype, short in _DTYPES:
        for threads in sorted({1, cores()}):
            many = "1 thread" if threads == 1 else f"{threads} threads"
            section = _empty("gemm", f"matrix product {short}, {many}", 2.0 * GEMM_SIZE**3)
            section = msgspec.structs.replace(section, dtype=short, threads=threads)
            found.append((section, Task(kind="gemm", dtype=dtype)))
    for kind, label in _MEMORY:
        section = msgspec.structs.replace(_empty(kind, label, float(size_bytes)), threads=1)
        found.append((section, Task(kind=kind, array_bytes=size_bytes)))
    return found


def measure_kernel(bench: Bench, section: Section, task: Task) -> Section:
    """Measure one of them.

    Args:
        bench: How things are measured.
        section: What it is.
        task: What its process does.

    Returns:
        The section with its results; without any, and with the reason, if the process failed.
    """
    settings = bench.settings
    task = msgspec.structs.replace(task, repetitions=settings.repetitions, least_s=settings.least_s)
    bench.recorder.begin()
    failed, raw = "", []
    try:
        done = run_worker(task, threads=section.threads)
    except RunError as error:
        failed = error.what
    else:
        raw = [Raw(begin * 1e-9, end * 1e-9, count) for begin, end, count in done.repetitions]
    filled = bench.filled(section, bench.recorder.end(), raw)
    return msgspec.structs.replace(filled, failed=failed)


def _empty(kind: Kind, label: str, amount: float) -> Section:
    return Section(kind=kind, label=label, begin_s=0.0, end_s=0.0, amount=amount)

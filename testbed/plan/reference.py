"""The profile of the machine that the fronts were timed on, for boards to be carried over from.

All times are of the processor, of one thread, so that what else runs does not count.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil

from slfac.codec import StreamKey, decode, make_codec
from slfac.device.profiling.steps import FrontSteps
from slfac.hw_profiles import Profile, Value
from slfac.hw_profiles.codec_fit import TimedTensor, fit_codec
from slfac.hw_profiles.fit import Timed, fit_memory, fit_phases
from slfac.hw_profiles.schema import (
    SCHEMA,
    Board,
    CodecCost,
    Compute,
    FrontCost,
    Hardware,
    MemoryCost,
    Mode,
    Provenance,
)
from slfac.testbed.collect import machine, versions
from slfac.testbed.plan.fronts import TimedFront
from slfac.wire.bundle import open_bundle
from slfac.wire.costs import costs_id
from slfac.wire.errors import RunError

CODECS = ("none", "fp16", "slfac", "slfac-rd", "uniform", "topk")
_SOURCE = "slfac bench predict"
_MATRIX = 1024
_COPY_BYTES = 256 << 20
_RUNS = 7
# Of tensors for codecs and of processes for memory: spread over all fronts, small and large.
_SOME = 12
_BATCH = 32
_MEMORY_STEPS = 3


def reference_profile(
    timed: Sequence[tuple[TimedFront, Timed]],
    folders: Sequence[Path],
    *,
    name: str,
    command: str,
    date: str,
) -> Profile:
    """Measure what fronts do not tell, and put all of it together.

    Args:
        timed: The fronts.
        folders: Their bundles.
        name: What to call the machine.
        command: The command line.
        date: When the fronts were timed.

    Returns:
        The profile.

    Raises:
        RunError: A process that measures memory failed.
    """
    day = date[:10]
    some = list(folders[:: max(1, len(folders) // _SOME)])
    here = machine()
    measured = _Values(day)
    mode = Mode(
        name="default",
        note="times of the processor, of one thread",
        compute=tuple(_gemm(measured)),
        phases=fit_phases([one for _, one in timed], source=_SOURCE, date=day, threads=1),
        codecs=tuple(_codec(spec, some, day) for spec in CODECS),
        fronts=tuple(_front(front, measured) for front, _ in timed),
        memories=tuple(_memories(timed, some, day)),
    )
    copied = np.ones(_COPY_BYTES // 8)
    into = np.empty_like(copied)
    memcpy = _rates(lambda: np.copyto(into, copied), _COPY_BYTES / 1e9)
    return Profile(
        schema=SCHEMA,
        board=Board(name=name, title=here["processor"], processor=here["processor"]),
        provenance=Provenance(
            origin="measured",
            date=day,
            command=command,
            runs=_RUNS,
            machine=here,
            versions=versions(),
            note="what slfac's own boards lack is carried over from this machine",
        ),
        hardware=Hardware(
            cores=measured.of([float(here["cores"])], "cores of the process"),
            memory_mib=measured.of([psutil.virtual_memory().total / 2**20], "the kernel"),
            memcpy_gbs=measured.of(memcpy, "numpy.copyto of float64"),
        ),
        modes=(mode,),
    )


class _Values:
    """Makes figures of repetitions: the median, and all that were seen as the interval."""

    def __init__(self, day: str) -> None:
        self._day = day

    def of(self, runs: Sequence[float], how: str) -> Value:
        low, value, high = min(runs), statistics.median(runs), max(runs)
        return Value(
            value=_six(value),
            low=_six(low) if len(runs) > 1 else None,
            high=_six(high) if len(runs) > 1 else None,
            runs=len(runs),
            kind="measured",
            source=f"{_SOURCE}: {how}; median, least and most",
            date=self._day,
        )


def _gemm(measured: _Values) -> list[Compute]:
    found = []
    for dtype, short in ((np.float32, "fp32"), (np.float64, "fp64")):
        a = np.ones((_MATRIX, _MATRIX), dtype)
        b, c = np.ones_like(a), np.empty_like(a)
        rates = _rates(_product(a, b, c), 2 * _MATRIX**3 / 1e9)
        found.append(
            Compute(
                device="cpu",
                dtype="fp32" if short == "fp32" else "fp64",
                workload="gemm",
                threads=1,
                gflops=measured.of(rates, f"numpy.matmul, {_MATRIX} x {_MATRIX}"),
            )
        )
    return found


def _product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Callable[[], object]:
    return lambda: np.matmul(a, b, out=c)


def _rates(run: Callable[[], object], amount: float) -> list[float]:
    run()
    return [amount / _seconds(run) for _ in range(_RUNS)]


def _seconds(run: Callable[[], object]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def _front(front: TimedFront, measured: _Values) -> FrontCost:
    how = "a front's step"
    return FrontCost(
        model=front.model,
        cut=front.cut,
        device="cpu",
        batch=front.batch,
        threads=1,
        costs=costs_id(front.costs),
        forward_ms=measured.of(front.times_ms["forward"], how),
        backward_ms=measured.of(front.times_ms["backward"], how),
        update_ms=measured.of(front.times_ms["update"], how),
    )


def _codec(spec: str, folders: Sequence[Path], day: str) -> CodecCost:
    codec = make_codec(spec)
    found = []
    for folder in folders:
        steps = FrontSteps(open_bundle(folder), _BATCH, threads=1, optimizer="sgd:lr=0.001")
        steps.forward()
        encode, back = [], []
        for step in range(_RUNS):
            key = StreamKey(step=step)
            begin = time.process_time()
            payloads = [codec.encode(z, key=key) for z in steps.smashed]
            between = time.process_time()
            for payload, z in zip(payloads, steps.smashed, strict=True):
                decode(payload, max_values=z.size)
            encode.append(1e3 * (between - begin))
            back.append(1e3 * (time.process_time() - between))
        size = sum(z.nbytes for z in steps.smashed)
        found.append(TimedTensor(size, statistics.median(encode), statistics.median(back)))
    return fit_codec(found, spec=codec.spec, source=_SOURCE, date=day, threads=1)


def _memories(
    timed: Sequence[tuple[TimedFront, Timed]], folders: Sequence[Path], day: str
) -> list[MemoryCost]:
    names = {folder.name: folder for folder in folders}
    known = []
    for front, one in timed:
        folder = names.get(f"{front.model}-{front.cut}")
        if folder is not None:
            peak = _peak_mib(folder, front.batch)
            known.append(
                Timed(one.costs, one.batch, one.forward_ms, one.backward_ms, one.update_ms, peak)
            )
    fitted = fit_memory(known, source=_SOURCE, date=day)
    return [] if fitted is None else [fitted]


def _peak_mib(folder: Path, batch: int) -> float:
    """Most memory of a process that does nothing but train the front."""
    command = [sys.executable, "-m", "slfac.testbed.bench.front_steps", "slfac", str(folder)]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(  # noqa: S603 - a module of ours
        [*command, str(batch), str(_MEMORY_STEPS)],
        env={**os.environ, **one_thread},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunError(f"the process that measures memory of {folder.name} failed: {last}")
    return int(done.stdout) / 2**20


def _six(number: float) -> float:
    return float(f"{number:.6g}")

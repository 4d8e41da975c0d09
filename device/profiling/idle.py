"""The board with nothing to do."""

from __future__ import annotations

import itertools

import numpy as np
import psutil

from slfac.device.profiling.bench import Bench, Raw
from slfac.device.profiling.record import Section

#: More than this share of all cores is work of other programs that figures suffer from.
BUSY_SHARE = 0.05


def measure_idle(bench: Bench, when: str, seconds: float) -> tuple[Section, float]:
    """Leave the board alone.

    Args:
        bench: How things are measured.
        when: ``before`` or ``after``.
        seconds: For how long.

    Returns:
        The section, whose repetitions are equal parts of that time; and the share of all cores
        that other programs took meanwhile.
    """
    recorder = bench.recorder
    recorder.begin()
    psutil.cpu_percent()  # from now on
    begin_s = bench.host.clock() * 1e-9
    bench.rest(seconds)
    end_s = bench.host.clock() * 1e-9
    busy = psutil.cpu_percent() / 100
    seen = recorder.end()
    edges = np.linspace(begin_s, end_s, bench.settings.repetitions + 1).tolist()
    parts = [Raw(low, high, 1) for low, high in itertools.pairwise(edges)]
    section = Section(kind="idle", label=f"idle {when}", begin_s=0.0, end_s=0.0)
    return bench.filled(section, seen, parts), busy

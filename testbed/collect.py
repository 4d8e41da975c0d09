"""From a run's metrics to its report."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import psutil

from slfac.testbed.report import RoundPoint, RunReport
from slfac.testbed.report.assemble import assemble, log_of
from slfac.testbed.report.events import typed
from slfac.wire.errors import RunError

_PACKAGES = (
    *("slfac", "torch", "onnxruntime", "numpy", "pyzmq", "msgspec", "onnx", "onnxscript"),
    "scipy",
)


def collect(
    events: Sequence[dict[str, Any]], *, dataset: str
) -> tuple[RunReport, list[RoundPoint]]:
    """Make a report from the events of a finished run.

    Args:
        events: The run's metrics.
        dataset: What to call the data set.

    Returns:
        The report, with versions and machine of this process, and its rounds.

    Raises:
        RunError: The run did not finish.
    """
    log, _ = log_of(typed(events))
    if log is None or not log.finished:
        raise RunError("the run did not finish: its metrics have no end")
    for device in log.devices.values():
        if device.summary is None:
            raise RunError(f"{device.device} left without saying goodbye")
    report = assemble(log, dataset=dataset)
    report = msgspec.structs.replace(report, versions=versions(), machine=machine())
    return report, list(report.by_round)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter to a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """What this machine is, as far as it bears on a measurement."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

"""From a run's metrics to its report."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from slfac.testbed.report import DeviceReport, RoundPoint, RunReport
from slfac.wire.errors import RunError

_PACKAGES = (
    *("slfac", "torch", "onnxruntime", "numpy", "pyzmq", "msgspec", "onnx", "onnxscript"),
    "scipy",
)
_SUMS = (
    "bytes_up",
    "bytes_down",
    "float32_bytes_up",
    "float32_bytes_down",
    "wire_bytes_up",
    "wire_bytes_down",
)


def collect(
    events: Sequence[dict[str, Any]], *, dataset: str
) -> tuple[RunReport, list[RoundPoint]]:
    """Make a report from the events of a finished run.

    Args:
        events: The run's metrics.
        dataset: What to call the data set.

    Returns:
        The report and its rounds.

    Raises:
        RunError: The run did not finish.
    """
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(event["event"], []).append(event)
    if "end" not in by_kind or "round" not in by_kind:
        raise RunError("the run did not finish: its metrics have no end")
    run, rounds = by_kind["run"][-1], by_kind["round"]
    points = _points(rounds)
    devices = [_device(event) for event in by_kind["device"]]
    settings, last = run["settings"], rounds[-1]
    report = RunReport(
        accuracy=points[-1].accuracy,
        balanced_accuracy=last["balanced_accuracy"],
        test_loss=last["loss"],
        recall=tuple(last["recall"] or ()),
        confusion=tuple(map(tuple, last["confusion"] or ())),
        seconds=points[-1].seconds,
        rounds=len(points),
        devices=len(devices),
        codec=_codec(settings),
        seed=settings["seed"],
        model=run["model"],
        cut=run["cut"],
        dataset=dataset,
        partition=settings["partition"],
        train_samples=sum(device.samples for device in devices),
        test_samples=run["test_samples"],
        date=run["time"],
        versions=versions(),
        machine=machine(),
        per_device=tuple(devices),
        **{key: sum(event[key] for event in by_kind["device"]) for key in _SUMS},
    )
    return report, points


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


def _codec(settings: dict[str, Any]) -> str:
    up, down = str(settings["codec_up"]), str(settings["codec_down"])
    return up if up == down else f"{up} up, {down} down"


def _points(rounds: Sequence[dict[str, Any]]) -> list[RoundPoint]:
    points = []
    seconds = 0.0
    for event in rounds:
        seconds += event["seconds"]
        points.append(
            RoundPoint(
                round=event["round"] + 1,
                accuracy=event["accuracy"],
                loss=event["train_loss"],
                seconds=seconds,
                bytes_up=event["bytes_up"],
                bytes_down=event["bytes_down"],
                float32_bytes_up=event["float32_bytes_up"],
                float32_bytes_down=event["float32_bytes_down"],
                balanced_accuracy=event["balanced_accuracy"],
                test_loss=event["loss"],
            )
        )
    return points


def _device(event: dict[str, Any]) -> DeviceReport:
    summary = event["summary"]
    if summary is None:
        raise RunError(f"{event['device']} left without saying goodbye")
    return DeviceReport(
        name=event["device"],
        samples=summary["samples"],
        torch_imported=summary["torch_imported"],
        peak_rss_mb=round(summary["peak_rss_bytes"] / 1e6, 1),
        bytes_up=event["bytes_up"],
        bytes_down=event["bytes_down"],
        steps=event["steps"],
        phase_ms={phase: round(value, 3) for phase, value in event["phase_ms"].items()},
        # Runs that are reused may be of an older release.
        provider=summary.get("provider", ""),
        joules={
            scope: round(spent["joules"], 3)
            for scope, spent in event.get("energy", {}).get("spent", {}).items()
            if spent["covered_s"] > 0
        },
    )

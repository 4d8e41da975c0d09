"""The rows of a report's tables, the same in the terminal and in HTML."""

from __future__ import annotations

from collections.abc import Sequence

from slfac.testbed.report.model import DeviceReport, RunReport, labels_of, phases_of
from slfac.testbed.report.units import (
    human_bytes,
    human_joules,
    human_ratio,
    human_seconds,
    percent,
)

BYTES_NOTE = (
    "Bytes are those of every frame and header at the socket API, all devices together; "
    "1 kB is 1000 bytes. float32: what the same run would have sent with the tensors at the "
    "cut as float32."
)

CLASSES_NOTE = (
    "Recall is the share of a class's samples that were classified right; balanced accuracy is "
    "the mean of the recalls. The columns after it count the class's samples by the class that "
    "the model took them for."
)
# A wider matrix is in report.json only.
_MOST_COLUMNS = 20


def run_table(runs: Sequence[RunReport]) -> tuple[list[str], list[list[str]]]:
    """One row a run: accuracy, bytes each way against float32, time, memory.

    Args:
        runs: The runs.

    Returns:
        Headings and rows.
    """
    columns = ["codec", "accuracy", "up", "down", "float32 / up", "float32 / down"]
    rows = [
        [
            label,
            percent(run.accuracy),
            human_bytes(run.bytes_up),
            human_bytes(run.bytes_down),
            human_ratio(run.bytes_up, run.float32_bytes_up),
            human_ratio(run.bytes_down, run.float32_bytes_down),
            human_seconds(run.seconds),
            f"{max((device.peak_rss_mb for device in run.per_device), default=0):.0f} MB",
        ]
        for run, label in zip(runs, labels_of(list(runs)), strict=True)
    ]
    return [*columns, "time", "largest device"], rows


def device_table(devices: Sequence[DeviceReport]) -> tuple[list[str], list[list[str]]]:
    """One row a device: samples, steps, bytes, memory, and whether it imported torch.

    Energy has a column where some device measured it.

    Args:
        devices: The devices of one run.

    Returns:
        Headings and rows.
    """
    measured = any(device.joules for device in devices)
    rows = [
        [
            device.name,
            str(device.samples),
            str(device.steps),
            human_bytes(device.bytes_up),
            human_bytes(device.bytes_down),
            f"{device.peak_rss_mb:.0f} MB",
            "imported" if device.torch_imported else "no",
            device.provider or "-",
            *([human_joules(device.joules)] if measured else []),
        ]
        for device in devices
    ]
    columns = ["device", "samples", "steps", "up", "down", "peak memory", "torch", "provider"]
    return [*columns, *["energy"] * measured], rows


def class_table(run: RunReport) -> tuple[list[str], list[list[str]]]:
    """One row a class of the test set: recall, and where the matrix is there, its row.

    Args:
        run: The run.

    Returns:
        Headings and rows; no rows where the classes were not scored.
    """
    shown = run.confusion if len(run.confusion) <= _MOST_COLUMNS else ()
    columns = ["class", "recall", *(f"as {index}" for index in range(len(shown)))]
    rows = [
        [
            str(index),
            "-" if recall is None else percent(recall),
            *(map(str, shown[index]) if shown else ()),
        ]
        for index, recall in enumerate(run.recall)
    ]
    return columns, rows


def phase_table(devices: Sequence[DeviceReport]) -> tuple[list[str], list[list[str]]]:
    """One row a device: seconds of the whole run in each phase.

    Args:
        devices: The devices of one run.

    Returns:
        Headings and rows.
    """
    phases = phases_of(devices)
    rows = [
        [device.name, *(f"{device.phase_ms.get(phase, 0.0) / 1e3:.2f}" for phase in phases)]
        for device in devices
    ]
    return ["device", *phases], rows

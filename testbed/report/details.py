"""The rows of tables about one run: faults, use of links, and what made it."""

from __future__ import annotations

from collections.abc import Sequence

from slfac.testbed.link import LinkRate, parse_link
from slfac.testbed.report.model import DeviceReport, Fault, RunReport
from slfac.testbed.report.units import human_bytes, human_joules, human_seconds, percent
from slfac.wire.errors import SettingsError


def fault_table(faults: Sequence[Fault]) -> tuple[list[str], list[list[str]]]:
    """One row a fault, in order.

    Args:
        faults: What went wrong in a run, and what was done to it.

    Returns:
        Headings and rows.
    """
    rows = [
        [
            human_seconds(fault.at_s),
            fault.who or "all",
            fault.what + (" (on purpose)" if fault.injected else ""),
            "-" if fault.recovered_s is None else f"after {human_seconds(fault.recovered_s)}",
        ]
        for fault in faults
    ]
    return ["at", "who", "what", "went on"], rows


def link_table(run: RunReport) -> tuple[list[str], list[list[str]]]:
    """One row a device: how its link was used, over the seconds of the rounds.

    Args:
        run: The run.

    Returns:
        Headings and rows; no rows where nobody has said what was on the wire.
    """
    links = _parsed_links(run)
    columns = ["device", "up on TCP", "down on TCP", "mean rate up", "mean rate down"]
    rows = []
    for index, device in enumerate(run.per_device):
        link = links[min(index, len(links) - 1)] if links else None
        row = _link_row(device, link, run.seconds)
        if row is not None:
            rows.append(row)
    return [*columns, "of its steps sending or waiting", "server's clock ahead"], rows


def _link_row(device: DeviceReport, link: LinkRate | None, seconds: float) -> list[str] | None:
    up_bytes, down_bytes = device.wire_bytes_up, device.wire_bytes_down
    if up_bytes is None or down_bytes is None or seconds <= 0:
        return None
    total_ms = sum(device.phase_ms.values())
    away_ms = device.phase_ms.get("wait", 0.0) + device.phase_ms.get("send", 0.0)
    offset_ms = device.clock_offset_ms
    return [
        device.name,
        human_bytes(up_bytes),
        human_bytes(down_bytes),
        _rate(8 * up_bytes / seconds, link.up_bit_per_s if link else None),
        _rate(8 * down_bytes / seconds, link.down_bit_per_s if link else None),
        percent(away_ms / total_ms if total_ms > 0 else None),
        "-" if offset_ms is None else f"{offset_ms:+.1f} ms",
    ]


def _parsed_links(run: RunReport) -> list[LinkRate]:
    try:
        return [parse_link(text) for text in run.links]
    except SettingsError:
        return []


def _rate(bit_per_s: float, of: float | None) -> str:
    shown = f"{bit_per_s / 1e6:.3g} Mbit/s"
    return shown if of is None else f"{shown} ({percent(bit_per_s / of)})"


def run_facts(run: RunReport) -> list[tuple[str, str]]:
    """What a run was: data, machine, versions, and where it is.

    Args:
        run: The run.

    Returns:
        Names and values; what is unknown is said to be.
    """
    return [
        ("Samples", f"{run.train_samples} to train, {run.test_samples} to test"),
        *([("Test loss", f"{run.test_loss:.4f}")] if run.test_loss is not None else []),
        ("Partition", run.partition),
        ("Mode", run.mode or "unknown"),
        ("Links", ", ".join(run.links) or "no limit, or unknown"),
        ("Seed", str(run.seed)),
        ("As float32", _both_ways(run.float32_bytes_up, run.float32_bytes_down)),
        ("On the wire", _both_ways(run.wire_bytes_up, run.wire_bytes_down)),
        ("Energy", human_joules(run.by_round[-1].joules if run.by_round else {})),
        ("Carried out by", run.carried_out_by or "unknown"),
        *run.machine.items(),
        ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
        ("Git revision", run.revision or "unknown"),
        *([("Folder", run.folder)] if run.folder else []),
    ]


def _both_ways(up_bytes: int, down_bytes: int) -> str:
    return f"{human_bytes(up_bytes)} up, {human_bytes(down_bytes)} down"

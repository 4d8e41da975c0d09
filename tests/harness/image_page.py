"""The figures of device images, as their result file's page and in docs/image.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "image.json"
DOC = ROOT / "docs" / "image.md"
_TITLE = "## Figures"
_BUILDS = {
    "build": "`qemu`, from nothing",
    "build-kept": "`qemu`, with the base that is kept",
    "build-rpi": "`rpi`, with the base that is kept",
    "build-locked": "`qemu`, base and all once more from its lock",
}
_STARTS = {
    "virt": "`qemu` on `virt`",
    "virt-rpi": "`rpi` on `virt`",
    "raspi3b": "`rpi` on `raspi3b`",
}
#: What there is to be measured.
NAMES = {*_BUILDS, *_STARTS, "virt-stranger"}


def page(result: dict[str, Any]) -> str:
    """The page of the result file.

    Args:
        result: The result file.
    """
    versions = ", ".join(f"{name} {told}" for name, told in sorted(result["versions"].items()))
    return (
        "# Device images\n\n"
        "Written by `make results-image`; the figures are those of [image.json](image.json), "
        "explained in [docs/image.md](../image.md).\n\n"
        f"{figures(result)}\n"
        f"Loop device: {result['loop_device']}. {versions}.\n"
    )


def figures(result: dict[str, Any]) -> str:
    """The tables.

    Args:
        result: The result file.
    """
    steps, machine = result["steps"], result["machine"]
    who = "root" if result["as_root"] else "an ordinary user"
    where = (
        f"On {machine['cores']} cores of an {machine['processor']} with {machine['memory']}, "
        f"{result['date']}, as {who}. QEMU emulates arm64 on this machine: a board is faster."
    )
    lines = [
        f"{where} {result['note']}".strip(),
        "",
        "| Build | Base | Everything else | Compressed | On a card |",
        "|---|---|---|---|---|",
        *(_build(title, steps[name]) for name, title in _BUILDS.items() if name in steps),
        "",
    ]
    if {"build", "build-locked"} <= steps.keys():
        same = steps["build"]["sha256"] == steps["build-locked"]["sha256"]
        lines += [f"From the lock came {'the same' if same else 'other'} bytes.", ""]
    lines += [
        "| Start | Connected after power-on | Steps, the last after | Agent's memory | QEMU's |",
        "|---|---|---|---|---|",
        *(
            _start(title, steps[name]["started"])
            for name, title in _STARTS.items()
            if name in steps
        ),
        "",
    ]
    if (stranger := steps.get("virt-stranger")) is not None:
        told_s = stranger["started"]["connected_s"]
        lines += [f"A key that is not enrolled was refused {told_s:.0f} s after power-on.", ""]
    if left := [f"`{name}`" for name in sorted(NAMES - steps.keys())]:
        lines += [f"Not measured: {', '.join(left)}.", ""]
    return "\n".join(lines)


def _build(title: str, told: dict[str, Any]) -> str:
    base = f"{told['base_s'] / 60:.1f} min" if told["base_s"] else "kept"
    return (
        f"| {title} | {base} | {told['rest_s']:.0f} s | {told['compressed_bytes'] / 1e6:.0f} MB "
        f"| {told['size_bytes'] / 1e6:.0f} MB |"
    )


def _start(title: str, told: dict[str, Any]) -> str:
    return (
        f"| {title} | {told['connected_s']:.0f} s | {told['steps']}, {told['trained_s']:.0f} s "
        f"| {_mb(told['peak_rss_bytes'])} | {_mb(told['qemu_rss_bytes'])} |"
    )


def _mb(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.0f} MB"


def put_figures(text: str, result: dict[str, Any]) -> str:
    """Put the tables where docs/image.md has them.

    Args:
        text: The page.
        result: The result file.
    """
    head, found, rest = text.partition(f"\n{_TITLE}\n")
    assert found, "docs/image.md has no section for figures"
    behind = re.split(r"^(?=## )", rest, maxsplit=1, flags=re.MULTILINE)[1]
    return f"{head}\n{_TITLE}\n\n{figures(result)}\n{behind}"

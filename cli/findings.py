"""Prints what checks found, as lines or as one JSON object."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from slfac import __version__

if TYPE_CHECKING:
    from slfac.device.doctor.finding import Finding

_LEVELS = ("ok", "warning", "failed", "unknown")
_LABEL_WIDTH = 13


def show_findings(findings: Iterable[Finding], *, as_json: bool) -> int:
    """Print findings as they come, and how many there were of each level.

    Args:
        findings: What was found.
        as_json: Whether to print one JSON object in the end instead.

    Returns:
        The exit code: 1 if a check failed, else 0.
    """
    found = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            _print(f"{finding.level:<8} {finding.name:<{_LABEL_WIDTH}} {finding.found}")
            if finding.remedy:
                _print(f"{'':{_LABEL_WIDTH + 9}} -> {finding.remedy}")
    count: Counter[str] = Counter(finding.level for finding in found)
    if as_json:
        counts = {level: count[level] for level in _LEVELS}
        listed = [dataclasses.asdict(finding) for finding in found]
        print(json.dumps({"slfac": __version__, "counts": counts, "findings": listed}, indent=2))
    else:
        _print(", ".join(f"{count[level]} {level}" for level in _LEVELS))
    return 1 if count["failed"] else 0


def _print(line: str) -> None:
    """Print a line at once, whatever bytes a file's name is made of."""
    encoding = sys.stdout.encoding or "utf-8"
    one = " ".join(line.splitlines())
    print(one.encode(encoding, "backslashreplace").decode(encoding), flush=True)

"""``slfac profile list``, ``show``, ``check`` and ``diff``: what is known about boards."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.parsers import add_command
from slfac.cli.tables import aligned, print_line
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.hw_profiles import Entry, Profile, Value

_WHICH = "a board of `slfac profile list`, or a file"
_LIST_EPILOG = """\
examples:
  slfac profile list
"""
_SHOW_EPILOG = """\
examples:
  slfac profile show pi-4b
  slfac profile show ./measured.toml --json

What the fields are: docs/profiles.md. What is unknown is listed as such, and is never zero.
"""
_CHECK_EPILOG = """\
examples:
  slfac profile check measured.toml

Exit code 0 if all are in order, else 2, after every fault of every file.
"""
_DIFF_EPILOG = """\
examples:
  slfac profile diff pi-4b ./measured.toml
"""


def add_profile_files(actions: Any) -> None:
    """Register the actions that read profiles.

    Args:
        actions: The subparsers of ``slfac profile``.
    """
    listed = add_command(
        actions,
        "list",
        summary="boards that there is a profile of",
        epilog=_LIST_EPILOG,
        run=run_list,
    )
    shown = add_command(
        actions,
        "show",
        summary="what is known about a board, and where it comes from",
        epilog=_SHOW_EPILOG,
        run=run_show,
    )
    shown.add_argument("profile", metavar="NAME|FILE", help=_WHICH)
    for parser in (listed, shown):
        parser.add_argument("--json", action="store_true", help="print one JSON object")
    checked = add_command(
        actions,
        "check",
        summary="list everything that is wrong with files",
        epilog=_CHECK_EPILOG,
        run=run_check,
    )
    checked.add_argument("files", metavar="FILE", nargs="+", type=Path)
    differed = add_command(
        actions,
        "diff",
        summary="where two profiles differ",
        epilog=_DIFF_EPILOG,
        run=run_diff,
    )
    differed.add_argument("first", metavar="A", help=_WHICH)
    differed.add_argument("second", metavar="B", help=_WHICH)


def run_list(args: argparse.Namespace) -> int:
    """Run ``slfac profile list``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    from slfac.hw_profiles import load_profile, profile_names

    rows = [_counted(load_profile(name)) for name in profile_names()]
    if getattr(args, "json", False):
        print(json.dumps(rows, indent=2))
        return 0
    header = ("name", "board", "measured", "calibrated", "spec", "unknown")
    for line in aligned([header, *(tuple(str(row[key]) for key in header) for row in rows)]):
        print_line(line)
    return 0


def _counted(profile: Profile) -> dict[str, Any]:
    from slfac.hw_profiles import profile_entries

    kinds = Counter(e.value.kind if e.value else "unknown" for e in profile_entries(profile))
    counts = {kind: kinds[kind] for kind in ("measured", "calibrated", "spec", "unknown")}
    return {"name": profile.board.name, "board": profile.board.title, **counts}


def run_show(args: argparse.Namespace) -> int:
    """Run ``slfac profile show``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: There is no such profile, or something is wrong with it.
    """
    import msgspec

    from slfac.hw_profiles import load_profile, profile_entries

    profile = load_profile(args.profile)
    if getattr(args, "json", False):
        print(json.dumps(msgspec.to_builtins(profile), indent=2))
        return 0
    print_line(f"{profile.board.name}: {profile.board.title}")
    made = profile.provenance
    for said in (profile.board.processor, profile.board.note, f"{made.origin}, {made.date}"):
        if said:
            print_line(f"  {said}")
    entries = profile_entries(profile)
    known = [(entry, entry.value) for entry in entries if entry.value is not None]
    rows = [("field", "value", "interval", "kind", "source"), *(_row(e, v) for e, v in known)]
    for line in aligned(rows):
        print_line(line)
    for sensor in profile.sensors:
        total = " + ".join(sensor.total) or "not known which rails"
        print_line(f"sensor {sensor.driver} ({sensor.scope}): {total}")
    unknown = [entry.field for entry in entries if entry.value is None]
    print_line(f"unknown: {', '.join(unknown) or 'nothing'}")
    return 0


def _row(entry: Entry, value: Value) -> tuple[str, ...]:
    source = f"{value.source}, {value.date}" if value.date else value.source
    source = f"{source} ({value.note})" if value.note else source
    return (entry.field, _figure(entry, value), _interval(value), value.kind, source)


def _figure(entry: Entry, value: Value) -> str:
    scope = {"": "", "unknown": " (scope unknown)"}.get(entry.scope, f" ({entry.scope})")
    return f"{value.value:g} {entry.unit}".strip() + scope


def _interval(value: Value) -> str:
    return "unknown" if value.low is None else f"{value.low:g} to {value.high:g}"


def run_check(args: argparse.Namespace) -> int:
    """Run ``slfac profile check``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: A file has faults, which have been printed before.
    """
    from slfac.hw_profiles import check_profile

    bad = 0
    for file in args.files:
        try:
            lines = [f"{file}: {fault}" for fault in check_profile(file)]
        except SettingsError as error:
            lines = [str(error)]
        bad += bool(lines)
        for line in lines or [f"{file}: in order"]:
            print_line(line)
    if bad:
        raise SettingsError(
            f"{bad} of {len(args.files)} profiles cannot be used", "mend what the lines above name"
        )
    return 0


def run_diff(args: argparse.Namespace) -> int:
    """Run ``slfac profile diff``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code; 0 also where they differ.

    Raises:
        SettingsError: There is no such profile, or something is wrong with it.
    """
    from slfac.hw_profiles import load_profile, profile_entries

    first, second = (
        {entry.field: entry for entry in profile_entries(load_profile(which))}
        for which in (args.first, args.second)
    )
    rows = []
    for field in {**first, **second}:
        ends = [side.get(field) for side in (first, second)]
        values = [end.value if end else None for end in ends]
        if values[0] != values[1]:
            rows.append((field, *_side(ends[0]), *_side(ends[1]), _how(*values)))
    header = ("field", args.first, "kind", args.second, "kind", "")
    for line in aligned([header, *rows]) if rows else ["no figure differs"]:
        print_line(line)
    return 0


def _side(entry: Entry | None) -> tuple[str, str]:
    if entry is None or entry.value is None:
        return "unknown", ""
    interval = "" if entry.value.low is None else f" [{_interval(entry.value)}]"
    return _figure(entry, entry.value) + interval, entry.value.kind


def _how(first: Value | None, second: Value | None) -> str:
    """How two figures relate, where both are known."""
    if first is None or second is None:
        return ""
    if first.value == second.value:
        return "the figure is the same"
    ratio = f"x {second.value / first.value:.3g}" if first.value else ""
    if None in (first.low, first.high, second.low, second.high):
        return ratio
    apart = max(first.low or 0, second.low or 0) > min(first.high or 0, second.high or 0)
    return f"{ratio}, intervals {'apart' if apart else 'overlap'}".removeprefix(", ")

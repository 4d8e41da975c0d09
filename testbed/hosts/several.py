"""All runs of an inventory with a matrix, one after the other, and one report of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from slfac.testbed.hosts.agents import run_of
from slfac.testbed.hosts.collect import check_folder
from slfac.testbed.hosts.commands import run
from slfac.testbed.hosts.emulated import opened
from slfac.testbed.hosts.facts import link_words
from slfac.testbed.hosts.run import RunOptions
from slfac.testbed.inventory import Combination, Inventory, combinations
from slfac.testbed.write import replace_file
from slfac.wire.errors import RunError, SettingsError, SlfacError

#: In a run's folder once all is there: what decided how it ended.
_DONE_NAME: Final = "combination.json"


def run_all(
    inventory: Inventory, options: RunOptions, console: Console, *, emulate: bool
) -> dict[str, str]:
    """Carry out every run of an inventory's matrix that is not there yet, and compare all.

    Args:
        inventory: The testbed.
        options: How; each run has a folder of its own in ``out``.
        console: Where to show it.
        emulate: Whether hosts are emulated.

    Returns:
        Hosts whose files could not be had, and why.

    Raises:
        RunError: A run failed; all others have been carried out and reported.
        SlfacError: Another branch of it, which says what is wrong.
    """
    if options.detach:
        raise SettingsError(
            f"{inventory.file} has a matrix, and its runs come one after the other",
            "leave out --detach, or matrix",
        )
    runs = combinations(inventory)
    todo = [one for one in runs if not _is_done(one, options.out, emulate=emulate)]
    for one in todo:
        check_folder(options.out / one.folder)
    errors: dict[str, str] = {}
    failed: list[str] = []
    console.print(f"{len(runs)} runs, {len(runs) - len(todo)} of them are there already")
    for number, one in enumerate(todo, start=1 + len(runs) - len(todo)):
        console.print(f"{number}/{len(runs)}  {one.label}", highlight=False, markup=False)
        try:
            errors |= _one(one, options, console, emulate=emulate)
        except SlfacError as error:
            failed.append(f"{one.label}: {error}")
            console.print(f"{one.label} failed: {error}", highlight=False, markup=False)
    _report(runs, options.out, failed, console)
    if failed:
        raise RunError(
            f"{len(failed)} of {len(runs)} runs failed, the first: {failed[0]}",
            "the same command tries them again, and keeps the others",
        )
    return errors


def _one(
    one: Combination, options: RunOptions, console: Console, *, emulate: bool
) -> dict[str, str]:
    place = options.out / one.folder
    with opened(one.inventory, emulate=emulate, make=True) as lab:
        carried = run(lab, replace(options, out=place), console)
    replace_file(place / _DONE_NAME, _decided_by(one, emulate=emulate))
    return {f"{one.label}, {host}": why for host, why in carried.errors.items()}


def _is_done(one: Combination, out: Path, *, emulate: bool) -> bool:
    try:
        return (out / one.folder / _DONE_NAME).read_bytes() == _decided_by(one, emulate=emulate)
    except OSError:
        return False


def _decided_by(one: Combination, *, emulate: bool) -> bytes:
    """What decides how a run ends, as far as an inventory says it."""
    inventory, asked = one.inventory, run_of(one.inventory)
    links = {d.name: link_words(inventory.link(d.name)) for d in inventory.devices}
    values: dict[str, Any] = {
        "run": asked.model_dump(mode="json"),
        "server": inventory.server.model_dump(mode="json"),
        "devices": [device.model_dump(mode="json") for device in inventory.devices],
        "links": links if emulate else {},
    }
    return json.dumps(values, indent=1).encode() + b"\n"


def _report(
    runs: Sequence[Combination], out: Path, failed: Sequence[str], console: Console
) -> None:
    # What draws takes seconds to load.
    from slfac.testbed.report.folders import LIST_NAME, read_run  # noqa: PLC0415
    from slfac.testbed.report.write import Comparison, write_runs  # noqa: PLC0415

    there = [one.folder for one in runs if (out / one.folder / _DONE_NAME).exists()]
    if not there:
        return
    replace_file(out / LIST_NAME, json.dumps({"runs": there}, indent=1).encode() + b"\n")
    comparison = Comparison(
        runs=tuple(read_run(out / folder) for folder in there),
        title=runs[0].inventory.name,
        problems=tuple(f"failed: {line}" for line in failed),
        command=f"slfac report {out}",
    )
    write_runs(comparison, out / "report.html", console)

"""Runs by their folders: what a server, an experiment or a testbed left, whole or not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct, structs

from slfac.testbed.report.assemble import assemble, log_of
from slfac.testbed.report.events import METRICS_NAME, Amount, Begun, Time, read_lines, typed
from slfac.testbed.report.model import Fault, RunReport, Table
from slfac.wire.errors import SettingsError

ABOUT_NAME = "about.json"
INJECTED_NAME = "injected.jsonl"
TABLES_NAME = "tables.json"
_KEPT_NAME = "run.json"
LIST_NAME = "runs.json"
_MAX_FILE_BYTES = 1 << 26
_MOST_RUNS = 1000
_REMEDY = (
    "give folders of runs: what `slfac server --out`, `slfac demo --out` or an experiment wrote"
)
T = TypeVar("T")


class _About(Struct, frozen=True):
    dataset: str = ""
    data: str = ""
    codec: str = ""
    backend: str = ""
    link: tuple[str, ...] = ()


class _Place(Struct, frozen=True):
    machine: dict[str, str] = {}
    versions: dict[str, str] = {}


class _Kept(Struct, frozen=True):
    settings: _Place = _Place()


class _Injected(Struct, frozen=True):
    time: Time
    what: str
    who: str = ""
    recovered_s: Amount | None = None


class _Listed(Struct, frozen=True):
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What was found in some folders.

    Attributes:
        runs: The runs.
        left_out: Folders that hold no run that can be read, and why, a line each.
    """

    runs: tuple[RunReport, ...]
    left_out: tuple[str, ...]


def read_runs(folders: Sequence[Path]) -> Found:
    """Read runs.

    Args:
        folders: Of runs, of experiments, or folders with such in them.

    Returns:
        The runs, in the order of the folders, each once.

    Raises:
        SettingsError: Not one run was found.
    """
    runs, left_out = [], []
    paths = {path.resolve(): path for folder in folders for path in _runs_in(folder)}
    for path in list(paths.values())[:_MOST_RUNS]:
        try:
            runs.append(read_run(path))
        except SettingsError as error:
            left_out.append(f"{path}: {error.what}")
    if len(paths) > _MOST_RUNS:
        left_out.append(f"{len(paths) - _MOST_RUNS} more runs: at most {_MOST_RUNS} are compared")
    if not runs:
        what = left_out[0] if left_out else f"no run is in {', '.join(map(str, folders))}"
        raise SettingsError(what, _REMEDY)
    return Found(tuple(runs), tuple(left_out))


def _runs_in(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder", _REMEDY)
    if (folder / METRICS_NAME).is_file():
        yield folder
        return
    listed, _ = _optional(folder / LIST_NAME, _Listed)
    if listed is not None:
        yield from (Path(os.path.normpath(folder / path)) for path in listed.runs)
        return
    yield from (file.parent for file in sorted(folder.glob(f"*/{METRICS_NAME}")))
    yield from (file.parent for file in sorted(folder.glob(f"*/*/{METRICS_NAME}")))


def read_run(folder: Path) -> RunReport:
    """Read one run, also one that has not come to its end.

    Args:
        folder: Its folder.

    Returns:
        Its report; ``notes`` says what of the folder is damaged or missing.

    Raises:
        SettingsError: No run begins in it.
    """
    notes: list[str] = []
    log, damaged = log_of(typed_or_none(folder / METRICS_NAME))
    if log is None:
        raise SettingsError(f"{folder / METRICS_NAME} holds no beginning of a run", _REMEDY)
    if damaged:
        notes.append(f"{damaged} lines of {METRICS_NAME} are damaged and were passed over")
    if not log.finished:
        notes.append(f"the run has not come to its end: {len(log.rounds)} rounds are shown")
    about = _noted(folder / ABOUT_NAME, _About, notes) or _About()
    kept = _noted(folder / _KEPT_NAME, _Kept, notes) or _Kept()
    begun = log.begun
    if begun.simulated:
        notes.append("its devices were simulated: seconds and phases are those of one process")
    data = about.dataset or about.data or str(begun.settings.get("data") or "unknown data")
    report = assemble(log, dataset=data)
    return structs.replace(
        report,
        folder=str(folder),
        codec=about.codec or report.codec,
        links=about.link,
        carried_out_by=about.backend or ("simulated" if begun.simulated else ""),
        versions=kept.settings.versions or _versions(begun),
        machine=kept.settings.machine or _machine(begun),
        faults=tuple(
            sorted(
                [*report.faults, *_injected(folder / INJECTED_NAME, begun, notes)],
                key=lambda fault: fault.at_s,
            )
        ),
        tables=_tables(folder / TABLES_NAME, notes),
        notes=tuple(notes),
    )


def typed_or_none(path: Path) -> Iterator[Struct | None]:
    """Events of a metrics file, None for each line that is damaged.

    Args:
        path: The file.

    Yields:
        The events.

    Raises:
        SettingsError: The file cannot be read.
    """
    for line in read_lines(path):
        if line is None:
            yield None
        else:
            yield from typed([line])


def _optional(path: Path, kind: type[T]) -> tuple[T | None, str]:
    """What a file holds, and what is wrong with it; a file that is not there is well."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            return None, f"{path.name} is too large, and was passed over"
        return msgspec.json.decode(data, type=kind), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        return None, f"{path.name} cannot be read, and was passed over: {error}"


def _noted(path: Path, kind: type[T], notes: list[str]) -> T | None:
    value, wrong = _optional(path, kind)
    if wrong:
        notes.append(wrong)
    return value


def _versions(begun: Begun) -> dict[str, str]:
    found = {"python": begun.python, "slfac": begun.slfac, "torch": begun.torch}
    return {name: version for name, version in found.items() if version}


def _machine(begun: Begun) -> dict[str, str]:
    return {"processor": begun.machine} if begun.machine else {}


def _injected(path: Path, begun: Begun, notes: list[str]) -> list[Fault]:
    if not path.exists():
        return []
    found, damaged = [], 0
    for line in read_lines(path):
        try:
            one = msgspec.convert(line, _Injected)
            at_s = round((one.time - begun.time).total_seconds(), 3)
        except msgspec.ValidationError:
            damaged += 1
            continue
        found.append(
            Fault(at_s=at_s, who=one.who, what=one.what, recovered_s=one.recovered_s, injected=True)
        )
    if damaged:
        notes.append(f"{damaged} lines of {path.name} are damaged and were passed over")
    return found


def _tables(path: Path, notes: list[str]) -> tuple[Table, ...]:
    tables = _noted(path, tuple[Table, ...], notes) or ()
    whole = tuple(t for t in tables if all(len(row) == len(t.columns) for row in t.rows))
    if len(whole) < len(tables):
        notes.append(f"{path.name}: a table with rows of another length was passed over")
    return whole

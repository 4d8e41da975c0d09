"""An experiment file: a base of settings, and matrices of what is varied over it."""

from __future__ import annotations

import difflib
import importlib.resources
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import tomli
from pydantic import BaseModel, ConfigDict, Field

from slfac.testbed.datasets.named import NAMES
from slfac.testbed.experiment.origin import REMEDY, SHORT
from slfac.testbed.experiment.published import PublishedFigure
from slfac.testbed.experiment.settings import RunSettings
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from importlib.abc import Traversable

_MAX_FILE_BYTES = 1 << 20
_MAX_RUNS = 100_000
# What experiments share lies beside the folders that have their names.
_SHARED_FOLDERS = ("runs", "data", "bundles")
_AXES = ("codec", "mode", "partition", "link", "seed")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
Axis = Annotated[tuple[Any, ...], Field(min_length=1)]


class Matrix(BaseModel):
    """One block of runs: every combination of what its lists hold.

    Attributes:
        codec: Codecs, each ``SPEC`` or ``UP@DOWN``.
        mode: Ways of split learning.
        partition: How the data is shared out.
        link: Links, each one text, or a list of texts, one a device; an empty text is none.
        seed: Seeds.
        set: Settings of this block's runs that differ from the base.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    codec: Axis | None = None
    mode: Axis | None = None
    partition: Axis | None = None
    link: Axis | None = None
    seed: Axis | None = None
    set: dict[str, Any] = {}


class ExperimentFile(BaseModel):
    """What an experiment file holds.

    Attributes:
        title: One line of what is compared.
        note: What a reader of its figures must know, such as that it is a reduced case.
        target: Accuracy in per cent; how soon each run gets there is then reported.
        base: Settings that all runs share, by the names of :class:`RunSettings`.
        matrix: Blocks of runs; a run that several of them have is carried out once.
        published: Figures of others to be shown beside them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(min_length=1, max_length=200)]
    note: Annotated[str, Field(max_length=2000)] = ""
    target: Annotated[float, Field(gt=0, le=100, strict=True)] | None = None
    base: dict[str, Any]
    matrix: Annotated[tuple[Matrix, ...], Field(min_length=1)]
    published: tuple[PublishedFigure, ...] = ()


_BLOCKS: dict[str, type[BaseModel]] = {"matrix": Matrix, "published": PublishedFigure}


@dataclass(frozen=True)
class Experiment:
    """An experiment, with every run spelt out.

    Attributes:
        name: Its name, that of its file.
        title: One line of what is compared.
        note: What a reader of its figures must know.
        target: Accuracy in per cent that is aimed at; None for none.
        runs: The runs, checked, in the order in which they are carried out.
        places: File and block of each run, by its settings as JSON.
        published: Figures of others to be shown beside them.
    """

    name: str
    title: str
    note: str
    target: float | None
    runs: tuple[RunSettings, ...]
    places: Mapping[str, str]
    published: tuple[PublishedFigure, ...] = ()

    def place(self, run: RunSettings) -> str:
        """File and block that a run comes from; the first, where several have it.

        Args:
            run: One of the runs.
        """
        return self.places[run.model_dump_json()]

    def label(self, run: RunSettings) -> str:
        """What to call a run: whatever tells it from others of the experiment.

        Args:
            run: One of the runs.
        """
        parts = [run.codec]
        for name in ("data", "mode", "partition", "link", "model", "devices"):
            if len({str(getattr(one, name)) for one in self.runs}) > 1:
                value = getattr(run, name)
                parts.append(", ".join(value) or "no limit" if name == "link" else str(value))
        return ", ".join([*parts, f"seed {run.seed}"])


def shipped() -> dict[str, Traversable]:
    """The experiment files that come with slfac, by name."""
    folder = importlib.resources.files("slfac.testbed.experiment") / "shipped"
    files = (file for file in folder.iterdir() if file.name.endswith(".toml"))
    return {file.name.removesuffix(".toml"): file for file in sorted(files, key=lambda f: f.name)}


def read_experiment(name: str, changes: Mapping[str, Any] | None = None) -> Experiment:
    """Read and check an experiment.

    Args:
        name: Name of one that comes with slfac, or a path of a TOML file.
        changes: Settings that all runs get, whatever the file says.

    Returns:
        The experiment.

    Raises:
        SettingsError: There is no such file; or a field of it is unknown, missing or out of
            range. The message names the file, the field, its value and what to do.
    """
    path = Path(name)
    known = shipped()
    if path.suffix != ".toml" and name in known:
        text, stem, folder = known[name].read_text("utf-8"), name, Path.cwd()
    else:
        text, stem, folder = _text(path, known), path.stem, path.parent
    file = _parsed(text, name)
    placed = list(_runs(file, name, folder, changes or {}))
    runs = _in_turn([run for run, _ in placed])
    places = {run.model_dump_json(): place for run, place in reversed(placed)}
    if not _NAME.fullmatch(stem) or stem in _SHARED_FOLDERS:
        raise SettingsError(
            f"{name} has a name that no folder of results shall have",
            "use letters, digits, dots, - and _, begin with a letter or a digit, and take none of "
            f"{', '.join(_SHARED_FOLDERS)}",
        )
    return Experiment(stem, file.title, file.note, file.target, tuple(runs), places, file.published)


def _text(path: Path, known: Mapping[str, Traversable]) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        near = f"; of slfac: {', '.join(known)}"
        raise SettingsError(
            f"cannot read {path}: {error.strerror}",
            f"give a TOML file, or the name of one that comes with slfac{near}",
        ) from error
    if len(data) > _MAX_FILE_BYTES:
        raise SettingsError(f"{path} is larger than {_MAX_FILE_BYTES} bytes", REMEDY)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is no text: {error}", REMEDY) from error


def _parsed(text: str, name: str) -> ExperimentFile:
    try:
        values = tomli.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name} is no TOML: {error}", REMEDY) from error
    try:
        return ExperimentFile(**values)
    except pydantic.ValidationError as error:
        raise _readable(error, name, "", ExperimentFile) from error


def _runs(
    file: ExperimentFile, name: str, folder: Path, changes: Mapping[str, Any]
) -> Iterator[tuple[RunSettings, str]]:
    count = 0
    for index, block in enumerate(file.matrix):
        axes = {axis: list(getattr(block, axis) or ()) for axis in _AXES}
        given = {axis: values for axis, values in axes.items() if values}
        where = f"{name}: matrix[{index}]"
        _check_axes(given, file.base, block, where)
        for values in itertools.product(*given.values()):
            count += 1
            if count > _MAX_RUNS:
                raise SettingsError(f"{name} has more than {_MAX_RUNS} runs", "vary less")
            one = {**file.base, **block.set, **dict(zip(given, values, strict=True)), **changes}
            yield _run(one, where, folder), where


def _in_turn(settings: Sequence[RunSettings]) -> list[RunSettings]:
    """Runs in the order in which they are carried out: seed by seed, each of them once.

    Whoever stops early has whole pairs for the seeds that were finished.
    """
    seeds = list(dict.fromkeys(one.seed for one in settings))
    unique = {one.model_dump_json(): one for one in settings}
    return sorted(unique.values(), key=lambda one: seeds.index(one.seed))


def _check_axes(
    given: Mapping[str, Sequence[Any]], base: Mapping[str, Any], block: Matrix, where: str
) -> None:
    for axis, values in given.items():
        if len({str(value) for value in values}) < len(values):
            raise SettingsError(f"{where}.{axis} is {values}", "give each value once")
        if axis in base or axis in block.set:
            raise SettingsError(
                f"{where}.{axis} is {values}, and the same setting has one value as well",
                "leave one of them out",
            )


def _run(values: Mapping[str, Any], where: str, folder: Path) -> RunSettings:
    try:
        run = RunSettings(**_placed(values, folder))
    except pydantic.ValidationError as error:
        raise _readable(error, where, " of its runs", RunSettings) from error
    try:
        run.check()
    except SettingsError as error:
        raise SettingsError(f"{where}: {error.what}", error.remedy or REMEDY) from error
    return run


def _placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The values, with a relative path of data taken from the file's folder."""
    data = values.get("data")
    if isinstance(data, str) and data not in NAMES and (folder / data).exists():
        return {**values, "data": str((folder / data).resolve())}
    return dict(values)


def _readable(
    error: pydantic.ValidationError, where: str, whose: str, model: type[BaseModel]
) -> SettingsError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return SettingsError(f"{where}: setting {name}{whose} is missing", REMEDY)
    what = f"{where}: setting {name} is {SHORT.repr(first['input'])}"
    if first["type"] == "extra_forbidden":
        fields = _BLOCKS.get(name.partition(".")[0], model).model_fields
        near = difflib.get_close_matches(name.rpartition(".")[2], fields, n=1, cutoff=0.0)
        return SettingsError(f"{what}, but there is no such setting", f"the nearest is {near[0]}")
    if first["type"] == "tuple_type":
        return SettingsError(f"{what}, and no list", "put it into brackets: [ ]")
    return SettingsError(f"{what}: {first['msg']}", REMEDY)

"""What a rate experiment runs: settings from the command line and from a plan file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import tomli
from pydantic import BaseModel, ConfigDict, Field

from slfac.server.optim_spec import parse_optimizer
from slfac.server.settings import TorchDevice, parse_partition
from slfac.testbed.experiment.points import BASELINE, CodecPoint, parse_point
from slfac.testbed.experiment.settings import RunSettings
from slfac.testbed.link import parse_link
from slfac.wire.errors import SettingsError

_REMEDY = "`slfac experiment rate --help` and docs/experiments.md say what is allowed"
_MAX_PLAN_BYTES = 1 << 20
_MAX_RESULT_BYTES = 1 << 28
# The front is all of the convolutions; the cut is 32x14x14 where images are 28x28.
_CNN = {"channels": [16, 32], "pool_after": [2]}


class RatePlan(BaseModel):
    """Everything a rate experiment can be told; a plan file has the same names.

    Attributes:
        name: Folder of the report within ``out``; the plan file's name where there is one.
        data: IDX folder with a train and a test split.
        split: ``validation`` scores on images held out of the training set, ``test`` on the
            test set. Settings are chosen with the first, and reported with the second.
        train_samples: Training images, the same ones for both splits.
        held_out: Images of the validation split.
        codecs: Codecs to run: a spec, or ``UP@DOWN``. ``none`` is always run.
        best_of: Result file of a validation experiment; the best setting of each of its
            families is run too. Only these are, where ``codecs`` is not given.
        seeds: Seeds to run each codec with.
        model: Model to train, from ``slfac.export.models``.
        kwargs: More arguments of the model.
        cut: Its cut layer.
        devices: Device processes of a run.
        partition: Spec of the partition over the devices.
        rounds: Rounds to train.
        steps_per_round: Steps of every device in a round; 0 means one pass of its data.
        batch_size: Samples a device puts into one step.
        optimizer: Spec of both halves' optimisers.
        torch_device: Where the back half is: ``auto``, ``cpu`` or ``cuda``.
        link: Bit rates of the devices' connections, such as ``5Mbit`` or ``1Mbit/10Mbit``;
            one for all, or one a device. Empty: as fast as loopback.
        target: Accuracy in per cent; how soon each codec gets there is then reported.
        best_within: Which loss of accuracy to accept when a best setting is named, in
            percentage points.
        jobs: Runs at a time.
        out: Folder for everything that is written; finished runs in it are reused.
        result: ``.json`` file to write all figures to, with tables (``.md``) and figure
            (``.svg``) beside it; None for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "adhoc"
    data: Path = Path("/usr/share/datasets/fashion-mnist")
    split: Literal["validation", "test"] = "validation"
    train_samples: Annotated[int, Field(ge=2, le=10**7)] = 10_000
    held_out: Annotated[int, Field(ge=1, le=10**7)] = 10_000
    codecs: tuple[str, ...] = (BASELINE, "fp16", "slfac")
    best_of: Path | None = None
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)] = (
        0,
        1,
        2,
    )
    model: str = "cnn"
    kwargs: dict[str, Any] = _CNN
    cut: str = "pool2"
    devices: Annotated[int, Field(ge=1, le=64)] = 2
    partition: str = "iid"
    rounds: Annotated[int, Field(ge=1, le=10**6)] = 4
    steps_per_round: Annotated[int, Field(ge=0, le=10**9)] = 0
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    optimizer: str = "sgd:lr=0.02,momentum=0.9"
    torch_device: TorchDevice = "auto"
    link: tuple[str, ...] = ()
    target: Annotated[float, Field(gt=0, le=100)] | None = None
    best_within: Annotated[float, Field(ge=0, le=100)] = 1.0
    jobs: Annotated[int, Field(ge=1, le=256)] = 1
    out: Path = Path("runs/experiments")
    result: Path | None = None

    @property
    def points(self) -> tuple[CodecPoint, ...]:
        """The codecs, ``none`` first; those that come to the same are named once."""
        points = {(p.up, p.down): p for p in map(parse_point, (BASELINE, *self.codecs))}
        return tuple(points.values())

    @property
    def runs(self) -> tuple[RunSettings, ...]:
        """Every run, seed by seed, so that an experiment that is stopped has whole pairs."""
        shared = self.model_dump(include=set(RunSettings.model_fields) - {"data"})
        return tuple(
            RunSettings(**shared, data=str(self.data), codec=point.label, seed=seed)
            for seed in self.seeds
            for point in self.points
        )


def rate_plan(file: Path | None = None, **values: Any) -> RatePlan:
    """Validate settings, those given taking precedence over a plan file's.

    Args:
        file: A TOML file with fields of :class:`RatePlan`; None for none.
        **values: Fields of :class:`RatePlan`.

    Returns:
        The plan.

    Raises:
        SettingsError: The file cannot be read; a field is unknown or out of range, or a
            spec is wrong.
    """
    if file is None:
        return _plan(values)
    merged = {"name": file.stem, **_read(file), **values}
    try:
        return _plan(merged)
    except SettingsError as error:
        raise SettingsError(f"{file}: {error.what}", error.remedy) from error


def _plan(merged: dict[str, Any]) -> RatePlan:
    if merged.get("best_of") is not None:
        merged["codecs"] = (*merged.get("codecs", ()), *_best_of(Path(merged["best_of"])))
    if "model" in merged:
        merged.setdefault("kwargs", {})
        if "cut" not in merged:
            raise SettingsError("setting cut is missing", "a model of your choice needs its cut")
    try:
        plan = RatePlan(**merged)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        what = f"setting {field} is {first['input']!r}: {first['msg']}"
        raise SettingsError(what, _REMEDY) from error
    _check(plan)
    return plan


def _check(plan: RatePlan) -> None:
    if len(set(plan.seeds)) < len(plan.seeds):
        raise SettingsError(f"setting seeds is {plan.seeds}", "give each seed once")
    if len(plan.link) > plan.devices:
        raise SettingsError(
            f"setting link has {len(plan.link)} rates for {plan.devices} devices",
            "give one for all, or one a device",
        )
    if plan.result is not None and plan.result.suffix != ".json":
        raise SettingsError(
            f"setting result is {str(plan.result)!r}",
            "give a name that ends in .json; tables and figure go beside it as .md and .svg",
        )
    for text in plan.codecs:
        parse_point(text)
    for text in plan.link:
        parse_link(text)
    parse_optimizer(plan.optimizer)
    parse_partition(plan.partition)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomli.loads(_text(file, _MAX_PLAN_BYTES))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{file} is no TOML: {error}", _REMEDY) from error


class _ChosenIn(msgspec.Struct):
    split: Literal["validation", "test"]


class _Setting(msgspec.Struct):
    codec: str


class _Chosen(msgspec.Struct):
    plan: _ChosenIn
    best: dict[str, _Setting]


def _best_of(file: Path) -> tuple[str, ...]:
    try:
        chosen = msgspec.json.decode(_text(file, _MAX_RESULT_BYTES), type=_Chosen)
    except msgspec.MsgspecError as error:
        raise SettingsError(
            f"{file} is no result: {error}", "give what --result of an experiment wrote"
        ) from error
    if chosen.plan.split != "validation":
        raise SettingsError(
            f"the runs of {file} were scored on the test set",
            "choose settings by a result of --split validation",
        )
    return tuple(setting.codec for setting in chosen.best.values())


def _text(file: Path, most_bytes: int) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise SettingsError(f"{file} is larger than {most_bytes} bytes", _REMEDY)
        return data.decode()
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}", _REMEDY) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is no text: {error}", _REMEDY) from error

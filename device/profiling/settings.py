"""What is measured, for how long, and how often."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from slfac.codec import make_codec
from slfac.wire.errors import SettingsError

_FIELD = re.compile(r"(.*) - at `\$\.(\w+)(?:\[[^`]*)?`", re.DOTALL)
_HELP = "`slfac profile run --help` and docs/profiling.md say what is allowed"
#: An interval from fewer repetitions says little.
LEAST_REPETITIONS = 5
#: As for a first look: what is drawn is seen by too few readings, and a board has no time to
#: get as hot as in training.
QUICK = {"idle_s": 2.0, "gap_s": 0.5, "warm_up": 2, "least_s": 0.2}
Seconds = Annotated[float, Meta(ge=0, le=3600)]


class ProfileSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be said about a measurement but which sensor is read.

    Attributes:
        bundles: Fronts that are measured.
        codecs: Codecs that are measured on what these fronts give.
        batch_size: Samples of a batch.
        threads: Threads of onnxruntime, and of NumPy in codecs and optimiser.
        data: Data set that batches are loaded from; None for seeded noise.
        optimizer: What updates the fronts.
        idle_s: How long the board is left alone before and after.
        gap_s: How long it is before each front and codec, where a sensor is read.
        warm_up: Batches that are not counted.
        repetitions: Of everything; intervals are over these.
        least_s: How long each of them lasts at least.
        array_mib: Size of what is copied and set; 0 to choose it by caches and free memory.
        seed: Of noise, batches and gradients.
    """

    bundles: Annotated[tuple[Path, ...], Meta(max_length=64)] = ()
    codecs: Annotated[tuple[str, ...], Meta(max_length=64)] = (
        *("none", "fp16", "slfac", "slfac-rd:step=0.6"),
    )
    batch_size: Annotated[int, Meta(ge=2, le=65536)] = 32
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    data: Path | None = None
    optimizer: str = "sgd:lr=0.001,momentum=0.9"
    idle_s: Seconds = 60.0
    gap_s: Seconds = 2.0
    warm_up: Annotated[int, Meta(ge=0, le=10_000)] = 20
    repetitions: Annotated[int, Meta(ge=LEAST_REPETITIONS, le=100)] = LEAST_REPETITIONS
    least_s: Annotated[float, Meta(gt=0, le=3600)] = 3.0
    array_mib: Annotated[int, Meta(ge=0, le=65536)] = 0
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 0


def profile_settings(**values: Any) -> ProfileSettings:
    """Validate settings, with errors that name the field, its value and the remedy.

    Args:
        **values: Fields of :class:`ProfileSettings`.

    Returns:
        The settings.

    Raises:
        SettingsError: A field is unknown or out of range, a codec is unknown, or a bundle or a
            codec is named twice.
    """
    try:
        settings = msgspec.convert(values, ProfileSettings, dec_hook=_path)
    except msgspec.ValidationError as error:
        match = _FIELD.fullmatch(str(error))
        if match is None:
            raise SettingsError(f"settings: {error}", _HELP) from error
        value = values.get(match[2])
        raise SettingsError(f"setting {match[2]} is {value!r}: {match[1]}", _HELP) from error
    _refuse_twins("codec", [make_codec(spec).spec for spec in settings.codecs])
    _refuse_twins("bundle", [str(path.resolve()) for path in settings.bundles])
    return settings


def _refuse_twins(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{what} {name} is given twice", "give each of them once")


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    # msgspec adds the field's name to a TypeError, not to an error of its own.
    raise TypeError(f"Expected a path, got {type(value).__name__}")

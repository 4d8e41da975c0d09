"""Turns what pydantic finds wrong with an inventory into one line that names where it stands."""

from __future__ import annotations

import difflib
import reprlib
from typing import Any

import pydantic
from pydantic import BaseModel

from slfac.testbed.inventory.yaml_file import Document, Place
from slfac.wire.errors import SettingsError

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_PATTERN = "string_pattern_mismatch"


def readable(
    error: pydantic.ValidationError, document: Document, root: type[BaseModel], remedy: str
) -> SettingsError:
    """The first fault, and how many more there are.

    Args:
        error: What pydantic found.
        document: What was checked.
        root: The model that it was checked against.
        remedy: What to do where the fault itself does not tell.

    Returns:
        The error to raise.
    """
    everything = error.errors()
    # A list whose items are at fault counts as too short as well.
    faults = [fault for fault in everything if not _is_above(fault["loc"], everything)]
    first = min(faults, key=lambda fault: _line(document, fault["loc"]))
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    place = first["loc"]
    name = field_name(place)
    what = f"{document.at(place)}: {name or 'the file'} "
    if first["type"] == "missing":
        return SettingsError(f"{what}is missing{more}", remedy)
    if first["type"] == "extra_forbidden":
        known = _fields(root, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.0)
        what = f"{document.at(place)}: there is no field {name}{more}"
        return SettingsError(what, f"the nearest is {near[0]}" if near else remedy)
    what += f"is {_SHORT.repr(first['input'])}"
    if first["type"] == "value_error":
        return SettingsError(f"{what}{more}", str(first["ctx"]["error"]))
    if first["type"] == "tuple_type":
        return SettingsError(f"{what}, and no list{more}", "put it into brackets: [ ]")
    if first["type"] == _PATTERN:
        return SettingsError(f"{what}, with characters that it cannot have{more}", remedy)
    return SettingsError(f"{what}: {first['msg']}{more}", remedy)


def field_name(place: Place) -> str:
    """How a field is called in errors, such as ``devices[0].host``.

    Args:
        place: The keys and indices that lead there.
    """
    name = ""
    for part in place:
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    return name.removeprefix(".")


def spots(model: type[BaseModel]) -> list[str]:
    """Names of a model's fields as they stand in a file.

    Args:
        model: The model.
    """
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_above(place: Place, faults: list[Any]) -> bool:
    below = [fault["loc"] for fault in faults if len(fault["loc"]) > len(place)]
    return any(other[: len(place)] == place for other in below)


def _line(document: Document, place: Place) -> int:
    for length in range(len(place), 0, -1):
        if place[:length] in document.lines:
            return document.lines[place[:length]]
    return 0


def _fields(root: type[BaseModel], place: Place) -> list[str]:
    """Fields that a place may have."""
    model: Any = root
    for part in place:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
        named = {field.alias or name: field for name, field in model.model_fields.items()}
        if part in named:
            model = _model_in(named[str(part)].annotation)
    return spots(model) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: Any) -> Any:
    """The model in an annotation such as ``tuple[Model, ...]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_in(part) for part in getattr(annotation, "__args__", ())]
    return next((part for part in inner if part is not None), None)

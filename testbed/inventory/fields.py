"""Quantities as fields of models: read from text with its unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator

from slfac.testbed.quantities import Rates, parse_rates, parse_share, parse_time
from slfac.wire.errors import SettingsError


def _rates(value: Any) -> Any:
    return value if isinstance(value, Rates) else _told(parse_rates, value)


def _time(value: Any) -> Any:
    return 0.0 if value == 0 else _told(parse_time, value)


def _share(value: Any) -> Any:
    return 0.0 if value == 0 else _told(parse_share, value)


def _told(parse: Callable[[str], Any], value: Any) -> Any:
    # Pydantic turns these into errors of its own. Only 0 may go without its unit.
    if not isinstance(value, str):
        raise ValueError("give a number with its unit")
    try:
        return parse(value)
    except SettingsError as error:
        raise ValueError(error.remedy) from error


RateField = Annotated[Rates, BeforeValidator(_rates)]
TimeField = Annotated[float, BeforeValidator(_time)]
ShareField = Annotated[float, BeforeValidator(_share)]

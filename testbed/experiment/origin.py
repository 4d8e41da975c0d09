"""Says in an error which file, block and setting of an experiment it comes from."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

from slfac.testbed.experiment.settings import RunSettings
from slfac.wire.errors import DataError, ExportError, SettingsError

REMEDY = "docs/experiments.md lists what is allowed"
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 120


@contextmanager
def coming_from(where: str, run: RunSettings) -> Iterator[None]:
    """Have what is said of a run name its place in the file, and the setting and its value.

    Args:
        where: File and block.
        run: The run that is made ready within.

    Raises:
        SettingsError: What was raised within, with these.
        DataError: Likewise.
        ExportError: Likewise.
    """
    try:
        yield
    except (SettingsError, DataError, ExportError) as error:
        name = _setting(error)
        of = f"setting {name} is {SHORT.repr(getattr(run, name))}: " if name else ""
        raise type(error)(f"{where}: {of}{error.what}", error.remedy or REMEDY) from error


def _setting(error: SettingsError | DataError | ExportError) -> str:
    """The setting that an error is about and does not name itself."""
    if isinstance(error, ExportError):
        return error.argument
    return "data" if isinstance(error, DataError) else ""

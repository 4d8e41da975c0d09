"""Says in an export's error which argument it is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from slfac.wire.errors import ExportError


@contextmanager
def judging(argument: str) -> Iterator[None]:
    """Note the argument that an error within is about, unless one is noted already.

    Args:
        argument: Name of an argument of :func:`slfac.export.export_bundle`.

    Raises:
        ExportError: What was raised within.
    """
    try:
        yield
    except ExportError as error:
        error.argument = error.argument or argument
        raise

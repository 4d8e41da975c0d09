"""The inventory that ``slfac testbed init`` writes, with a comment at each setting."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from slfac.wire.errors import SettingsError


def template() -> str:
    """The text of an example, which is a valid inventory."""
    return files(__package__).joinpath("example.yaml").read_text("utf-8")


def write_template(file: Path) -> None:
    """Write the example.

    Args:
        file: Where to; nothing must be there.

    Raises:
        SettingsError: Something is there, or it cannot be written.
    """
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(template())
    except FileExistsError as error:
        what = f"{file} exists"
        raise SettingsError(what, "give another name, or remove it first") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"cannot write {file}: {why}", "give another place") from error

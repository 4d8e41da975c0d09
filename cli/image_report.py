"""What a command on images found out, as a file for other programs."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path

from slfac import __version__
from slfac.wire.errors import SettingsError


def write_report(target: Path, command: str, told: Mapping[str, object]) -> None:
    """Write it.

    Args:
        target: The file.
        command: What found it out.
        told: What it found out.

    Raises:
        SettingsError: The file cannot be written.
    """
    date = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
    report = {"command": command, "slfac": __version__, "date": date, **told}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"--json is {str(target)!r}, which cannot be written: {error.strerror}",
            "name another file",
        ) from error

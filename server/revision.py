"""From which state of its sources slfac was started."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_TIMEOUT_S = 5.0


def source_revision(file: Path = Path(__file__)) -> str:
    """The commit of the git repository that slfac runs from.

    A package that was installed is of no repository, though its folder may lie in one.

    Args:
        file: A file of the package.

    Returns:
        Twelve digits of the commit, with ``-dirty`` where files differ from it; empty where
        slfac runs from no repository, or there is no git.
    """
    git = shutil.which("git")
    if git is None:
        return ""
    file = file.resolve()
    if not _says([git, "ls-files", "--error-unmatch", file.name], file.parent):
        return ""
    return _says(
        [git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], file.parent
    )


def _says(command: list[str], folder: Path) -> str:
    """What git says, or nothing where it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands, without a shell
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

"""How many files and sockets the server's process may hold open."""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)


def raise_open_files() -> None:
    """Raise the process's soft limit of open files to the hard one.

    Each connection takes a descriptor before its key is known, and the usual soft limit of
    1024 leaves few for strangers to use up before checkpoints cannot be written.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # Some systems take less than the hard limit that they name.
        _log.warning("the limit of %d open files stays: %s", soft, error)

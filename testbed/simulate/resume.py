"""How a simulation that was stopped goes on: its devices and its server from one moment."""

from __future__ import annotations

from pathlib import Path

from slfac.device.journal import Journal
from slfac.server.kept import KeptReplies, Place
from slfac.server.resume import Checkpoint, whole_checkpoints
from slfac.server.settings import ServerSettings
from slfac.wire.transfer import Frames


class Unkept(KeptReplies):
    """Keeps no replies: no simulated device makes its steps again while its server goes on.

    At full size the replies of a round take more than a disk writes in its time.
    """

    def keep(self, index: int, round_: int, step: int, frames: Frames, *, part: int = 0) -> None:
        """Take note that a round has begun."""
        del step, frames, part
        self._places.setdefault((index, round_), {})
        self._ends[index, round_] = 0

    def has(self, index: int, round_: int) -> bool:
        """Nothing is held."""
        del index, round_
        return False

    def seal(self, round_: int, folder: Path) -> dict[str, list[Place]]:
        """Nothing goes into a checkpoint."""
        del round_, folder
        return {}


def journals_of(settings: ServerSettings) -> Path:
    """Folder of the devices' journals.

    Args:
        settings: The server's settings.
    """
    return settings.out / "journal"


def common_checkpoint(settings: ServerSettings, newest: Checkpoint) -> Checkpoint:
    """The newest checkpoint of whose round all devices hold the beginning.

    A simulation may have been stopped while they took it down, one after the other. Each keeps
    two, and so does the server: what was made since is made again.

    Args:
        settings: The server's settings.
        newest: What to go on from where there is none, as after the last round; devices then
            begin with fresh optimisers, as real ones do.
    """
    for checkpoint in whole_checkpoints(settings.out):
        if _held_by_all(settings, checkpoint):
            return checkpoint
    return newest


def _held_by_all(settings: ServerSettings, checkpoint: Checkpoint) -> bool:
    standing, folder = checkpoint.standing, journals_of(settings)
    optimizer = settings.plan().optimizer
    journals = [
        Journal(folder, standing.run, standing.names[index], standing.bundle, optimizer)
        for index in standing.members
    ]
    at = len(standing.rounds)
    return bool(journals) and all(journal.read(at) is not None for journal in journals)

"""A rank's folder in that of its run, and whose it is.

``OUT/rank-0/`` and so on each hold what a run's folder holds, and ``rank.json``, which says of
which torchrun the rank was, and whether it failed for a reason that no restart cures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from slfac.server.metrics import METRICS_NAME
from slfac.server.resume import RANK_PREFIX
from slfac.server.shard.torchrun import Torchrun
from slfac.wire.errors import RunError, SettingsError, TrainingError

_NAME = "rank.json"
Begin = Literal["afresh", "again", "resume"]


class Mark(msgspec.Struct, frozen=True):
    """Whose a rank's folder is.

    Attributes:
        launch: As in :class:`Torchrun`.
        rank: The rank.
        world: How many ranks there were.
        failed: Why the run cannot go on; empty where it can.
    """

    launch: str
    rank: int
    world: int
    failed: str = ""


class RankFolder:
    """The folder of one rank.

    Args:
        out: The run's folder.
        torchrun: The rank.

    Attributes:
        path: The folder.
    """

    def __init__(self, out: Path, torchrun: Torchrun) -> None:
        self.path = out / f"{RANK_PREFIX}{torchrun.rank}"
        self._torchrun = torchrun

    def take(self, *, resume: bool) -> Begin:
        """Make the folder this rank's.

        Args:
            resume: Whether the user asked to go on with the run in it.

        Returns:
            ``afresh`` for a new run; ``again`` if this torchrun has started it before;
            ``resume`` to go on with another's.

        Raises:
            RunError: This torchrun has found before that the run cannot go on.
            SettingsError: The folder holds a run that nobody asked to go on with, or none that
                these ranks can go on with, or cannot be written.
        """
        mark, launch = self._read(), self._torchrun.launch
        again = mark is not None and mark.launch == launch
        if mark is not None and again and mark.failed:
            raise RunError(
                f"the run in {self.path.parent} cannot go on: {mark.failed}",
                "no restart cures that",
            )
        begun = (self.path / METRICS_NAME).exists()
        if begun and not again and not resume:
            raise SettingsError(
                f"setting out is {str(self.path.parent)!r}, which holds an earlier run",
                "choose another folder, or go on with it: --resume",
            )
        if resume or again:
            self._check_world(mark)
        self._write(Mark(launch, self._torchrun.rank, self._torchrun.world))
        if again:
            return "again"
        return "resume" if resume else "afresh"

    def give_up(self, reason: str) -> None:
        """Take down that no restart can go on with the run.

        Args:
            reason: Why.
        """
        torchrun = self._torchrun
        self._write(Mark(torchrun.launch, torchrun.rank, torchrun.world, reason))

    def _check_world(self, mark: Mark | None) -> None:
        world = self._torchrun.world
        if mark is None:
            raise SettingsError(
                f"setting resume is {str(self.path.parent)!r}, which holds nothing of rank "
                f"{self._torchrun.rank}",
                "give the folder of a run that torchrun started, on each machine its own",
            )
        if mark.world != world:
            raise SettingsError(
                f"setting resume is {str(self.path.parent)!r}, a run of {mark.world} ranks, and "
                f"torchrun started {world}",
                "start as many",
            )

    def _read(self) -> Mark | None:
        try:
            return msgspec.json.decode((self.path / _NAME).read_bytes(), type=Mark)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self, mark: Mark) -> None:
        fresh = self.path / f".{_NAME}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(mark))
            fresh.replace(self.path / _NAME)
        except OSError as error:
            raise TrainingError(
                f"cannot write {self.path / _NAME}: {error.strerror}", "free some space"
            ) from error

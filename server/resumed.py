"""The settings of a run that goes on: those that it began with, and the few that may change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slfac.server.resume import has_ended, newest_standing, run_folder
from slfac.wire.errors import SettingsError

# What may be another after a restart: nothing of it bears on the weights.
_FREE = {
    "out", "resume", "bind", "announce", "advertise", "keys", "insecure", "data", "rounds",
    "bundle", "grace_s", "join_timeout_s", "idle_timeout_s", "step_timeout_s", "torch_device",
    "threads", "allow_factories", "page", "prometheus", "tensorboard",
}  # fmt: skip


def resumed_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the run in ``out``, with those that may be changed as they are given.

    Args:
        values: Fields of :class:`slfac.server.settings.ServerSettings`, ``out`` among them.

    Returns:
        Fields for the whole run.

    Raises:
        SettingsError: There is no such run, it is over, or a setting is given that would make
            another run of it.
    """
    folder = run_folder(Path(values["out"]))
    standing = newest_standing(folder)
    for name, value in values.items():
        kept = standing.settings.get(name)
        if name not in _FREE and _plain(value) != kept:
            raise SettingsError(
                f"setting {name} is {value!r}, and the run in {values['out']} has {kept!r}",
                "leave it out, or start a new run with another --out",
            )
    rounds, finished = values.get("rounds"), len(standing.rounds)
    if (rounds or finished) == finished and has_ended(folder):
        raise SettingsError(
            f"the run in {values['out']} is over after {finished} rounds",
            f"--rounds {finished + 1} would go on with it",
        )
    if isinstance(rounds, int) and rounds < finished:
        raise SettingsError(
            f"setting rounds is {rounds}, and the run in {values['out']} has finished {finished}",
            "leave it out, or give more",
        )
    # Devices that were enrolled since are not in it.
    return {**standing.settings, **values, "devices": standing.names}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

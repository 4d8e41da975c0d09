"""What torchrun tells each process that it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from slfac.wire.errors import SettingsError

# torchrun's name for a run that was given none.
_NAMELESS = "none"


@dataclass(frozen=True)
class Torchrun:
    """One process of a torchrun.

    Attributes:
        rank: Its number among all, from 0.
        world: How many there are.
        local_rank: Its number on its machine, from 0.
        local_world: How many there are on its machine.
        launch: Tells one torchrun from another: its ``--rdzv-id``, or where it has none, the
            process that it is.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    launch: str


def under_torchrun(environment: Mapping[str, str] = os.environ) -> Torchrun | None:
    """What torchrun says about this process.

    Args:
        environment: The process's environment.

    Returns:
        It; None for a process that torchrun did not start.

    Raises:
        SettingsError: A variable is missing or no number.
    """
    if "TORCHELASTIC_RUN_ID" not in environment:
        return None
    try:
        name = environment["TORCHELASTIC_RUN_ID"]
        return Torchrun(
            rank=int(environment["RANK"]),
            world=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            local_world=int(environment["LOCAL_WORLD_SIZE"]),
            launch=name if name != _NAMELESS else _starter(),
        )
    except (KeyError, ValueError) as error:
        raise SettingsError(
            f"torchrun's variables of the environment are not whole: {error}",
            "start the server with `torchrun ... -m slfac.server`",
        ) from error


def _starter() -> str:
    # Numbers of processes are used again, in containers above all.
    starter = psutil.Process(os.getppid())
    return f"{starter.pid}@{starter.create_time():.2f}"

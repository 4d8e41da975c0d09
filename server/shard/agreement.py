"""What ranks must agree on before any of them begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from slfac.server.peers import Peers
from slfac.server.settings import ServerSettings
from slfac.wire.errors import SettingsError

# What may be each machine's own: nothing of it bears on the weights.
_OWN = {
    "bundle",
    "keys",
    "data",
    "bind",
    "advertise",
    "torch_device",
    "threads",
    "page",
    "prometheus",
}


class Stand(msgspec.Struct, frozen=True):
    """Where a rank stands when it starts.

    Attributes:
        run: Id of the run that it would go on with, or begin.
        rounds: Finished rounds of each of its whole checkpoints.
        settings: What must be the same on all ranks.
    """

    run: str
    rounds: tuple[int, ...]
    settings: dict[str, Any]


def agree(peers: Peers, settings: ServerSettings, run: str, rounds: Sequence[int]) -> int | None:
    """Find the newest checkpoint that all ranks have.

    Args:
        peers: The ranks.
        settings: This rank's settings.
        run: Id of the run of its checkpoints; empty for none.
        rounds: Finished rounds of each of its whole checkpoints.

    Returns:
        Finished rounds of the newest that all have; None to begin anew.

    Raises:
        SettingsError: Ranks have different settings, checkpoints of different runs, or some
            have trained rounds of which others have nothing.
    """
    common = {name: value for name, value in settings.stored().items() if name not in _OWN}
    told = peers.gather(msgspec.json.encode(Stand(run, tuple(rounds), common)))
    stands = [msgspec.json.decode(entry, type=Stand) for entry in told]
    for rank, stand in enumerate(stands):
        _check_same(rank, stands[0].settings, stand.settings)
    shared = set(stands[0].rounds).intersection(*(stand.rounds for stand in stands))
    if shared and len({stand.run for stand in stands}) > 1:
        raise SettingsError(
            f"the ranks' folders hold runs {', '.join(stand.run for stand in stands)}",
            "give all ranks the folders of one run",
        )
    # Before the first round nothing has been learned that could be lost.
    if shared or not any(any(stand.rounds) for stand in stands):
        return max(shared, default=None)
    held = "; ".join(
        f"rank {rank} after rounds {', '.join(map(str, sorted(stand.rounds))) or '-'}"
        for rank, stand in enumerate(stands)
    )
    raise SettingsError(
        f"no checkpoint is whole on all ranks: {held}",
        "bring the missing rank's folder to its machine, or start a new run with another --out",
    )


def _check_same(rank: int, first: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in first.items():
        if other.get(name) != value:
            raise SettingsError(
                f"setting {name} is {value!r} on rank 0 and {other.get(name)!r} on rank {rank}",
                "give all ranks the same",
            )

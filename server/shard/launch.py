"""Runs the server of one rank, from torchrun's variables to the run's end."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from slfac.server.metrics import Listener
from slfac.server.result import RunResult
from slfac.server.run import Server
from slfac.server.settings import ServerSettings
from slfac.server.shard.group import Group, RankLostError, first_line
from slfac.server.shard.rendezvous import fresh_store
from slfac.server.shard.seat import ShardSeat, is_final
from slfac.server.shard.torchrun import Torchrun
from slfac.wire.errors import SettingsError, SlfacError

# Ranks wait for one another as long as for devices, and while one of them evaluates.
_LEEWAY_S = 600.0


def run_rank(settings: ServerSettings, torchrun: Torchrun, listener: Listener) -> RunResult:
    """Do a rank's part in a run.

    Args:
        settings: What all ranks are to do.
        torchrun: The rank.
        listener: Called with every metrics event.

    Returns:
        The run's result, with the devices that this rank served.

    Raises:
        SlfacError: A branch of it. :class:`RankLostError` where it is another rank's failure.
    """
    group = _join(settings, torchrun)
    seat = None
    try:
        seat = ShardSeat(settings, torchrun, group)
        with Server(settings, listener, seat) as server:
            result = server.run()
    except SlfacError as error:
        if is_final(error):
            group.declare(str(error))
            if seat is not None:
                seat.give_up(error)
        raise
    dist.destroy_process_group()
    return result


def _join(settings: ServerSettings, torchrun: Torchrun) -> Group:
    backend = "gloo"
    if settings.torch_device != "cpu" and torch.cuda.is_available():
        if torchrun.local_rank >= torch.cuda.device_count():
            raise SettingsError(
                f"rank {torchrun.rank} has no GPU: this machine has {torch.cuda.device_count()}, "
                f"and torchrun started {torchrun.local_world} processes on it",
                "start one a GPU, or use --torch-device cpu",
            )
        torch.cuda.set_device(torchrun.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    waits_s = (settings.step_timeout_s, settings.idle_timeout_s, settings.grace_s)
    limit = timedelta(seconds=max(waits_s) + _LEEWAY_S)
    try:
        shared, rank, world = next(iter(rendezvous("env://", timeout=limit)))
        shared.set_timeout(limit)
        store = fresh_store(shared, rank=rank, world=world, limit_s=limit.total_seconds())
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit)
    except (RuntimeError, ValueError) as error:
        raise RankLostError(
            f"rank {torchrun.rank} cannot reach the others: {first_line(error)}",
            "check torchrun's --rdzv-endpoint, and the firewall between the machines",
        ) from error
    return Group(cast("dist.ProcessGroup", dist.group.WORLD), store, rank=rank, world=world)

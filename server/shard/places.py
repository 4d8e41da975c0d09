"""Which rank serves which device, and where it listens."""

from __future__ import annotations

from collections.abc import Sequence

from slfac.server.live.address import ListenAddress, parse_listen
from slfac.server.shard.torchrun import Torchrun
from slfac.wire.addresses import check_address, is_everywhere, join_address, split_address
from slfac.wire.errors import SettingsError

_LAST_PORT = 65535


def share_out(devices: int, world: int, shards: Sequence[int] = ()) -> list[int]:
    """The rank of each device.

    Devices of one rank are neighbours, so that sums that go by rank and then by index go by index.

    Args:
        devices: How many devices the run counts.
        world: How many ranks there are.
        shards: How many devices each rank serves; empty to share them out evenly, the first
            ranks serving one more where that does not come out even.

    Returns:
        A rank for each index.

    Raises:
        SettingsError: ``shards`` does not fit the ranks or the devices.
    """
    if not shards:
        shards = [devices // world + (rank < devices % world) for rank in range(world)]
    if len(shards) != world or sum(shards) != devices:
        raise SettingsError(
            f"setting shards is {','.join(map(str, shards))}: {len(shards)} ranks with "
            f"{sum(shards)} devices; this run has {world} with {devices}",
            "leave it out to share the devices out evenly",
        )
    return [rank for rank, count in enumerate(shards) for _ in range(count)]


def own_bind(bind: str, torchrun: Torchrun) -> str:
    """The address that a rank binds.

    Args:
        bind: The setting: a machine's first rank binds it, and each further one the next port.
        torchrun: The rank.

    Returns:
        The address.

    Raises:
        SettingsError: There is no such port.
    """
    host, port = split_address(bind)
    if not port:
        return bind
    own = port + torchrun.local_rank
    if own > _LAST_PORT:
        raise SettingsError(
            f"setting bind is {bind}, and rank {torchrun.rank} would listen on port {own}",
            "choose a lower port",
        )
    return join_address(host, own)


def own_listen(listen: str, torchrun: Torchrun) -> str:
    """Where a rank serves its page or metrics: like sockets for devices, on ports of their own.

    Args:
        listen: The setting, ``[HOST:]PORT``; empty for nowhere.
        torchrun: The rank.

    Returns:
        The same, for this rank.
    """
    if not listen:
        return listen
    place = parse_listen(listen)
    return (
        str(ListenAddress(place.host, place.port + torchrun.local_rank)) if place.port else listen
    )


def told_address(bound: str, advertise: str, torchrun: Torchrun) -> str:
    """What devices are told of where a rank listens.

    Args:
        bound: Where it listens, port included.
        advertise: The setting: the host that devices reach; empty for the one bound.
        torchrun: The rank.

    Returns:
        An address; with host ``*`` where all ranks share the host that a device has reached.

    Raises:
        SettingsError: Ranks are on several machines, and nobody said under which host this one
            is reached.
    """
    host, port = split_address(bound)
    if advertise:
        host = advertise
    elif is_everywhere(host):
        if torchrun.local_world != torchrun.world:
            raise SettingsError(
                f"rank {torchrun.rank} listens at {bound}, and devices that reach another machine "
                "could not be told where that is",
                "pass --advertise HOST on each machine, or --bind with its own address",
            )
        host = "*"
    return check_address(join_address(host, port))

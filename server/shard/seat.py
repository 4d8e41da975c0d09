"""The part that one rank has in a run."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from slfac.server.evaluate import Evaluator
from slfac.server.modes.kinds import PARALLEL, parse_mode
from slfac.server.resume import whole_checkpoints
from slfac.server.seat import Seat, new_run
from slfac.server.settings import ServerSettings
from slfac.server.shard.agreement import agree
from slfac.server.shard.evaluator import SharedEvaluator
from slfac.server.shard.folder import RankFolder
from slfac.server.shard.group import Group, RankLostError
from slfac.server.shard.places import own_bind, own_listen, share_out, told_address
from slfac.server.shard.torchrun import Torchrun
from slfac.wire.bundle import Bundle
from slfac.wire.errors import LinkError, SettingsError, SlfacError


class Place(msgspec.Struct, frozen=True):
    """What a rank tells the others about itself.

    Attributes:
        address: Where devices reach it.
        bundle: Id of its bundle.
        names: Names of the run's devices, by index.
    """

    address: str
    bundle: str
    names: tuple[str, ...]


class ShardSeat(Seat):
    """The part of a rank, which serves some of its run's devices.

    Args:
        settings: What all ranks are to do.
        torchrun: The rank.
        group: All ranks.

    Raises:
        RunError: This torchrun has found before that the run cannot go on.
        SettingsError: The settings cannot be those of several ranks, or not of these; or the
            folder holds nothing that they can go on with, or something that nobody asked to
            go on with.
    """

    peers: Group

    def __init__(self, settings: ServerSettings, torchrun: Torchrun, group: Group) -> None:
        if parse_mode(settings.mode).kind is not PARALLEL:
            raise SettingsError(
                f"setting mode is {settings.mode!r}, which one server must do alone",
                "use mode parallel, or start the server without torchrun",
            )
        if settings.micro_batches > 1:
            raise SettingsError(
                f"setting micro_batches is {settings.micro_batches}, but ranks train whole batches",
                f"leave it out; stream_blocks = {settings.micro_batches} sends them in parts",
            )
        self.peers = group
        self._torchrun = torchrun
        self._folder = RankFolder(settings.out, torchrun)
        bind = own_bind(settings.bind, torchrun)
        self._again = self._folder.take(resume=settings.resume) == "again"
        own = {
            "out": self._folder.path,
            "bind": bind,
            "micro_batches": 1,
            # Whoever finds one rank is sent on.
            "announce": settings.announce and torchrun.rank == 0,
            "page": own_listen(settings.page, torchrun),
            "prometheus": own_listen(settings.prometheus, torchrun),
        }
        self.settings = settings.model_copy(update=own)
        resumes = self._again or settings.resume
        found = (
            {len(each.standing.rounds): each for each in whole_checkpoints(self._folder.path)}
            if resumes
            else {}
        )
        run = next((each.standing.run for each in found.values()), "")
        rounds = agree(group, settings, run, tuple(found))
        if rounds is None and settings.resume and not self._again:
            raise SettingsError(
                f"setting resume is {str(settings.out)!r}, which holds no checkpoint",
                "start a new run with another --out",
            )
        self.resumed = found[rounds] if rounds is not None else None
        self.run = run if self.resumed else group.gather(new_run().encode())[0].decode()

    @property
    def keep_bytes(self) -> int | None:
        """See :attr:`Seat.keep_bytes`; what this torchrun began itself may go."""
        return super().keep_bytes if self.resumed or not self._again else 0

    def evaluator(self, bundle: Bundle) -> Evaluator | None:
        """See :meth:`Seat.evaluator`; the first rank's scores are all ranks'."""
        if self.settings.data is None:
            return None
        own = super().evaluator(bundle) if self.peers.rank == 0 else None
        return SharedEvaluator(own, self.peers)

    def elsewhere(self, bundle: Bundle, names: tuple[str, ...], address: str) -> Mapping[int, str]:
        """See :meth:`Seat.elsewhere`.

        Raises:
            SettingsError: The ranks have different bundles or devices, or ``shards`` does not
                fit, or devices could not be told where this rank is.
        """
        told = told_address(address, self.settings.advertise, self._torchrun)
        own = msgspec.json.encode(Place(told, bundle.id, names))
        places = [msgspec.json.decode(entry, type=Place) for entry in self.peers.gather(own)]
        first = places[0]
        for rank, place in enumerate(places):
            if place.bundle != first.bundle or place.names != first.names:
                what = "bundle" if place.bundle != first.bundle else "list of devices"
                raise SettingsError(
                    f"rank {rank} has another {what} than rank 0",
                    "give all machines the same bundle and keys, or name the --devices",
                )
        ranks = share_out(len(names), self.peers.world, self.settings.shards)
        return {
            index: places[rank].address
            for index, rank in enumerate(ranks)
            if rank != self.peers.rank
        }

    def farewell(self, error: BaseException | None) -> tuple[str, str] | None:
        """See :meth:`Seat.farewell`; devices wait for ranks that torchrun may start again."""
        if isinstance(error, SlfacError) and is_final(error):
            return super().farewell(error)
        return None

    def give_up(self, error: SlfacError) -> None:
        """Tell the other ranks, and this one's next start, that the run cannot go on.

        Args:
            error: Why.
        """
        self.peers.declare(str(error))
        self._folder.give_up(str(error))


def is_final(error: SlfacError) -> bool:
    """Whether an error would come again if all ranks were started again.

    Args:
        error: What a rank ended with.
    """
    if isinstance(error, RankLostError):
        return error.final
    return not isinstance(error, LinkError)

"""A server's part in a run."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from slfac.server.evaluate import Evaluator
from slfac.server.kept import KeptReplies
from slfac.server.peers import Peers
from slfac.server.protocol import RunFacts
from slfac.server.resume import newest_checkpoint, run_folder
from slfac.server.service import Service
from slfac.server.settings import ServerSettings
from slfac.server.transport import Transport
from slfac.wire.bundle import Bundle
from slfac.wire.errors import SettingsError, SlfacError
from slfac.wire.meter import Traffic


class Seat:
    """The part of a server that serves all devices of its run.

    Args:
        settings: What to do.

    Attributes:
        settings: What this server is to do.
        peers: Who else is in the run.
        simulated: Whether its devices are simulated in this process.
        resumed: The checkpoint to go on from; None to begin.
        run: Id of the run.

    Raises:
        SettingsError: There is nothing to go on with, or the settings are those of several
            servers.
    """

    peers: Peers = Peers()
    simulated: bool = False

    def __init__(self, settings: ServerSettings) -> None:
        if settings.shards or (settings.resume and run_folder(settings.out) != settings.out):
            raise SettingsError(
                f"setting shards is {settings.shards}, but this server is the only one"
                if settings.shards
                else f"the run in {settings.out} is one of several ranks",
                "start it with `torchrun ... -m slfac.server`; docs/scale-out.md tells how",
            )
        self.settings = settings
        self.resumed = newest_checkpoint(settings.out) if settings.resume else None
        self.run = self.resumed.standing.run if self.resumed else new_run()

    @property
    def keep_bytes(self) -> int | None:
        """How much of the metrics in the folder stays; None where there must be none."""
        return self.resumed.standing.metrics_bytes if self.resumed else None

    def transport(
        self, facts: RunFacts, *, max_request_bytes: int, traffic: Mapping[str, Traffic] | None
    ) -> Transport:
        """Open what carries requests and answers.

        Args:
            facts: What every device of the run is told.
            max_request_bytes: Largest payload of a request.
            traffic: What was carried before this server was started again, by device.

        Raises:
            AddressError: The address cannot be bound.
            KeyFileError: The server's keys cannot be read.
        """
        return Service(
            address=self.settings.bind,
            keys=self.settings.keys,
            facts=facts,
            max_request_bytes=max_request_bytes,
            traffic=traffic,
        )

    def kept(self) -> KeptReplies:
        """Where replies are kept for devices that may make their steps again."""
        return KeptReplies(self.settings.out)

    def evaluator(self, bundle: Bundle) -> Evaluator | None:
        """Scores fronts; None where nothing is to be evaluated.

        Args:
            bundle: The bundle in training.

        Raises:
            DataError: The data set cannot be read, or does not fit the model.
            SettingsError: There is data, but not the whole model.
        """
        data = self.settings.data
        if data is None:
            return None
        if bundle.manifest.head:
            raise SettingsError(
                f"setting data is {str(data)!r}, and the bundle's head is the devices'",
                "leave it out: they evaluate on their own test splits",
            )
        return Evaluator(bundle, data, self.settings.threads)

    def elsewhere(self, bundle: Bundle, names: tuple[str, ...], address: str) -> Mapping[int, str]:
        """Agree with the other servers on who serves which device.

        Args:
            bundle: The bundle in training.
            names: Names of the run's devices, by index.
            address: Where this server listens.

        Returns:
            Where devices are served that are not served here, by index.
        """
        del bundle, names, address
        return {}

    def farewell(self, error: BaseException | None) -> tuple[str, str] | None:
        """What devices that are still there are told.

        Args:
            error: Why the server ends; None at the run's end.

        Returns:
            Reason and remedy; None to tell them nothing.
        """
        if isinstance(error, SlfacError):
            return error.what, error.remedy
        if error is not None:
            return "the server was stopped", "start it again, then this device"
        return None


def new_run() -> str:
    """A fresh id of a run."""
    return uuid.uuid4().hex[:12]

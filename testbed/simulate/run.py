"""A simulated run from its settings to its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slfac.server.modes.kinds import ASYNCHRONOUS, parse_mode
from slfac.server.result import RunResult
from slfac.server.resume import newest_standing
from slfac.server.run import Server
from slfac.server.settings import ServerSettings, server_settings
from slfac.testbed.simulate.seat import SimulationSeat
from slfac.wire.bundle import open_bundle
from slfac.wire.errors import SettingsError

Event = dict[str, Any]
DEVICES = 5
OUT = Path("runs/simulated")
# The socket that a simulation does not open; a server's settings must name one.
_NOWHERE = "tcp://127.0.0.1:*"
_MOST_DEVICES = 1024
# Of sockets, keys, and the time that devices and links take, which a simulation has not.
_WITHOUT = (
    *("bind", "announce", "advertise", "shards", "keys", "insecure"),
    *("min_devices", "join_timeout_s", "grace_s", "step_deadline_s"),
)
_DATA_REMEDY = "pass --data PATH, a data set with a train and a test split"


@dataclass(frozen=True)
class Simulation:
    """A simulation that was checked.

    Attributes:
        settings: Those of its server.
        data: Data set of each device, by index; the last one serves all further ones.
    """

    settings: ServerSettings
    data: tuple[Path, ...]


def simulation(
    *,
    data: Path | None = None,
    devices: int = DEVICES,
    device_data: Sequence[Path] = (),
    **values: Any,
) -> Simulation:
    """Check the settings of a simulation before anything starts.

    Args:
        data: Data set with a train split for all devices, and a test split; may be left out to
            go on with a run.
        devices: How many devices there are; those of the run to go on with.
        device_data: A data set for each device in place of ``data``, by index; the last one
            serves all further ones.
        **values: Fields of :class:`slfac.server.settings.ServerSettings`, but for those of
            sockets, keys and time limits.

    Returns:
        The simulation.

    Raises:
        SettingsError: A field is unknown, missing or out of range, or of what a simulation
            has not.
        BundleError: The bundle cannot be opened.
    """
    resume = values.get("resume") is True
    given = {"partition": "iid", "out": OUT, **values} if not resume else {**values}
    for name in _WITHOUT:
        if name in values:
            raise SettingsError(
                f"setting {name} is {values[name]!r}, and a simulation has no sockets, and devices "
                "that are never late or away",
                "leave it out, or use real devices",
            )
    if resume:
        data = data or _data_before(Path(given["out"]))
    elif not 1 <= devices <= _MOST_DEVICES:
        raise SettingsError(f"setting devices is {devices}", f"use 1 to {_MOST_DEVICES}")
    else:
        given["devices"] = [f"device-{number}" for number in range(1, devices + 1)]
    if data is None:
        raise SettingsError("setting data is missing", _DATA_REMEDY)
    settings = server_settings(**given, data=data, insecure=True, bind=_NOWHERE)
    _check(settings, device_data)
    if open_bundle(settings.bundle).manifest.head:
        # Labels are the devices', and so are the scores.
        settings = settings.model_copy(update={"data": None})
    return Simulation(settings, tuple(device_data) or (data,))


def simulate(run: Simulation, on_event: Callable[[Event], None] | None = None) -> RunResult:
    """Train a run whose devices are simulated in this process, to its end.

    The run leaves what a real one leaves in its folder: metrics, checkpoints, journals.

    Args:
        run: As :func:`simulation` makes it.
        on_event: Called with each metrics event as it happens.

    Returns:
        The run's result.

    Raises:
        SlfacError: A branch of it, which says what is wrong and what to do.
    """
    seat = SimulationSeat(run.settings, run.data)
    with Server(run.settings, on_event, seat) as server:
        return server.run()


def _data_before(out: Path) -> Path | None:
    """The data set of the run to go on with, where it is known."""
    settings = newest_standing(out).settings
    if settings.get("bind") != _NOWHERE or settings.get("keys") is not None:
        raise SettingsError(
            f"the run in {out} is one with real devices", "`slfac server --resume` goes on with it"
        )
    known = settings.get("data")
    return Path(known) if isinstance(known, str) else None


def _check(settings: ServerSettings, device_data: Sequence[Path]) -> None:
    if parse_mode(settings.mode).kind is ASYNCHRONOUS:
        raise SettingsError(
            f"setting mode is {settings.mode!r}: who comes first depends on the time that devices "
            "and links take, which a simulation does not know",
            "use a mode whose steps are in order, or real devices",
        )
    if len(device_data) > len(settings.devices):
        raise SettingsError(
            f"setting device_data has {len(device_data)} data sets for "
            f"{len(settings.devices)} devices",
            "give one for each device, or raise devices",
        )

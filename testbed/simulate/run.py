"""A simulated run from its settings to its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slfac.server.modes.asynchronous import Asynchronous
from slfac.server.modes.factory import parse_mode
from slfac.server.result import RunResult
from slfac.server.run import Server
from slfac.server.settings import ServerSettings, server_settings
from slfac.testbed.simulate.seat import SimulationSeat
from slfac.wire.bundle import open_bundle
from slfac.wire.errors import SettingsError

Event = dict[str, Any]
# The socket that a simulation does not open; a server's settings must name one.
_NOWHERE = "tcp://127.0.0.1:*"
_MOST_DEVICES = 1024


def simulation_settings(*, devices: int, data: Path, **values: Any) -> ServerSettings:
    """Settings of a run whose devices are simulated, checked before anything starts.

    Args:
        devices: How many there are.
        data: Data set with a train split for all devices, and a test split.
        **values: Fields of :class:`slfac.server.settings.ServerSettings`, but for those of
            sockets and keys.

    Returns:
        The server's settings.

    Raises:
        SettingsError: A field is unknown, missing or out of range, or of what a simulation
            has not.
        BundleError: The bundle cannot be opened.
    """
    if not 1 <= devices <= _MOST_DEVICES:
        raise SettingsError(f"setting devices is {devices}", f"use 1 to {_MOST_DEVICES}")
    names = [f"device-{number}" for number in range(1, devices + 1)]
    given: dict[str, Any] = {"insecure": True, "bind": _NOWHERE, **values}
    if not values.get("resume"):
        given["devices"] = names
    settings = server_settings(**given)
    bundle = open_bundle(settings.bundle)
    if not bundle.manifest.head:
        # With a head, labels are the devices', and so are the scores.
        settings = settings.model_copy(update={"data": data})
    _check(settings)
    return settings


def simulate(
    settings: ServerSettings,
    data: Sequence[Path],
    on_event: Callable[[Event], None] | None = None,
) -> RunResult:
    """Train a run whose devices are simulated in this process, to its end.

    The run leaves what a real one leaves in ``settings.out``: metrics, checkpoints, journals.

    Args:
        settings: As :func:`simulation_settings` makes them.
        data: Data set of each device, by index; the last one serves all further ones.
        on_event: Called with each metrics event as it happens.

    Returns:
        The run's result.

    Raises:
        SlfacError: A branch of it, which says what is wrong and what to do.
    """
    seat = SimulationSeat(settings, data)
    with Server(settings, on_event, seat) as server:
        return server.run()


def _check(settings: ServerSettings) -> None:
    """Refuse what depends on the time that devices and links take, which is not simulated."""
    if parse_mode(settings.mode).name == Asynchronous.name:
        raise SettingsError(
            f"setting mode is {settings.mode!r}: who comes first depends on the time that devices "
            "and links take, which a simulation does not know",
            "use a mode whose steps are in order, or real devices",
        )
    for name in ("step_deadline_s", "announce", "min_devices"):
        value = getattr(settings, name)
        if value:
            raise SettingsError(
                f"setting {name} is {value!r}, but simulated devices are never late or away",
                "leave it out, or use real devices",
            )

"""Runs a simulation from the options of ``slfac simulate``, and shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from slfac.server.config import split_codec
from slfac.server.result import RunResult
from slfac.server.says import Says
from slfac.testbed.progress import RunProgress
from slfac.testbed.simulate.run import Simulation, simulate, simulation
from slfac.wire.errors import SettingsError


def run_simulation(values: Mapping[str, Any], console: Console) -> RunResult:
    """Run a simulation.

    Args:
        values: The options that were given.
        console: Where to show it.

    Returns:
        The run's result.

    Raises:
        SlfacError: A branch of it.
    """
    made = _simulation(values)
    settings = made.settings
    with RunProgress(
        console, settings.codec_up, rounds=settings.rounds, devices=len(settings.devices)
    ) as progress:
        result = simulate(made, progress.on_event)
    Says(None).result(result)
    return result


def _simulation(values: Mapping[str, Any]) -> Simulation:
    fields = split_codec(values)
    if "resume" in fields:
        fields["out"] = _only_resumed(fields)
        fields["resume"] = True
    return simulation(**fields)


def _only_resumed(fields: Mapping[str, Any]) -> Any:
    for name in ("out", "devices"):
        if name in fields:
            raise SettingsError(
                f"--{name} {fields[name]} is given, but --resume has the run's own",
                f"leave out --{name}",
            )
    return fields["resume"]

"""Runs a server from its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slfac.server.settings import ServerSettings


def serve(values: Mapping[str, Any]) -> None:
    """Run a server, or a rank's where torchrun started this process.

    Args:
        values: The options that were given.

    Raises:
        SlfacError: A branch of it.
    """
    from slfac.server.says import Says
    from slfac.server.shard.torchrun import under_torchrun

    settings, torchrun = _settings(values), under_torchrun()
    say = Says(torchrun.rank if torchrun is not None else None)
    if torchrun is None:
        from slfac.server.run import Server

        with Server(settings, say.event) as server:
            result = server.run()
    else:
        from slfac.server.shard.launch import run_rank

        result = run_rank(settings, torchrun, say.event)
    say.result(result)


def _settings(values: Mapping[str, Any]) -> ServerSettings:
    from slfac.server.config import configured_settings, split_codec
    from slfac.server.settings import server_settings

    given = _resume(values) if "resume" in values else {**values}
    file = given.pop("config", None)
    return configured_settings(file, **given) if file else server_settings(**split_codec(given))


def _resume(values: Mapping[str, Any]) -> dict[str, Any]:
    from slfac.wire.errors import SettingsError

    for name in ("out", "config"):
        if name in values:
            raise SettingsError(
                f"--{name} {values[name]} is given, but --resume has the run's folder and settings",
                f"leave out --{name}",
            )
    return {**values, "out": values["resume"], "resume": True}

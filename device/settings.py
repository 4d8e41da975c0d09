"""The device's settings: msgspec structs, so that a board needs no pydantic."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from slfac.device.places import default_cache, default_journal
from slfac.wire.addresses import check_server_address
from slfac.wire.errors import AddressError, SettingsError

_FIELD = re.compile(r"(.*) - at `\$\.(\w+).*`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")


class DeviceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a device can be told; the rest comes from its server.

    Attributes:
        server: Address of the server, ``tcp://HOST:PORT``; None to discover it.
        discover: Find the server on the network by mDNS; with keys, only one of this key.
        data: Data set with a train split: IDX folder, ``.npz`` or image folder.
        keys: Its key folder; None needs ``insecure``.
        insecure: Work without keys, on loopback only.
        name: Name it goes by without keys; with keys the server knows it by its key.
        bundle: Bundle it holds already; None, or another than the server trains, is
            fetched from the server.
        cache: Where fetched bundles are kept.
        journal: Where the beginning of each round is taken down, so that a device that was
            killed goes on.
        connect_timeout_s: How long to try to reach the server at the start.
        reconnect_timeout_s: How long to try again after the link broke.
        wait_enrolled_s: How long to try again where the server refuses this device, until
            someone enrolls its key; 0 gives up at once.
        threads: Threads of onnxruntime.
        low_memory: Hold less memory, at the cost of time.
        provider: What computes the front: the CPU, an Nvidia GPU, or the GPU where it
            passes a self-test and else the CPU.
        energy: Measure where the joules of the run go.
        energy_report: JSON file for the whole account of that; None for none.
        sensors: Which sensor is read: fields of
            :class:`slfac.device.energy.SensorSettings`; empty for the best there is.
    """

    data: Path
    server: str | None = None
    discover: bool = False
    keys: Path | None = None
    insecure: bool = False
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")] = "device"
    bundle: Path | None = None
    cache: Path = msgspec.field(default_factory=default_cache)
    journal: Path = msgspec.field(default_factory=default_journal)
    connect_timeout_s: Annotated[float, Meta(ge=0)] = 60.0
    reconnect_timeout_s: Annotated[float, Meta(ge=0)] = 300.0
    wait_enrolled_s: Annotated[float, Meta(ge=0)] = 0.0
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    low_memory: bool = False
    provider: Literal["cpu", "cuda", "auto"] = "cpu"
    energy: bool = False
    energy_report: Path | None = None
    sensors: dict[str, Any] = {}


def device_settings(**values: Any) -> DeviceSettings:
    """Validate settings, with errors that name the field, its value and the remedy.

    Args:
        **values: Fields of :class:`DeviceSettings`.

    Returns:
        The settings.

    Raises:
        SettingsError: A field is unknown, missing or out of range.
        AddressError: ``server`` is malformed.
    """
    return checked_settings(values, {})


def checked_settings(values: Mapping[str, Any], origins: Mapping[str, str]) -> DeviceSettings:
    """Validate settings that come from several places.

    Args:
        values: Fields of :class:`DeviceSettings`.
        origins: What errors say before a field's name, such as the file that it comes from.

    Returns:
        The settings.

    Raises:
        SettingsError: A field is unknown, missing or out of range.
        AddressError: ``server`` is malformed.
    """
    try:
        settings = msgspec.convert(values, DeviceSettings, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise _readable(error, values, origins) from error
    if settings.keys is None and not settings.insecure:
        raise SettingsError(
            "setting keys is missing",
            "`slfac keys new device --dir DIR` makes keys; pass --keys DIR",
        )
    if settings.keys is not None and "name" in values:
        raise SettingsError(
            f"{origins.get('name', '')}setting name is {settings.name!r}, but keys are given",
            "leave it out: the server knows this device by the name its key is enrolled under",
        )
    if settings.discover and settings.server is not None:
        raise SettingsError(
            f"{origins.get('server', '')}setting server is {settings.server!r}, "
            "but discover is set",
            "leave one of them out",
        )
    if not settings.discover and settings.server is None:
        raise SettingsError(
            "setting server is missing", "pass --server ADDRESS, or --discover to find it"
        )
    if settings.server is not None:
        try:
            check_server_address(settings.server, insecure=settings.keys is None)
        except (AddressError, SettingsError) as error:
            raise type(error)(origins.get("server", "") + error.what, error.remedy) from error
    _check_energy(settings)
    return settings


def _check_energy(settings: DeviceSettings) -> None:
    """Check what is said about sensors, without which nothing of them is imported."""
    if settings.energy:
        from slfac.device.energy.settings import sensor_settings  # noqa: PLC0415

        sensor_settings(**settings.sensors)
    elif settings.sensors or settings.energy_report is not None:
        name = "energy_report" if settings.energy_report is not None else min(settings.sensors)
        value = settings.sensors.get(name, str(settings.energy_report))
        raise SettingsError(
            f"setting {name} is {value!r}, but energy is not set", "pass --energy to measure it"
        )


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    # msgspec adds the field's name to a TypeError, not to an error of its own.
    raise TypeError(f"Expected a path, got {type(value).__name__}")


def _readable(
    error: msgspec.ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]
) -> SettingsError:
    remedy = "`slfac device --help` lists what is allowed"
    if match := _MISSING.fullmatch(str(error)):
        name = match[1]
        return SettingsError(
            f"setting {name} is missing", f"pass --{name}, or put it into the file of --config"
        )
    if match := _UNKNOWN.fullmatch(str(error)):
        name = match[1]
        near = difflib.get_close_matches(name, DeviceSettings.__struct_fields__, n=1, cutoff=0.0)
        what = f"{origins.get(name, '')}setting {name} is {values.get(name)!r}"
        return SettingsError(f"{what}, but there is no such setting", f"the nearest is {near[0]}")
    match = _FIELD.fullmatch(str(error))
    if match is None:
        return SettingsError(f"settings: {error}", remedy)
    what = f"{origins.get(match[2], '')}setting {match[2]} is {values.get(match[2])!r}"
    return SettingsError(f"{what}: {match[1]}", remedy)

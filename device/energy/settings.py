"""Which sensor is read, and what cannot be found out by looking: plugs, ports, files, shunts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from slfac.device.energy.base import Scope
from slfac.wire.errors import SettingsError

_FIELD: Final = re.compile(r"(.*) - at `\$\.(\w+)(?:\[[^`]*)?`", re.DOTALL)
_HELP: Final = "`slfac profile sensors --help` and docs/energy.md say what is allowed"
_NAME: Final = r"^[A-Za-z0-9_.:@-]{1,64}(,[A-Za-z0-9_.:@-]{1,64}){0,7}\Z"
_LABEL: Final = r"^[A-Za-z0-9_./:-]{1,64}\Z"
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Label = Annotated[str, Meta(pattern=_LABEL)]


class Calibration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes the board's power of a sensor's: ``gain * watts + offset_w``.

    Attributes:
        driver: The kind of sensor that it was fitted for.
        scope: What that sensor measures by itself.
        total: The rails whose sum it was fitted for; empty where that is not said.
        gain: What its watts are multiplied with.
        offset_w: What is added then.
        gain_scope: What the result is the power of.
        source: Where the two come from, for people.
    """

    driver: str
    scope: Scope
    gain: Annotated[float, Meta(gt=0, le=100)]
    offset_w: Annotated[float, Meta(ge=-1000, le=1000)]
    source: str
    total: tuple[str, ...] = ()
    gain_scope: Literal["board", "wall"] = "board"


class SensorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be said about sensors; found out by looking where it is left out.

    Attributes:
        sensor: ``auto`` for the best there is, ``none``, or the name of one that
            ``slfac profile sensors`` lists; several with commas are added up, if they measure
            the same scope.
        scope: What an inline meter or another sensor measures, where that cannot be known.
        total: Rails that add up to the whole, where a board has no rail for that.
        all_rails: Also read rails that the total does not need, and so more seldom.
        calibration: Calibrations, of which the sensor must be one's; none to read it as it is.
        plug: A plug with a meter, ``http://HOST[:PORT]``.
        plug_kind: Its firmware, or ``auto`` to ask it.
        plug_channel: Which of its sockets, from 0.
        serial_port: Where a meter writes lines, such as ``/dev/ttyUSB0``.
        serial_baud: Its bits per second.
        meter_file: A file to which a meter's program appends lines.
        meter_columns: What the columns of such lines are, with units, such as
            ``time_s,voltage_v,current_a``; None if the first line says so.
        meter_scope: Where that meter is put in.
        meter_hz: How often it writes.
        i2c_chip: A chip on I2C that the kernel has no driver for.
        i2c_bus: Its bus: the N of ``/dev/i2c-N``.
        i2c_address: Its address there.
        shunt_ohm: Its shunt, for chips that have none of their own.
    """

    sensor: Annotated[str, Meta(pattern=_NAME)] = "auto"
    scope: Scope | None = None
    total: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=16)] | None = None
    all_rails: bool = False
    calibration: tuple[Calibration, ...] = ()
    plug: str | None = None
    plug_kind: Literal["auto", "shelly", "tasmota"] = "auto"
    plug_channel: Annotated[int, Meta(ge=0, le=7)] = 0
    serial_port: Path | None = None
    serial_baud: Literal[9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600] = 115200
    meter_file: Path | None = None
    meter_columns: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=32)] | None = None
    meter_scope: Literal["board", "wall"] = "board"
    meter_hz: Positive = 10.0
    i2c_chip: Literal["ina219", "ina226", "ina228", "ina260"] | None = None
    i2c_bus: Annotated[int, Meta(ge=0, le=255)] = 1
    i2c_address: Annotated[int, Meta(ge=0x40, le=0x4F)] = 0x40
    shunt_ohm: Annotated[float, Meta(gt=0, le=10)] | None = None


def sensor_settings(**values: Any) -> SensorSettings:
    """Validate settings, with errors that name the field, its value and the remedy.

    Args:
        **values: Fields of :class:`SensorSettings`.

    Returns:
        The settings.

    Raises:
        SettingsError: A field is unknown, out of range, or does not go with another.
    """
    try:
        settings = msgspec.convert(values, SensorSettings, dec_hook=_path)
    except msgspec.ValidationError as error:
        match = _FIELD.fullmatch(str(error))
        if match is None:
            raise SettingsError(f"sensor settings: {error}", _HELP) from error
        value = values.get(match[2])
        raise SettingsError(f"setting {match[2]} is {value!r}: {match[1]}", _HELP) from error
    if settings.total is not None and len({*settings.total}) < len(settings.total):
        raise SettingsError(
            f"setting total is {','.join(settings.total)!r}: it names a rail twice",
            "name each rail once",
        )
    if settings.plug is not None:
        _check_plug(settings.plug)
    if settings.i2c_chip not in (None, "ina260") and settings.shunt_ohm is None:
        raise SettingsError(
            f"setting shunt_ohm is missing for i2c_chip {settings.i2c_chip!r}",
            "give the resistor that stands on the meter's board, such as 0.1 for R100",
        )
    if settings.calibration and settings.sensor == "none":
        raise SettingsError(
            "settings calibration and sensor 'none' do not go together",
            "name the sensor that it is of",
        )
    if settings.serial_port is not None and settings.meter_file is not None:
        raise SettingsError(
            f"settings serial_port {str(settings.serial_port)!r} and meter_file "
            f"{str(settings.meter_file)!r} do not go together",
            "name the one meter",
        )
    return settings


def _check_plug(plug: str) -> None:
    try:
        parts = urlsplit(plug)
        port = parts.port
    except ValueError:
        port, parts = None, urlsplit("")
    plain = plug.isascii() and plug.isprintable() and " " not in plug
    if not plain or parts.scheme != "http" or not parts.hostname or parts.username or port == 0:
        raise SettingsError(
            f"setting plug is {plug!r}: not an address of a plug",
            "write http://HOST or http://HOST:PORT, such as http://192.168.1.9",
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsError(
            f"setting plug is {plug!r}: it goes on behind the address",
            f"write http://{parts.netloc}; the page is known from plug_kind",
        )


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    # msgspec adds the field's name to a TypeError, not to an error of its own.
    raise TypeError(f"Expected a path, got {type(value).__name__}")

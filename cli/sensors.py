"""Options that say which power sensor is read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.device.energy.settings import Calibration

_OPTIONS = ("sensor", "scope", "total", "all_rails", "calibration")
_PLUG = ("plug", "plug_kind", "plug_channel")
_METER = (
    *("serial_port", "serial_baud", "meter_file"),
    *("meter_columns", "meter_scope", "meter_hz"),
)
_I2C = ("i2c_chip", "i2c_bus", "i2c_address", "shunt_ohm")


def add_sensor_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a parser.

    Args:
        parser: The parser; what is not given is left out of its namespace.
    """
    add = parser.add_argument
    add("--sensor", metavar="NAME", help="auto, none, or a name of the list; A,B adds up (auto)")
    add("--scope", choices=("soc", "module", "board", "wall"), help="what a meter measures")
    add("--total", type=_names, metavar="A,B", help="rails that add up to the whole")
    add("--all-rails", action="store_true", help="also read rails that the total does not need")
    add(
        "--calibration",
        metavar="NAME|FILE",
        help="profile whose gain and offset make the board's power of the sensor's",
    )
    add = parser.add_argument_group("a plug with a meter").add_argument
    add("--plug", metavar="ADDRESS", help="http://HOST[:PORT] of a Shelly or Tasmota plug")
    add("--plug-kind", choices=("auto", "shelly", "tasmota"), help="its firmware (auto)")
    add("--plug-channel", type=int, metavar="N", help="which of its sockets (0)")
    add = parser.add_argument_group("a meter that writes lines").add_argument
    add("--serial-port", type=Path, metavar="PORT", help="such as /dev/ttyUSB0")
    add("--serial-baud", type=int, metavar="N", help="its bits per second (115200)")
    add("--meter-file", type=Path, metavar="FILE", help="a file that its program fills")
    add("--meter-columns", type=_names, metavar="A,B", help="such as time_s,voltage_v,current_a")
    add("--meter-scope", choices=("board", "wall"), help="where it is put in (board)")
    add("--meter-hz", type=float, metavar="HZ", help="how often it writes (10)")
    add = parser.add_argument_group("a chip on I2C without a kernel driver").add_argument
    add("--i2c-chip", choices=("ina219", "ina226", "ina228", "ina260"), help="which chip")
    add("--i2c-bus", type=int, metavar="N", help="the N of /dev/i2c-N (1)")
    add("--i2c-address", type=_address, metavar="N", help="its address there (0x40)")
    add("--shunt-ohm", type=float, metavar="OHM", help="the shunt on its board, such as 0.1")


def take_sensor_options(values: dict[str, Any]) -> dict[str, Any]:
    """Take them out of what was given.

    Args:
        values: What was given; they are removed from it.

    Returns:
        Them alone, as fields of :class:`slfac.device.energy.SensorSettings`.

    Raises:
        SettingsError: There is no such profile as ``--calibration`` names, something is wrong
            with it, or it calibrates no sensor.
    """
    names = (*_OPTIONS, *_PLUG, *_METER, *_I2C)
    taken = {name: values.pop(name) for name in names if name in values}
    if "calibration" in taken:
        taken["calibration"] = _calibrations(taken["calibration"])
    return taken


def _calibrations(name_or_path: str) -> tuple[Calibration, ...]:
    """The gains and offsets of a profile's sensors; the device itself reads no profiles."""
    from slfac.device.energy.settings import Calibration
    from slfac.hw_profiles import load_profile, profile_names

    profile = load_profile(name_or_path)
    # What slfac brings was fitted on somebody's board, never on this one.
    other = " on another board" if name_or_path in profile_names() else ""
    found = tuple(
        Calibration(
            driver=sensor.driver,
            scope=sensor.scope,
            gain=sensor.gain.value,
            offset_w=sensor.offset_w.value,
            source=f"{name_or_path}{other} ({sensor.gain.source})",
            total=sensor.total,
            gain_scope=sensor.gain_scope,
        )
        for sensor in profile.sensors
        if sensor.gain is not None and sensor.offset_w is not None and sensor.scope != "unknown"
    )
    if not found:
        raise SettingsError(
            f"--calibration is {name_or_path!r}: that profile has no sensor with gain and offset_w",
            "`slfac profile calibrate gain` writes them (docs/calibration.md)",
        )
    return found


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _address(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number such as 0x40") from None

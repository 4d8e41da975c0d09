"""The power controller of a Raspberry Pi 5, which tells voltage and current of twelve rails.

It feeds the processor, memory and Wi-Fi, not what hangs on the 5 V: USB, HATs, NVMe
(github.com/jfikar/RPi5-power). There is no file for it: the firmware is asked through ``vcgencmd``,
some 24 ms a read, which is what keeps reads at ten a second.
"""

from __future__ import annotations

import math
import re
from typing import Final

from slfac.device.energy.base import (
    PassedOver,
    PowerSensor,
    Probe,
    Sample,
    SensorInfo,
    plausible,
)
from slfac.device.energy.host import Host, reason
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError

_NAME: Final = "pi5"
COMMAND: Final = ("vcgencmd", "pmic_read_adc")
MODEL: Final = "proc/device-tree/model"
_WITH_METER: Final = re.compile(r"Raspberry Pi (5|500|Compute Module 5)\b")
_LINE: Final = re.compile(
    r"\s*(?P<rail>\w+)_(?P<what>[AV]) (?:current|volt)\(\d+\)=(?P<value>[-+.\w]+)(?P=what)\s*",
    re.ASCII,
)
_INLINE: Final = "put an INA226 or INA228 into the board's supply (docs/energy.md, inline meters)"
_GROUP: Final = "let this user ask the firmware: sudo usermod -aG video $USER, and log in again"


def probe_pi5(host: Host, settings: SensorSettings) -> Probe:
    """Find a Raspberry Pi's power controller.

    Args:
        host: Where to look.
        settings: Nothing of them is used.
    """
    del settings
    probe = Probe()
    model = host.text(host.root / MODEL) or ""
    if not model.startswith("Raspberry Pi"):
        return probe
    place = " ".join(COMMAND)
    if not _WITH_METER.match(model):
        probe.passed.append(
            PassedOver(_NAME, place, f"a {model} does not measure its own current", _INLINE)
        )
        return probe
    try:
        rails = read_rails(host)
    except SensorError as error:
        probe.passed.append(PassedOver(_NAME, place, error.what, error.remedy))
        return probe
    info = SensorInfo(
        name=_NAME,
        kind=_NAME,
        scope="module",
        gives="power",
        rails=tuple(rails),
        total=tuple(rails),
        place=place,
        max_hz=10.0,
        note="without what hangs on the 5 V: USB, HATs, NVMe",
    )
    probe.sensors.append(Pi5Sensor(info, host))
    return probe


class Pi5Sensor(PowerSensor):
    """Asks the firmware for all rails at once.

    Args:
        info: What it is.
        host: Runs the command.
    """

    def __init__(self, info: SensorInfo, host: Host) -> None:
        super().__init__(info)
        self._host = host

    def read(self) -> Sample:
        """Read every rail once.

        Raises:
            SensorError: The firmware does not answer, or leaves out a rail.
        """
        start_ns = self._host.clock()
        rails = read_rails(self._host)
        end_ns = self._host.clock()
        missing = [rail for rail in self.info.rails if rail not in rails]
        if missing:
            raise SensorError(
                f"{' '.join(COMMAND)} told nothing of rail {missing[0]}", "it is tried again"
            )
        watts = {rail: plausible(self.info, rail, rails[rail]) for rail in self.info.rails}
        return Sample(t0_ns=start_ns, t1_ns=end_ns, power_w=sum(watts.values()), rails_w=watts)


def read_rails(host: Host) -> dict[str, float]:
    """Watts of each rail that has both a voltage and a current.

    Args:
        host: Runs the command.

    Raises:
        SensorError: The firmware does not answer, or a rail's value is no number.
    """
    try:
        said = host.run(COMMAND)
    except PermissionError as error:
        raise SensorError(f"{COMMAND[0]} may not be run: {reason(error)}", _GROUP) from error
    except FileNotFoundError as error:
        raise SensorError(
            f"{COMMAND[0]} is not there",
            "install the package raspi-utils (older: libraspberrypi-bin)",
        ) from error
    except OSError as error:
        raise SensorError(f"{COMMAND[0]} cannot be run: {reason(error)}") from error
    values: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for line in said.splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            values[match["what"]][match["rail"]] = _number(match["value"])
    rails = [rail for rail in values["A"] if rail in values["V"]]
    if not rails:
        raise _silent(said)
    watts = {rail: values["A"][rail] * values["V"][rail] for rail in rails}
    for rail, power_w in watts.items():
        if math.isnan(power_w):
            raise SensorError(f"{' '.join(COMMAND)} says NaN for rail {rail}", "it is tried again")
    return watts


def _silent(said: str) -> SensorError:
    text = " ".join(said.split())[:120]
    if "vchi" in said.lower() or "vcio" in said.lower() or "ermission" in said:
        return SensorError(f"{COMMAND[0]} may not ask the firmware: {text}", _GROUP)
    if "not registered" in said:
        return SensorError(f"this firmware has no power controller: {text}", _INLINE)
    return SensorError(
        f"{' '.join(COMMAND)} told no rail: {text!r}", "update the firmware: sudo rpi-eeprom-update"
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")

"""A battery, whose power is the board's as long as nothing charges it.

Files of the kernel's ``power_supply`` class: uW, uV, uA.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from slfac.device.energy.base import PassedOver, Probe, SensorInfo
from slfac.device.energy.host import Host, is_gone, unreadable
from slfac.device.energy.rails import RailSensor
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError

_KIND: Final = "battery"
_SUPPLIES: Final = "sys/class/power_supply"
_RAIL: Final = "battery"


def probe_battery(host: Host, settings: SensorSettings) -> Probe:
    """Find batteries; chargers and USB ports are none.

    Args:
        host: Where to look.
        settings: Nothing of them is used.
    """
    del settings
    probe = Probe()
    for folder in sorted((host.root / _SUPPLIES).glob("*")):
        # Such a port says that it is a battery, or says nothing.
        if folder.name.startswith("ucsi-source-psy-"):
            continue
        if host.text(folder / "type") != "Battery" or host.text(folder / "scope") == "Device":
            continue
        name = f"{_KIND}@{folder.name}"
        rail = Battery(host, folder)
        try:
            rail.watts()
        except SensorError as error:
            probe.passed.append(PassedOver(name, str(folder), error.what, error.remedy))
            continue
        info = SensorInfo(
            name=name,
            kind=_KIND,
            scope="board",
            gives="power",
            rails=(_RAIL,),
            total=(_RAIL,),
            place=str(folder),
            note="a battery's controller averages over seconds",
        )
        probe.sensors.append(RailSensor(info, [rail], host))
    return probe


class Battery:
    """The power that is taken out of a battery.

    Args:
        host: Reads its files.
        folder: Where they are.
    """

    label = _RAIL

    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._folder = folder

    def watts(self) -> float:
        """What is taken out, in watts.

        Raises:
            SensorError: It is not discharging, or does not say its power.
        """
        status = self._host.text(self._folder / "status")
        if status != "Discharging":
            raise SensorError(
                f"battery {self._folder.name} is {status or 'silent'!r}: its power is not the "
                "board's",
                "unplug the charger",
            )
        # Some drivers count what goes out as negative.
        watts = self._micro("power_now")
        if watts is not None:
            return abs(watts) / 1e6
        volts, amperes = self._micro("voltage_now"), self._micro("current_now")
        if volts is None or amperes is None:
            raise SensorError(
                f"battery {self._folder.name} tells neither power nor voltage and current",
                "use another sensor",
            )
        return abs(volts * amperes) / 1e12

    def _micro(self, file: str) -> int | None:
        path = self._folder / file
        try:
            return self._host.integer(path)
        except OSError as error:
            if is_gone(error):
                return None
            raise unreadable(path, error) from error

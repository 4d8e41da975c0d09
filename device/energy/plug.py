"""A plug with a meter, by HTTP: Shelly (all generations) and Tasmota.

Shelly Gen1: ``/meter/0`` gives W and watt-minutes. Gen2 and newer: ``/rpc/Switch.GetStatus?id=0``
gives W and Wh. Tasmota: ``/cm?cmnd=Status%2010`` gives W and kWh in steps of 1 Wh. A plug is read
about once a second and averages itself, and its counter goes up in large steps: good for the energy
of a round, not of a step.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from slfac.device.energy.base import (
    MOST_WALL_W,
    PassedOver,
    PowerSensor,
    Probe,
    Sample,
    SensorInfo,
    plausible,
)
from slfac.device.energy.counter import Count
from slfac.device.energy.host import Host, reason
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError

_NAME: Final = "plug"
_RAIL: Final = "socket"
_TIMEOUT_S: Final = 2.0
_WH_J: Final = 3600.0
# Some count up once a minute.
_LATE_S: Final = 120.0


@dataclass(frozen=True)
class Firmware:
    """How a plug is asked.

    Attributes:
        name: What it is called.
        page: What it is asked for, with the channel's number.
        path: Where its answer holds the object with the figures.
        power: The field with the present watts.
        total: The path to its counter; a plug may have none.
        unit_j: Joules of one of that counter.
        step_j: Its smallest step in joules.
        step_w: Smallest step of the present watts, as the plug comes from the factory.
    """

    name: str
    page: str
    path: tuple[str, ...]
    power: str
    total: tuple[str, ...]
    unit_j: float
    step_j: float
    step_w: float


_GEN1 = Firmware("shelly gen1", "/meter/{}", (), "power", ("total",), 60.0, 60.0, 0.01)
_GEN2 = Firmware(
    "shelly", "/rpc/Switch.GetStatus?id={}", (), "apower", ("aenergy", "total"), _WH_J, 3.6, 0.1
)
_PM = Firmware(
    "shelly pm", "/rpc/PM1.GetStatus?id={}", (), "apower", ("aenergy", "total"), _WH_J, 3.6, 0.1
)
_TASMOTA = Firmware(
    "tasmota",
    "/cm?cmnd=Status%2010",
    ("StatusSNS", "ENERGY"),
    "Power",
    ("Total",),
    3.6e6,
    3600.0,
    1.0,
)
_KINDS: Final = {
    "shelly": (_GEN2, _PM, _GEN1),
    "tasmota": (_TASMOTA,),
    "auto": (_GEN2, _PM, _GEN1, _TASMOTA),
}


def probe_plug(host: Host, settings: SensorSettings) -> Probe:
    """Ask the plug that the settings name.

    Args:
        host: Gets its pages.
        settings: Its address, firmware and channel.
    """
    probe = Probe()
    if settings.plug is None:
        return probe
    refused = SensorError("")
    for firmware in _KINDS[settings.plug_kind]:
        plug = _Plug(host, settings, firmware)
        try:
            _, joules = plug.ask()
        except SensorError as error:
            refused = error
            # Nobody there, or a password: another page does not help.
            if isinstance(error.__cause__, TimeoutError | ConnectionError | PermissionError):
                break
            continue
        probe.sensors.append(PlugSensor(plug, host, counts=joules is not None))
        return probe
    probe.passed.append(PassedOver(_NAME, settings.plug, refused.what, refused.remedy))
    return probe


class _Plug:
    def __init__(self, host: Host, settings: SensorSettings, firmware: Firmware) -> None:
        self._host = host
        self._channel = settings.plug_channel
        self.firmware = firmware
        page = firmware.page.format(settings.plug_channel)
        self.url = f"{(settings.plug or '').rstrip('/')}{page}"

    def ask(self) -> tuple[float, float | None]:
        """Present watts, and joules of its counter."""
        figures = self._figures()
        watts = self._number(figures.get(self.firmware.power))
        if watts is None:
            raise self._nonsense(f"no {self.firmware.power}")
        total: Any = figures
        for step in self.firmware.total:
            total = total.get(step) if isinstance(total, dict) else None
        units = self._number(total)
        return watts, None if units is None else units * self.firmware.unit_j

    def _figures(self) -> dict[str, Any]:
        try:
            answer = self._host.fetch(self.url, _TIMEOUT_S)
        except PermissionError as error:
            raise SensorError(
                f"plug {self.url} asks for a password",
                "slfac knows none: switch it off in the plug's settings, in a network of its own",
            ) from error
        except OSError as error:
            raise SensorError(
                f"plug {self.url} does not answer: {reason(error)}",
                "check its address, and plug_kind",
            ) from error
        try:
            found: Any = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise self._nonsense("no JSON") from error
        for step in self.firmware.path:
            found = found.get(step) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise self._nonsense(f"no {'.'.join(self.firmware.path) or 'object'}")
        return found

    def _number(self, value: Any) -> float | None:
        # Tasmota lists one value a socket where there are several.
        if isinstance(value, list):
            value = value[self._channel] if self._channel < len(value) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None

    def _nonsense(self, what: str) -> SensorError:
        return SensorError(
            f"plug {self.url} gave {what} with a power",
            "check plug_kind and plug_channel: does this plug have a meter?",
        )


class PlugSensor(PowerSensor):
    """Reads a plug's present power and its counter.

    Args:
        plug: The plug.
        host: Its clock is taken.
        counts: Whether the plug has a counter.
    """

    def __init__(self, plug: _Plug, host: Host, *, counts: bool) -> None:
        super().__init__(
            SensorInfo(
                name=_NAME,
                kind=_NAME,
                scope="wall",
                gives="power",
                rails=(_RAIL,),
                total=(_RAIL,),
                place=f"{plug.url} ({plug.firmware.name})",
                lsb_w=plug.firmware.step_w,
                lsb_j=plug.firmware.step_j if counts else None,
                max_hz=1.0,
                window_ms=1000.0,
                most_w=MOST_WALL_W,
                note="with the power supply's losses; for rounds, not for steps",
            )
        )
        self._plug = plug
        self._host = host
        self._count = (
            Count(f"plug {plug.url}", 1.0, None, most_w=MOST_WALL_W, late_s=_LATE_S)
            if counts
            else None
        )

    def read(self) -> Sample:
        """Ask the plug once.

        Raises:
            SensorError: It does not answer, or its counter was set back.
        """
        start_ns = self._host.clock()
        watts, joules = self._plug.ask()
        end_ns = self._host.clock()
        watts = plausible(self.info, _RAIL, watts)
        energy_j = None
        if self._count is not None and joules is not None:
            self._count.advance(joules, end_ns)
            energy_j = self._count.joules
        return Sample(
            t0_ns=start_ns - round(self.info.window_ms * 1e6),
            t1_ns=end_ns,
            power_w=watts,
            rails_w={_RAIL: watts},
            energy_j=energy_j,
        )

"""Meters that are put into a board's supply and that the kernel reads: INA219, 226, 228, 260.

Kernel drivers ``ina2xx`` and ``ina238``; newer ones of the latter also read the INA228 and tell its
energy counter. Steps are the datasheets': INA219 10 uV over the shunt and 20 of its currents in
power, INA226 2.5 uV and 25, INA260 10 mW.
"""

from __future__ import annotations

from typing import Final

from slfac.device.energy.base import PassedOver, PowerSensor, Probe, Scope, SensorInfo
from slfac.device.energy.channels import Microwatts, VoltsAmperes
from slfac.device.energy.counter import Counter, CounterSensor
from slfac.device.energy.host import Host
from slfac.device.energy.hwmon import Chip, ChipFiles, find_chips
from slfac.device.energy.rails import Rail, RailSensor
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError

_KIND: Final = "ina2xx"
CHIPS: Final = (
    *("ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina237", "ina238", "ina260"),
    *("ina700", "ina780", "sq52206"),
)
# What one step of the current is over the shunt, and how many of them one of the power is.
_STEPS: Final = {"ina219": (10.0, 20), "ina220": (10.0, 20), "ina226": (2.5, 25)}
_INA260_STEP_W: Final = 0.01
# Both conversions, as the chips start: 1.1 ms each, 0.5 ms on an INA219.
_WINDOW_MS: Final = {"ina219": 1.1, "ina220": 1.1}
_OTHERS_MS: Final = 2.2
_MOST_HZ: Final = 200.0


def probe_ina2xx(host: Host, settings: SensorSettings) -> Probe:
    """Find meters in a board's supply.

    Args:
        host: Where to look.
        settings: What they measure, where there are several.
    """
    probe = Probe()
    chips = find_chips(host)
    meters = [chip for chip in chips if chip.name in CHIPS]
    if any(chip.name == "ina3221" for chip in chips) and settings.scope is None:
        # A Jetson's own: its INA238 is a rail of the module.
        meters = [chip for chip in meters if chip.name != "ina238"]
    for chip in meters:
        _add(host, settings, chip, probe, alone=len(meters) == 1)
    return probe


def _add(host: Host, settings: SensorSettings, chip: Chip, probe: Probe, *, alone: bool) -> None:
    name = f"{_KIND}@{chip.address or chip.name}"
    if settings.scope is None and not alone:
        probe.passed.append(
            PassedOver(
                name,
                str(chip.folder),
                f"there is more than one meter, and what this {chip.name} measures is not known",
                f"say which: --sensor {name} --scope board",
            )
        )
        return
    files = ChipFiles(host, chip)
    scope = settings.scope or "board"
    try:
        probe.sensors.append(
            _counter(host, name, files, scope)
            if "energy1_input" in files
            else _power(host, name, files, scope)
        )
    except SensorError as error:
        probe.passed.append(PassedOver(name, str(chip.folder), error.what, error.remedy))


def _counter(host: Host, name: str, files: ChipFiles, scope: Scope) -> PowerSensor:
    files.value("energy1_input")
    info = SensorInfo(
        name=name,
        kind=_KIND,
        scope=scope,
        gives="energy",
        rails=("supply",),
        total=("supply",),
        place=str(files.chip.folder / "energy1_input"),
        max_hz=_MOST_HZ,
        window_ms=_OTHERS_MS,
    )
    # 40 bits: it never wraps in practice (some 10^9 J at 10 A).
    counter = Counter(lambda: files.value("energy1_input"), 1e-6)
    return CounterSensor(info, {"supply": counter}, host)


def _power(host: Host, name: str, files: ChipFiles, scope: Scope) -> PowerSensor:
    chip = files.chip
    rail: Rail
    if "power1_input" in files:
        rail, file = (
            Microwatts("supply", files, "power1_input", sign=_direction(files)),
            "power1_input",
        )
    else:
        rail, file = VoltsAmperes("supply", files, 1, 1), "in1_input"
    rail.watts()
    interval = files.text("update_interval")
    known_ms = float(interval) if interval and interval.isdecimal() and int(interval) else None
    window_ms = known_ms or _WINDOW_MS.get(chip.name, _OTHERS_MS)
    info = SensorInfo(
        name=name,
        kind=_KIND,
        scope=scope,
        gives="power",
        rails=("supply",),
        total=("supply",),
        place=str(chip.folder / file),
        lsb_w=_step_w(files),
        max_hz=min(round(1000 / window_ms, 1), _MOST_HZ),
        window_ms=window_ms,
    )
    return RailSensor(info, [rail], host)


def _direction(files: ChipFiles) -> int | None:
    return 1 if "curr1_input" in files else None


def _step_w(files: ChipFiles) -> float | None:
    if files.chip.name == "ina260":
        return _INA260_STEP_W
    shunt = files.text("shunt_resistor")
    if files.chip.name not in _STEPS or not shunt or not shunt.isdecimal() or not int(shunt):
        return None
    microvolts, factor = _STEPS[files.chip.name]
    return microvolts / int(shunt) * factor

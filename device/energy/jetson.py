"""INA3221 of every Jetson: rails by label, and which of them are the whole module.

Labels and totals: NVIDIA's L4T driver sources and device trees, jetson_stats for the AGX Orin
(which adds up all rails) and the Thor (whose whole is the INA238's input). VDD_IN is the module's
input, not the carrier board's: 2.18 W where a meter at the board's socket showed 2.6 W (NVIDIA's
forum, 348662).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slfac.device.energy.base import PassedOver, Probe, Scope, SensorInfo
from slfac.device.energy.channels import Microwatts, Milliwatts, VoltsAmperes
from slfac.device.energy.host import Host
from slfac.device.energy.hwmon import Chip, ChipFiles, find_chips
from slfac.device.energy.iio import IioChannel, find_iio
from slfac.device.energy.rails import Rail, RailSensor
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError, SettingsError

_NAME: Final = "jetson"
# What a module draws as a whole: no sum may hold one of them and another rail.
_WHOLE: Final = ("VIN", "VDD_IN", "POM_5V_IN")
# Boards without such a rail, by their rails; jtop adds them all up.
_SUMS: Final = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
_NOTES: Final = {
    "VDDQ_VDD2_1V8AO": "whether VIN_SYS_5V0 holds VDDQ_VDD2_1V8AO is not known: "
    "the sum may count it twice (setting total)",
}
# The driver's default: three channels of 1.1 ms for each of voltage and current.
_CYCLE_MS: Final = 6.6
# A read of a voltage or a current waits for a conversion: some 13 ms a rail.
_RAIL_MS: Final = 13.3
# An INA238 starts with three conversions of 1.052 ms, and its power is read at once.
_INPUT_MS: Final = 3.2
_SHUNT_STEP_UV: Final = 40


@dataclass(frozen=True)
class _Found:
    """A rail, where it is, the step of its current, and how long it measures and is read."""

    rail: Rail
    place: str
    step_a: float | None
    cycle_ms: float
    read_ms: float = _RAIL_MS


def probe_jetson(host: Host, settings: SensorSettings) -> Probe:
    """Find the rails of a Jetson.

    Args:
        host: Where to look.
        settings: Which rails are the total, and whether all are read.

    Raises:
        SettingsError: ``total`` names rails that there are not, or counts something twice.
    """
    probe = Probe()
    found = _iio(host, probe) + _hwmon(host, probe)
    if not found:
        return probe
    labels = [each.rail.label for each in found]
    total = _total(labels, settings, probe)
    if total:
        kept = found if settings.all_rails else [f for f in found if f.rail.label in total]
        probe.sensors.append(_sensor(host, kept, total, settings.scope or "module"))
    return probe


def _sensor(host: Host, found: list[_Found], total: tuple[str, ...], scope: Scope) -> RailSensor:
    info = SensorInfo(
        name=_NAME,
        kind=_NAME,
        scope=scope,
        gives="power",
        rails=tuple(each.rail.label for each in found),
        total=total,
        place=", ".join(dict.fromkeys(each.place for each in found)),
        lsb_w=_step_w(found, total),
        max_hz=round(1000 / sum(each.read_ms for each in found), 1),
        window_ms=max(each.cycle_ms for each in found),
        note="; ".join(_NOTES[rail] for rail in total if rail in _NOTES),
    )
    return RailSensor(info, [each.rail for each in found], host)


def _iio(host: Host, probe: Probe) -> list[_Found]:
    found = []
    for chip in find_iio(host):
        for channel, label in chip.rails:
            rail = Milliwatts(label, IioChannel(host, chip, channel).milliwatts)
            each = _Found(rail, f"ina3221x {chip.address}", None, _CYCLE_MS)
            found += _readable(channel, each, probe)
    return found


def _hwmon(host: Host, probe: Probe) -> list[_Found]:
    chips = find_chips(host)
    found = []
    for chip in chips:
        if chip.name == "ina3221":
            found += _ina3221(host, chip, probe)
    # On a Thor; elsewhere an INA238 is a meter that somebody has put in.
    inputs = [chip for chip in chips if chip.name == "ina238"]
    if found and len(inputs) == 1:
        files = ChipFiles(host, inputs[0])
        rail = Microwatts("VIN", files, "power1_input", sign=1)
        each = _Found(rail, f"ina238 {inputs[0].address}", None, _INPUT_MS, _INPUT_MS)
        found += _readable(1, each, probe)
    return found


def _ina3221(host: Host, chip: Chip, probe: Probe) -> list[_Found]:
    files = ChipFiles(host, chip)
    cycle = files.text("update_interval")
    cycle_ms = float(cycle) if cycle and cycle.isdecimal() and int(cycle) else _CYCLE_MS
    found = []
    if not chip.labels:
        why = "its channels have no labels, so that what they measure is not known"
        probe.passed.append(PassedOver(_NAME, str(chip.folder), why))
    for channel, label in chip.labels:
        # The seventh is the sum of shunt voltages; four to six are shunt voltages.
        if channel not in (1, 2, 3):
            continue
        if files.text(f"in{channel}_enable") == "0":
            probe.passed.append(
                PassedOver(f"{_NAME} {label}", str(chip.folder), "the channel is switched off")
            )
            continue
        shunt = files.text(f"shunt{channel}_resistor")
        step_a = _SHUNT_STEP_UV / int(shunt) if shunt and shunt.isdecimal() and int(shunt) else None
        rail = VoltsAmperes(label, files, channel, channel)
        each = _Found(rail, f"ina3221 {chip.address}", step_a, cycle_ms)
        found += _readable(channel, each, probe)
    return found


def _readable(channel: int, found: _Found, probe: Probe) -> list[_Found]:
    """The rail, if it is one and can be read."""
    label, place = found.rail.label, f"{found.place} channel {channel}"
    if label.upper() == "NC":
        probe.passed.append(PassedOver(f"{_NAME} {label}", place, "it is not connected"))
        return []
    try:
        found.rail.watts()
    except SensorError as error:
        probe.passed.append(PassedOver(f"{_NAME} {label}", place, error.what, error.remedy))
        return []
    return [found]


def _total(labels: list[str], settings: SensorSettings, probe: Probe) -> tuple[str, ...]:
    if settings.total is not None:
        return _chosen(labels, settings.total)
    for whole in _WHOLE:
        if whole in labels:
            return (whole,)
    if any(over.name.split()[-1] in _WHOLE for over in probe.passed):
        return ()  # the part that can be read is not the whole
    for rails in _SUMS:
        if set(rails) <= set(labels):
            return rails
    probe.passed.append(
        PassedOver(
            _NAME,
            "ina3221",
            f"none of the rails {', '.join(labels)} is known to be the whole module",
            f"say which add up to it: --total {','.join(labels)}",
        )
    )
    return ()


def _chosen(labels: list[str], total: tuple[str, ...]) -> tuple[str, ...]:
    missing = [label for label in total if label not in labels]
    if missing:
        raise SettingsError(
            f"setting total is {','.join(total)!r}: there is no rail {missing[0]}",
            f"rails that can be read are {', '.join(labels)}",
        )
    whole = [label for label in total if label in _WHOLE]
    if len(total) > 1 and whole:
        raise SettingsError(
            f"setting total is {','.join(total)!r}: {whole[0]} is the whole module, and holds "
            "the other rails",
            f"take --total {whole[0]}, or leave it out",
        )
    return total


def _step_w(found: list[_Found], total: tuple[str, ...]) -> float | None:
    """The coarsest rail's step at its present voltage."""
    steps = []
    for each in found:
        if each.rail.label not in total:
            continue
        if each.step_a is None or not isinstance(each.rail, VoltsAmperes):
            return None
        try:
            millivolts = each.rail.files.value(f"in{each.rail.volts}_input")
        except SensorError:
            return None
        steps.append(each.step_a * millivolts / 1e3)
    return round(max(steps), 6) if steps else None

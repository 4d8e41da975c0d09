"""Any other chip of hwmon that tells energy, power, or voltage and current."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slfac.device.energy.base import PassedOver, Probe, Scope, SensorInfo
from slfac.device.energy.channels import Microwatts, VoltsAmperes
from slfac.device.energy.counter import Counter, CounterSensor
from slfac.device.energy.host import Host
from slfac.device.energy.hwmon import Chip, ChipFiles, find_chips, numbers
from slfac.device.energy.ina2xx import CHIPS
from slfac.device.energy.rails import Rail, RailSensor
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError

_KIND: Final = "hwmon"
# What these are drivers of, and so what they measure.
_SCOPES: Final[dict[str, Scope]] = {
    "amd_energy": "soc",
    "fam15h_power": "soc",
    "macsmc_hwmon": "board",
    "power_meter": "wall",
    "xgene": "soc",
    "zenergy": "soc",
}
_OTHERS: Final = ("ina3221", *CHIPS)
# Of amd_energy, which also counts each core.
_SOCKET: Final = "Esocket"
_NO_METERS: Final = ("ucsi_source_psy_", "BAT", "AC")


def probe_generic(host: Host, settings: SensorSettings) -> Probe:
    """Find chips that no other driver here knows.

    Args:
        host: Where to look.
        settings: What such a chip measures, where its name does not tell.
    """
    probe = Probe()
    for chip in find_chips(host):
        if chip.name in _OTHERS or chip.name.startswith(_NO_METERS):
            continue
        _add(host, settings, chip, probe)
    return probe


def _add(host: Host, settings: SensorSettings, chip: Chip, probe: Probe) -> None:
    name = f"{_KIND}@{chip.address or chip.name}"
    files = ChipFiles(host, chip)
    try:
        counters, rails = _counters(files), _rails(files)
    except SensorError as error:
        probe.passed.append(PassedOver(name, str(chip.folder), error.what, error.remedy))
        return
    labels = tuple(counters) or tuple(rails)
    if not labels:
        return
    scope = settings.scope or _SCOPES.get(chip.name)
    total = _total(labels, settings)
    why = ""
    if scope is None:
        why = f"what chip {chip.name} measures is not known"
    elif not total:
        why = f"which of its rails {', '.join(labels)} add up to the whole is not known"
    if why:
        remedy = f"say it: --sensor {name} --scope {scope or 'board'}"
        remedy += "" if total else f" --total {labels[0]}"
        probe.passed.append(PassedOver(name, str(chip.folder), why, remedy))
        return
    info = SensorInfo(
        name=name,
        kind=_KIND,
        scope=scope,
        gives="energy" if counters else "power",
        rails=labels,
        total=total,
        place=str(chip.folder),
    )
    probe.sensors.append(
        CounterSensor(info, counters, host)
        if counters
        else RailSensor(info, list(rails.values()), host)
    )


def _total(labels: tuple[str, ...], settings: SensorSettings) -> tuple[str, ...]:
    """Rails that add up to what the chip measures; none if that is not known."""
    if settings.total is not None:
        return settings.total if set(settings.total) <= set(labels) else ()
    return labels if len(labels) == 1 else tuple(la for la in labels if la.startswith(_SOCKET))


def _counters(files: ChipFiles) -> dict[str, Counter]:
    counters = {
        _label(files, "energy", n): Counter(_count(files, f"energy{n}_input"), 1e-6)
        for n in numbers(files.chip, "energy")
    }
    for counter in counters.values():
        counter.read()
    return counters


def _rails(files: ChipFiles) -> dict[str, Rail]:
    """Powers that the chip tells, or else voltages times currents."""
    found: list[Rail] = []
    for suffix in ("average", "input"):
        found += [
            Microwatts(_label(files, "power", n), files, f"power{n}_{suffix}")
            for n in numbers(files.chip, "power", suffix)
        ]
    if not found:
        volts = set(numbers(files.chip, "in"))
        found += [
            VoltsAmperes(_label(files, "curr", n), files, n, n)
            for n in numbers(files.chip, "curr")
            if n in volts
        ]
    rails = {rail.label: rail for rail in found}
    for rail in rails.values():
        rail.watts()
    return rails


def _count(files: ChipFiles, file: str) -> Callable[[], int]:
    return lambda: files.value(file)


def _label(files: ChipFiles, kind: str, number: int) -> str:
    return files.text(f"{kind}{number}_label") or f"{kind}{number}"

"""RAPL: energy counters of x86 processors, through the kernel's powercap.

Files in uJ; they begin again at ``max_energy_range_uj``. Only root may read them since
CVE-2020-8694.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from slfac.device.energy.base import PassedOver, Probe, Scope, SensorInfo
from slfac.device.energy.counter import Counter, CounterSensor
from slfac.device.energy.host import Host, unreadable
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError

_NAME: Final = "rapl"
_ZONES: Final = "sys/class/powercap/intel-rapl:*"
_PERMIT: Final = (
    "let this user read it, at each start of the machine: sudo chmod a+r "
    "/sys/class/powercap/intel-rapl*/energy_uj (docs/energy.md, permissions)"
)
# Four sockets.
_MOST_W: Final = 4000.0


def probe_rapl(host: Host, settings: SensorSettings) -> Probe:
    """Find the energy counters of an x86 processor.

    Args:
        host: Where to look.
        settings: Nothing of them is used.
    """
    del settings
    probe = Probe()
    counters: dict[str, Counter] = {}
    packages, platform = [], []
    for zone in _zones(host):
        label = _label(host, zone)
        try:
            counters[label] = _counter(host, zone)
        except SensorError as error:
            probe.passed.append(
                PassedOver(f"{_NAME} {label}", str(zone / "energy_uj"), error.what, error.remedy)
            )
            continue
        # Subzones, such as core and dram, are shown but not added: a package holds its cores.
        if label.startswith("package-") and "/" not in label:
            packages.append(label)
        elif label == "psys":
            platform.append(label)
    parts = {label: counters[label] for label in counters if label not in platform}
    # A socket that cannot be read is missing in the sum.
    if packages and not any(over.name.startswith(f"{_NAME} package-") for over in probe.passed):
        probe.sensors.append(_sensor(host, parts, name=_NAME, scope="soc", total=packages))
    if platform:
        whole = {label: counters[label] for label in platform}
        name = f"{_NAME}@psys"
        probe.sensors.append(_sensor(host, whole, name=name, scope="board", total=platform))
    return probe


def _sensor(
    host: Host,
    counters: dict[str, Counter],
    *,
    name: str,
    scope: Scope,
    total: list[str],
) -> CounterSensor:
    info = SensorInfo(
        name=name,
        kind=_NAME,
        scope=scope,
        gives="energy",
        rails=tuple(counters),
        total=tuple(total),
        place=str(host.root / _ZONES / "energy_uj"),
        # The processor updates them each millisecond.
        max_hz=1000.0,
        window_ms=1.0,
        most_w=_MOST_W,
    )
    return CounterSensor(info, counters, host)


def _zones(host: Host) -> list[Path]:
    return sorted(host.root.glob(_ZONES), key=lambda zone: [*map(_number, zone.name.split(":"))])


def _number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def _label(host: Host, zone: Path) -> str:
    """The zone's name; a part's behind its package's: ``package-0/core``."""
    name = host.text(zone / "name") or zone.name
    parent, _, part = zone.name.rpartition(":")
    if parent.count(":") == 0 or not part:
        return name
    return f"{host.text(zone.parent / parent / 'name') or parent}/{name}"


def _counter(host: Host, zone: Path) -> Counter:
    file, most = zone / "energy_uj", zone / "max_energy_range_uj"
    _microjoules(host, file)
    range_uj = _microjoules(host, most)
    if range_uj <= 0:
        raise SensorError(f"{most} holds {range_uj}", "a kernel's fault")
    return Counter(lambda: _microjoules(host, file), 1e-6, range_uj)


def _microjoules(host: Host, file: Path) -> int:
    try:
        return host.integer(file)
    except OSError as error:
        raise unreadable(file, error, _PERMIT) from error

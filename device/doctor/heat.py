"""Does the board run at the speed that it could: temperature, throttling, power mode?

Files and bits: the kernel's thermal and cpufreq interfaces; raspberrypi/linux
``drivers/firmware/raspberrypi.c`` (``get_throttled``, hexadecimal); NVIDIA's ``nvpmodel`` and
``soctherm_oc`` on a Jetson.
"""

from __future__ import annotations

import re
from pathlib import Path

from slfac.device.doctor.finding import Finding, read_text

_HOT_C = 80.0
# Zones that are off say -256000 or fail.
_POSSIBLE_C = (-60.0, 150.0)
_NOW = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_SINCE_BOOT = 16
_POWER = "use the board's own power supply and a short cable"
_COOL = "cool the board: a heat sink, a fan, air around it"
# Their "powersave" is as quick as the load asks for.
_SCALING_DRIVERS = ("intel_pstate", "amd-pstate", "amd-pstate-epp")
_PMODE = re.compile(r"pmode:0*(\d+)", re.ASCII)
_MODEL = r"POWER_MODEL\s+ID=0*{}\s+NAME=(\S+)"


def check_temperature(root: Path) -> Finding:
    """The hottest thermal zone.

    Args:
        root: Root of the file system.
    """
    found = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        text = read_text(zone / "temp")
        if text is None or not re.fullmatch(r"-?\d{1,7}", text, re.ASCII):
            continue
        celsius = int(text) / 1000
        if _POSSIBLE_C[0] < celsius < _POSSIBLE_C[1]:
            found.append((celsius, read_text(zone / "type") or zone.name))
    if not found:
        return Finding("unknown", "temperature", "the kernel shows no sensor (/sys/class/thermal)")
    celsius, name = max(found)
    text = f"{celsius:.1f} degrees C ({name}, the hottest of {len(found)})"
    if celsius >= _HOT_C:
        return Finding("warning", "temperature", text, _COOL)
    return Finding("ok", "temperature", text)


def check_throttling(root: Path) -> Finding:
    """Whether the board holds its clock down, or has since it was started.

    Args:
        root: Root of the file system.
    """
    for path in sorted((root / "sys/devices/platform").glob("soc*/*firmware/get_throttled")):
        text = read_text(path)
        if text is not None and re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text):
            return _raspberry(int(text, 16))
    counts = _overcurrents(root)
    if not counts:
        return Finding("unknown", "throttling", "no sensor of it that slfac knows")
    if any(counts):
        return Finding(
            "warning",
            "throttling",
            f"over-current or under-voltage {sum(counts)} times since the start",
            f"{_POWER}; or choose a lower power mode (nvpmodel)",
        )
    return Finding("ok", "throttling", "none since the start")


def check_governor(root: Path) -> Finding:
    """Whether the CPU's frequency is free to rise.

    Args:
        root: Root of the file system.
    """
    policies = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"))
    found = {
        (governor, read_text(policy / "scaling_driver") or "")
        for policy in policies
        if (governor := read_text(policy / "scaling_governor"))
    }
    if not found:
        return Finding("unknown", "governor", "the kernel shows none (cpufreq)")
    text = ", ".join(sorted({governor for governor, _ in found}))
    if any(g == "powersave" and driver not in _SCALING_DRIVERS for g, driver in found):
        return Finding(
            "warning",
            "governor",
            f"{text}: the CPU stays at its lowest frequency",
            "echo schedutil | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
        )
    return Finding("ok", "governor", text)


def check_power_mode(root: Path) -> Finding | None:
    """A Jetson's power mode; None on other boards.

    Args:
        root: Root of the file system.
    """
    status = read_text(root / "var/lib/nvpmodel/status")
    if status is None and read_text(root / "etc/nv_tegra_release") is None:
        return None
    match = _PMODE.search(status or "")
    if match is None:
        return Finding("unknown", "power mode", "nvpmodel has left no status")
    names = read_text(root / "etc/nvpmodel.conf") or ""
    name = re.search(_MODEL.format(match[1]), names)
    return Finding("ok", "power mode", f"{match[1]}" + (f" ({name[1]})" if name else ""))


def _raspberry(bits: int) -> Finding:
    now = [text for bit, text in _NOW.items() if bits >> bit & 1]
    before = [text for bit, text in _NOW.items() if bits >> bit + _SINCE_BOOT & 1]
    if not now and not before:
        return Finding("ok", "throttling", "none since the start")
    said = [f"now: {', '.join(now)}"] * bool(now) + [
        f"since the start: {', '.join(before)}"
    ] * bool(before)
    causes = {*now, *before}
    remedies = [_POWER] * ("under-voltage" in causes) + [_COOL] * (causes != {"under-voltage"})
    return Finding("warning", "throttling", "; ".join(said), "; ".join(remedies))


def _overcurrents(root: Path) -> list[int]:
    counts = []
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if read_text(chip / "name") != "soctherm_oc":
            continue
        texts = [read_text(path) for path in sorted(chip.glob("oc*_event_cnt"))]
        counts += [int(text) for text in texts if text and text.isdecimal()]
    return counts

"""Does the board run at the speed that it could: temperature, throttling, power mode?"""

from __future__ import annotations

from pathlib import Path

from slfac.device.doctor.finding import Finding
from slfac.device.energy.conditions import (
    causes,
    causes_since_boot,
    governor,
    is_jetson,
    overcurrents,
    policies,
    power_mode,
    temperatures,
    throttle_bits,
)
from slfac.device.energy.host import host_at

_HOT_C = 80.0
_POWER = "use the board's own power supply and a short cable"
_COOL = "cool the board: a heat sink, a fan, air around it"
# Their "powersave" is as quick as the load asks for.
_SCALING_DRIVERS = ("intel_pstate", "amd-pstate", "amd-pstate-epp")


def check_temperature(root: Path) -> Finding:
    """The hottest thermal zone.

    Args:
        root: Root of the file system.
    """
    found = [(celsius, name) for name, celsius in temperatures(host_at(root)).items()]
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
    host = host_at(root)
    bits = throttle_bits(host)
    if bits is not None:
        return _raspberry(bits)
    counts = overcurrents(host)
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
    host = host_at(root)
    found = {
        (chosen, host.text(policy / "scaling_driver") or "")
        for policy in policies(host)
        if (chosen := governor(host, policy))
    }
    if not found:
        return Finding("unknown", "governor", "the kernel shows none (cpufreq)")
    text = ", ".join(sorted({chosen for chosen, _ in found}))
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
    host = host_at(root)
    if not is_jetson(host):
        return None
    mode = power_mode(host)
    if mode is None:
        return Finding("unknown", "power mode", "nvpmodel has left no status")
    return Finding("ok", "power mode", mode)


def _raspberry(bits: int) -> Finding:
    now, before = causes(bits), causes_since_boot(bits)
    if not now and not before:
        return Finding("ok", "throttling", "none since the start")
    said = [f"now: {', '.join(now)}"] * bool(now) + [
        f"since the start: {', '.join(before)}"
    ] * bool(before)
    found = {*now, *before}
    remedies = [_POWER] * ("under-voltage" in found) + [_COOL] * (found != {"under-voltage"})
    return Finding("warning", "throttling", "; ".join(said), "; ".join(remedies))

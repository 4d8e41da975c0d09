"""What a board's power depends on: temperature, clocks, throttling, power mode.

Files and bits: the kernel's thermal, cpufreq and devfreq interfaces; raspberrypi/linux
``drivers/firmware/raspberrypi.c`` (``get_throttled``, hexadecimal); NVIDIA's ``nvpmodel`` and
``soctherm_oc`` on a Jetson.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slfac.device.energy.host import Host

# Zones that are off say -256000 or fail.
_POSSIBLE_C: Final = (-60.0, 150.0)
THROTTLES: Final = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
_SINCE_BOOT: Final = 16
_COMMAND: Final = ("vcgencmd", "get_throttled")
_PMODE: Final = re.compile(r"pmode:0*(\d+)", re.ASCII)
_MODEL: Final = r"POWER_MODEL\s+ID=0*{}\s+NAME=(\S+)"
_INTEGER: Final = re.compile(r"-?\d{1,12}", re.ASCII)
_HEX: Final = re.compile(r"(?:throttled=)?((?:0x)?[0-9a-fA-F]{1,8})", re.ASCII)


@dataclass(frozen=True)
class Conditions:
    """The state of a board at one time; what is not known is left out or None.

    Attributes:
        temperatures_c: By thermal zone.
        clocks_mhz: By cpufreq policy, and by devfreq device (a Jetson's GPU).
        governors: By cpufreq policy.
        throttled_now: What holds the board's clock down now.
        throttled_since_boot: What has since it was started.
        overcurrents: Events that a Jetson's over-current protection has counted.
        power_mode: A Jetson's, such as ``2 (MAXN_SUPER)``.
    """

    temperatures_c: dict[str, float]
    clocks_mhz: dict[str, float]
    governors: dict[str, str]
    throttled_now: tuple[str, ...] | None
    throttled_since_boot: tuple[str, ...] | None
    overcurrents: int | None
    power_mode: str | None


def read_conditions(host: Host) -> Conditions:
    """Read all of them.

    Args:
        host: Where to look; a Raspberry Pi's firmware may have to be asked by a command.
    """
    bits = throttle_bits(host)
    counts = overcurrents(host)
    return Conditions(
        temperatures_c=temperatures(host),
        clocks_mhz=clocks(host),
        governors={policy.name: g for policy in policies(host) if (g := governor(host, policy))},
        throttled_now=None if bits is None else causes(bits),
        throttled_since_boot=None if bits is None else causes_since_boot(bits),
        overcurrents=sum(counts) if counts else None,
        power_mode=power_mode(host),
    )


def temperatures(host: Host) -> dict[str, float]:
    """Degrees C of each thermal zone that is on.

    Args:
        host: Where to look.
    """
    found: dict[str, float] = {}
    for zone in _numbered(host.root / "sys/class/thermal", "thermal_zone"):
        text = host.text(zone / "temp")
        if text is None or not _INTEGER.fullmatch(text):
            continue
        celsius = int(text) / 1000
        if _POSSIBLE_C[0] < celsius < _POSSIBLE_C[1]:
            name = host.text(zone / "type") or zone.name
            found[name if name not in found else f"{name} {zone.name}"] = celsius
    return found


def clocks(host: Host) -> dict[str, float]:
    """Present frequencies in MHz, of CPUs and of what else the kernel scales.

    Args:
        host: Where to look.
    """
    # cpufreq counts in kHz, devfreq in Hz.
    files = [(policy.name, policy / "scaling_cur_freq", 1e3) for policy in policies(host)]
    devices = sorted((host.root / "sys/class/devfreq").glob("*"))
    files += [(device.name, device / "cur_freq", 1e6) for device in devices]
    found = ((name, host.text(file), unit) for name, file, unit in files)
    return {name: int(text) / unit for name, text, unit in found if text and text.isdecimal()}


def policies(host: Host) -> list[Path]:
    """Folders of CPUs that share a clock.

    Args:
        host: Where to look.
    """
    return _numbered(host.root / "sys/devices/system/cpu/cpufreq", "policy")


def governor(host: Host, policy: Path) -> str | None:
    """How such CPUs choose their clock.

    Args:
        host: Where to look.
        policy: Their folder.
    """
    return host.text(policy / "scaling_governor") or None


def throttle_bits(host: Host) -> int | None:
    """A Raspberry Pi's ``get_throttled``; None on other boards.

    Args:
        host: Where to look, and whose command is run where there is no file.
    """
    platform = host.root / "sys/devices/platform"
    for path in sorted(platform.glob("soc*/*firmware/get_throttled")):
        text = host.text(path)
        if text is not None and (match := _HEX.fullmatch(text)):
            return int(match[1], 16)
    if not (host.text(host.root / "proc/device-tree/model") or "").startswith("Raspberry Pi"):
        return None
    try:
        match = _HEX.fullmatch(host.run(_COMMAND).strip())
    except OSError:
        return None
    return int(match[1], 16) if match else None


def causes(bits: int) -> tuple[str, ...]:
    """What the lowest four bits of ``get_throttled`` say.

    Args:
        bits: The bits; from 16 on they stand for the time since the start.
    """
    return tuple(text for bit, text in THROTTLES.items() if bits >> bit & 1)


def causes_since_boot(bits: int) -> tuple[str, ...]:
    """What ``get_throttled`` says of the time since the start.

    Args:
        bits: All of them.
    """
    return causes(bits >> _SINCE_BOOT)


def overcurrents(host: Host) -> list[int]:
    """Counts of a Jetson's over-current events; none on other boards.

    Args:
        host: Where to look.
    """
    counts = []
    for chip in sorted((host.root / "sys/class/hwmon").glob("hwmon*")):
        if host.text(chip / "name") != "soctherm_oc":
            continue
        texts = [host.text(path) for path in sorted(chip.glob("oc*_event_cnt"))]
        counts += [int(text) for text in texts if text and text.isdecimal()]
    return counts


def is_jetson(host: Host) -> bool:
    """Whether a board has NVIDIA's release or power modes.

    Args:
        host: Where to look.
    """
    files = ("var/lib/nvpmodel/status", "etc/nv_tegra_release")
    return any(host.text(host.root / file) is not None for file in files)


def power_mode(host: Host) -> str | None:
    """A Jetson's power mode, as ``2 (MAXN_SUPER)``; None on other boards or where it is unknown.

    Args:
        host: Where to look.
    """
    match = _PMODE.search(host.text(host.root / "var/lib/nvpmodel/status") or "")
    if match is None:
        return None
    # The same number is another mode on another board: its own table names it.
    names = host.text(host.root / "etc/nvpmodel.conf") or ""
    name = re.search(_MODEL.format(match[1]), names)
    return match[1] + (f" ({name[1]})" if name else "")


def _numbered(folder: Path, prefix: str) -> list[Path]:
    """Folders of a name and a number, in the order of their numbers."""
    found = [path for path in folder.glob(f"{prefix}*") if path.name[len(prefix) :].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[len(prefix) :]))

"""Measures slfac's transport and plain TCP over the same emulated links, one after the other."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from slfac.testbed.collect import machine, versions
from slfac.testbed.emulate.lan import Lan, raise_lan
from slfac.testbed.emulate.plan import SERVER, LanPlan, PlannedLink
from slfac.testbed.goodput.baseline import IPERF, measure_plain, tool
from slfac.testbed.goodput.stream import PAYLOAD_BYTES, Direction
from slfac.testbed.write import replace_file
from slfac.wire.errors import RunError, SettingsError
from slfac.wire.keys import AllowList, new_keys
from slfac.wire.transfer import WINDOW_BYTES

_DIRECTIONS: Final[tuple[Direction, ...]] = ("up", "down")
_SLACK_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class GoodputSettings:
    """What to measure.

    Attributes:
        mbits: Rates of the links, 10**6 bits a second.
        delay_ms: Delay one way.
        loss: Share of packets that get lost.
        repeat: How often each is measured; the median is reported.
        warm_up_s: How long each waits before it counts.
        seconds: How long it counts.
        shaper: As of an inventory's ``emulate``.
        congestion: Likewise.
        json: File to write all figures to; None for none.
        command: The command line, for that file.
    """

    mbits: tuple[float, ...] = (5.0, 20.0, 100.0)
    delay_ms: float = 20.0
    loss: float = 0.0
    repeat: int = 3
    warm_up_s: float = 2.0
    seconds: float = 10.0
    shaper: str = "auto"
    congestion: str = "auto"
    json: Path | None = None
    command: str = ""


@dataclass(frozen=True)
class Goodput:
    """What one direction of one link carried.

    Attributes:
        mbits: Its rate, 10**6 bits a second, Ethernet's headers included.
        direction: ``up`` or ``down``.
        plain_mbits: TCP's payload, median.
        slfac_mbits: Payload of slfac's messages, median.
        share: The second by the first.
        plain: All repetitions.
        slfac: All repetitions.
    """

    mbits: float
    direction: Direction
    plain_mbits: float
    slfac_mbits: float
    share: float
    plain: tuple[float, ...]
    slfac: tuple[float, ...]


def measure_goodput(
    settings: GoodputSettings, on_progress: Callable[[int, int, str], None]
) -> list[Goodput]:
    """Measure, and write the file where one is wanted.

    Args:
        settings: What to measure.
        on_progress: Called with how many measurements are done, how many there are, and what
            comes next.

    Returns:
        A row for each rate and direction.

    Raises:
        SettingsError: A setting is out of range.
        RunError: No hosts can be made here, or a measurement failed.
    """
    _check(settings)
    names = {f"link-{number}": rate for number, rate in enumerate(settings.mbits, 1)}
    # Of TCP alone, a relay's ends are two connections: nothing there is comparable.
    shaper = settings.shaper if settings.shaper != "auto" else "tap"
    links = tuple(_link(name, rate, settings) for name, rate in names.items())
    plan = LanPlan(
        name=f"goodput-{os.getpid()}",
        links=links,
        shaper=shaper,
        congestion=settings.congestion,
        made_by="slfac testbed goodput",
    )
    plain: dict[tuple[str, Direction], list[float]] = {}
    ours: dict[tuple[str, Direction], list[float]] = {}
    with raise_lan(plan) as lan, tempfile.TemporaryDirectory(prefix="slfac-") as folder:
        keys = _make_keys(Path(folder))
        todo = [(n, d) for _ in range(settings.repeat) for n in names for d in _DIRECTIONS]
        for number, (name, direction) in enumerate(todo):
            text = f"{names[name]:g} Mbit/s {direction}"
            on_progress(2 * number, 2 * len(todo), f"{text}, {tool()}")
            rate = measure_plain(
                lan, name, direction, warm_up_s=settings.warm_up_s, seconds=settings.seconds
            )
            plain.setdefault((name, direction), []).append(rate / 1e6)
            on_progress(2 * number + 1, 2 * len(todo), f"{text}, slfac")
            rate = _measure_ours(lan, name, direction, keys, settings)
            ours.setdefault((name, direction), []).append(rate / 1e6)
        facts = {
            "shaper": lan.shaper,
            "congestion": lan.congestion,
            "seed": plan.seed,
            "counters": lan.counters(),
        }
    rows = [_row(names[n], d, plain[n, d], ours[n, d]) for n in names for d in _DIRECTIONS]
    if settings.json is not None:
        _write(settings, rows, facts)
    return rows


def _check(settings: GoodputSettings) -> None:
    for name, value, least, most in (
        ("repeat", settings.repeat, 1, 1000),
        ("seconds", settings.seconds, 1, 3600),
        ("warm_up_s", settings.warm_up_s, 0, 60),
        ("delay_ms", settings.delay_ms, 0, 10_000),
        ("loss", settings.loss, 0, 0.5),
        *(("mbits", rate, 0.1, 1000) for rate in settings.mbits),
    ):
        if not least <= value <= most:
            what = f"setting {name} is {value}"
            raise SettingsError(what, f"give one from {least} to {most}")
    if settings.shaper == "relay":
        raise SettingsError("setting shaper is 'relay'", "it ends TCP itself: use tap or kernel")


def _link(name: str, mbits: float, settings: GoodputSettings) -> PlannedLink:
    return PlannedLink(
        device=name,
        up_bit_per_s=mbits * 1e6,
        down_bit_per_s=mbits * 1e6,
        delay_s=settings.delay_ms / 1e3,
        jitter_s=0.0,
        loss=settings.loss,
        queue_s=0.1,
    )


def _make_keys(folder: Path) -> Path:
    server = new_keys(folder / "server", "server")
    AllowList(folder / "server").enroll("link", new_keys(folder / "device", "device", server))
    return folder


def _measure_ours(
    lan: Lan, device: str, direction: Direction, keys: Path, settings: GoodputSettings
) -> float:
    """Bits a second of payload that slfac's transport carries over a device's link."""
    times = (str(settings.warm_up_s), str(settings.seconds))
    processes = {
        role: subprocess.Popen(  # noqa: S603 - our own command, no shell
            lan.hosts[host].command(
                [
                    *(sys.executable, "-m", "slfac.testbed.goodput.ends"),
                    *(role, direction, lan.server_address, str(keys / role), *times),
                ]
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for role, host in (("server", SERVER), ("device", device))
    }
    receiver = processes["server" if direction == "up" else "device"]
    try:
        limit_s = settings.warm_up_s + settings.seconds + _SLACK_S
        out, err = receiver.communicate(timeout=limit_s)
        said: dict[str, Any] = json.loads(out or b"{}")
    except subprocess.TimeoutExpired as error:
        raise RunError(f"nothing came over {device} {direction} within {limit_s:g} s") from error
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    if "bytes" not in said:
        last = err.decode(errors="replace").strip().rpartition("\n")[2]
        raise RunError(f"the measurement over {device} {direction} failed: {last or 'silence'}")
    return 8 * float(said["bytes"]) / float(said["seconds"])


def _row(mbits: float, direction: Direction, plain: list[float], ours: list[float]) -> Goodput:
    middle, mine = statistics.median(plain), statistics.median(ours)
    return Goodput(
        mbits=mbits,
        direction=direction,
        plain_mbits=round(middle, 3),
        slfac_mbits=round(mine, 3),
        share=round(mine / middle, 4),
        plain=tuple(round(rate, 3) for rate in plain),
        slfac=tuple(round(rate, 3) for rate in ours),
    )


def _write(settings: GoodputSettings, rows: list[Goodput], facts: dict[str, Any]) -> None:
    version = _iperf_version() if tool() == IPERF else None
    result = {
        "command": settings.command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {**machine(), "load_15_min": round(os.getloadavg()[2], 2)},
        "versions": {**versions(), **({"iperf3": version} if version else {})},
        "baseline": tool(),
        "delay_ms": settings.delay_ms,
        "loss": settings.loss,
        "repeat": settings.repeat,
        "warm_up_s": settings.warm_up_s,
        "seconds": settings.seconds,
        "payload_bytes": PAYLOAD_BYTES,
        "window_bytes": WINDOW_BYTES,
        **facts,
        "rows": [asdict(row) for row in rows],
    }
    assert settings.json is not None  # noqa: S101 - the caller has looked
    replace_file(settings.json, json.dumps(result, indent=1).encode() + b"\n")


def _iperf_version() -> str | None:
    done = subprocess.run([IPERF, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    words = done.stdout.split()
    return words[1] if len(words) > 1 else None

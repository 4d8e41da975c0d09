"""A picture of a run as the JSON document that the page draws."""

from __future__ import annotations

import math
from typing import Any

from slfac.server.energy import total_energies
from slfac.server.ledger import PHASES
from slfac.server.live.curve import Curve
from slfac.server.live.device import DevicePicture, Sums
from slfac.server.live.links import Links
from slfac.server.live.picture import Picture

# A page with more rows is of no use to anyone, and takes long to draw.
MOST_DEVICES = 128
_DIGITS = 5
_FACTS = (
    "run",
    "model",
    "cut",
    "slfac",
    "torch",
    "torch_device",
    "machine",
    "test_samples",
    "mode",
)
_SETTINGS = (
    *("rounds", "batch_size", "steps_per_round", "optimizer", "schedule", "codec_up"),
    *("codec_down", "partition", "seed"),
)


def document(picture: Picture, links: Links | None, now_s: float) -> dict[str, Any]:
    """Write down a picture.

    Args:
        picture: The run.
        links: Counts of the sockets; None where only the run's events are known.
        now_s: Monotonic time.

    Returns:
        JSON values. What tells of the server's machine and folders is left out.
    """
    with picture.lock:
        devices = list(picture.devices.values())
        shown = [
            _device(device, links, now_s, ended=bool(picture.ended))
            for device in devices[:MOST_DEVICES]
        ]
        settings = picture.facts.get("settings", {})
        return {
            "facts": {name: picture.facts.get(name) for name in _FACTS}
            | {name: settings.get(name) for name in _SETTINGS},
            "state": _state(picture),
            "ended": picture.ended,
            "rounds": picture.rounds,
            "best_round": picture.best_round,
            "steps": picture.steps,
            **_times(picture, now_s),
            "samples_per_s": _short(_speed(picture, now_s)),
            **_bytes(picture, links),
            **_joules(devices, ended=bool(picture.ended)),
            "by_round": _columns(picture.by_round),
            "by_step": _columns(picture.by_step),
            "by_time": _columns(picture.by_time),
            "phases": list(PHASES),
            "devices": shown,
            "more_devices": len(devices) - len(shown),
            "refused_keys": links.refused_keys if links else None,
            "refused": links.refused if links else None,
            "notices": [list(notice) for notice in reversed(picture.notices)],
        }


def _speed(picture: Picture, now_s: float) -> float:
    """Samples a second now, or in the mean of a run that is over."""
    if not picture.ended:
        return picture.samples_per_s(now_s)
    return sum(device.samples for device in picture.devices.values()) / max(picture.before_s, 1e-3)


def _state(picture: Picture) -> str:
    if picture.ended:
        return "failed" if picture.failed else "ended"
    states = {device.state for device in picture.devices.values()}
    return "training" if "training" in states else "waiting"


def _times(picture: Picture, now_s: float) -> dict[str, float | None]:
    left_s = None
    if picture.rounds and not picture.ended:
        total = picture.facts.get("settings", {}).get("rounds", picture.rounds)
        each_s = picture.round_time.recent / 1e3
        left_s = (total - picture.rounds) * each_s - (now_s - picture.round_began_s)
        left_s = _short(max(left_s, 0.0))
    running_s = 0.0 if picture.ended else now_s - picture.began_s
    return {"seconds": _short(picture.before_s + running_s), "left_s": left_s}


def _bytes(picture: Picture, links: Links | None) -> dict[str, int]:
    """Bytes of the run so far, and what the same would take as float32."""
    devices = picture.devices.values()
    if links is not None:
        up, down = sum(links.bytes_up.values()), sum(links.bytes_down.values())
    else:
        # Between two rounds only the steps are known; fronts and bundles come with the round.
        up = max(picture.bytes.get("bytes_up", 0), sum(d.bytes_up for d in devices))
        down = max(picture.bytes.get("bytes_down", 0), sum(d.bytes_down for d in devices))
    return {
        "bytes_up": up,
        "bytes_down": down,
        "float32_bytes_up": up + sum(device.saved_up for device in devices),
        "float32_bytes_down": down + sum(device.saved_down for device in devices),
    }


def _joules(devices: list[DevicePicture], *, ended: bool) -> dict[str, Any]:
    """Sums by what sensors measure, and how many devices are in none of them."""
    sums = total_energies((device.energy for device in devices), ended=ended)
    return {
        "joules": [
            {"scope": scope, "joules": _short(one.joules), "at_least": one.is_partial}
            for scope, one in sums.items()
        ],
        "joules_unknown": sum(not device.energy.seen for device in devices),
    }


def _device(
    device: DevicePicture, links: Links | None, now_s: float, *, ended: bool
) -> dict[str, Any]:
    up, down = device.bytes_up, device.bytes_down
    if links is not None:
        up = links.bytes_up.get(device.name, up)
        down = links.bytes_down.get(device.name, down)
    return {
        "name": device.name,
        "state": device.state,
        "connected": device.name in links.connected if links else None,
        "note": device.note,
        "round": device.round,
        "step": device.step,
        "steps": device.steps,
        "samples": device.samples,
        "samples_per_s": _short(device.rate.at(now_s)),
        "loss": _short(device.loss),
        "staleness": _short(device.staleness.recent) if device.staleness.count else None,
        "bytes_up": up,
        "bytes_down": down,
        "float32_bytes_up": up + device.saved_up,
        "float32_bytes_down": down + device.saved_down,
        "joules": _joules([device], ended=ended)["joules"],
        "phase_ms": _spent(device.phases),
        "server_ms": _spent(device.server),
        "step_ms": _short(device.whole.recent) if device.whole.count else None,
    }


def _spent(phases: dict[str, Sums]) -> dict[str, float | None] | None:
    if not any(spent.count for spent in phases.values()):
        return None
    return {phase: _short(spent.recent) for phase, spent in phases.items()}


def _columns(curve: Curve) -> dict[str, list[float | None]]:
    return {name: [_short(v) for v in values] for name, values in curve.columns().items()}


def _short(value: float | None) -> float | None:
    """A number that JSON can hold, with as many digits as a drawing needs."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")

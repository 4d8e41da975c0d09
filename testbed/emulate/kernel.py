"""Links shaped by the kernel: a bridge, a pair of interfaces for each host, and queues on them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any, Final

from slfac.testbed.emulate.plan import PlannedLink
from slfac.wire.errors import RunError

BRIDGE: Final = "br0"
_BURST_BYTES: Final = 3028
_PACKET_BYTES: Final = 1514
_LEAST_PACKETS: Final = 20
_MOST_PACKETS: Final = 100_000
_UNLIMITED_PACKETS: Final = 10_000
_RUN_S: Final = 20.0
_MISSING: Final = "qdisc kind is unknown"


def run(*command: str) -> str:
    """Run a program of iproute2 in this process's namespaces.

    Args:
        *command: Program and arguments.

    Returns:
        What it printed.

    Raises:
        RunError: It is not installed, or the kernel refuses.
    """
    try:
        done = subprocess.run(  # noqa: S603 - names and numbers of ours, no shell
            command, capture_output=True, text=True, check=False, timeout=_RUN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"cannot run {command[0]}: {error}", "install iproute2") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        if _MISSING in said:
            said = f"this kernel has no {'netem' if 'netem' in command else 'tbf'}"
        what = f"links cannot be made: {' '.join(command[:5])}: {said}"
        raise RunError(what, "set emulate.shaper to tap")
    return done.stdout


def queue_of(link: PlannedLink, bit_per_s: float | None) -> list[str]:
    """The queueing discipline that shapes one direction, as ``tc`` takes it; none if none does.

    Args:
        link: The link.
        bit_per_s: Its rate that way.
    """
    if not (link.delay_s or link.jitter_s or link.loss):
        if bit_per_s is None:
            return []
        burst = str(max(_BURST_BYTES, round(bit_per_s / 8 * 0.001)))
        return ["tbf", "rate", _rate(bit_per_s), "burst", burst, "latency", _time(link.queue_s)]
    command = ["netem", "limit", str(_limit(link, bit_per_s))]
    if link.delay_s or link.jitter_s:
        command += ["delay", _time(link.delay_s), *[_time(link.jitter_s)] * bool(link.jitter_s)]
    if link.loss:
        command += ["loss", f"{100 * link.loss:.6f}%"]
    return [*command, *["rate", _rate(bit_per_s)]] if bit_per_s else command


def counted(interface: str) -> dict[str, int]:
    """What an interface's queue has passed on and dropped.

    Args:
        interface: The interface, of this process's network namespace.

    Raises:
        RunError: It cannot be asked.
    """
    queues: Sequence[dict[str, Any]] = json.loads(
        run("tc", "-s", "-j", "qdisc", "show", "dev", interface)
    )
    root = next((queue for queue in queues if queue.get("root")), queues[0] if queues else {})
    return {
        "packets": int(root.get("packets", 0)),
        "sent_bytes": int(root.get("bytes", 0)),
        "dropped": int(root.get("drops", 0)),
    }


def _limit(link: PlannedLink, bit_per_s: float | None) -> int:
    """Packets that the queue and the link hold: netem counts both as one."""
    if bit_per_s is None:
        return _UNLIMITED_PACKETS
    held_s = link.queue_s + link.delay_s + link.jitter_s
    return min(max(round(bit_per_s * held_s / 8 / _PACKET_BYTES), _LEAST_PACKETS), _MOST_PACKETS)


def _rate(bit_per_s: float) -> str:
    return f"{round(bit_per_s)}bit"


def _time(seconds: float) -> str:
    return f"{round(1e6 * seconds)}us"

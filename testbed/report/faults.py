"""What went wrong in a run, and how it went on, from its events."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence

from slfac.testbed.report.events import Begun, Coming, Device, End, Round, Step
from slfac.testbed.report.model import Fault

# From here on a pause between a device's steps is told of, if it is as much longer than usual.
_STALL_S = 5.0
_STALL_TIMES = 10.0
_FINISHED = "finished"


def faults_of(
    begun: Begun,
    *,
    comings: Sequence[Coming],
    steps: Mapping[str, Sequence[Step]],
    rounds: Sequence[Round],
    devices: Mapping[str, Device],
    end: End | None,
) -> tuple[Fault, ...]:
    """Everything that did not go as it should, in order.

    Args:
        begun: The run's beginning.
        comings: Who came and went, and what failed.
        steps: Steps of each device.
        rounds: The rounds.
        devices: What was said of each device at the end.
        end: The run's end; None where it has none.

    Returns:
        The faults. What is counted for the whole run alone stands at its end.
    """
    found = [
        *(_fault(begun, index, comings) for index in range(len(comings))),
        *_stalls(begun, comings, steps, rounds),
    ]
    timed = sorted((fault for fault in found if fault is not None), key=lambda fault: fault.at_s)
    last_s = max([end.seconds if end else 0.0, *(fault.at_s for fault in timed)])
    return (*timed, *_counted(last_s, devices, end))


def _at_s(begun: Begun, event: Coming | Step) -> float:
    return round((event.time - begun.time).total_seconds(), 3)


def _fault(begun: Begun, index: int, comings: Sequence[Coming]) -> Fault | None:
    event = comings[index]
    at_s = _at_s(begun, event)
    if event.event == "left" and event.reason != _FINISHED:
        back_s = _back_s(event, comings[index + 1 :])
        return Fault(at_s=at_s, who=event.device, what=f"left: {event.reason}", recovered_s=back_s)
    if event.event == "resumed":
        return Fault(at_s=at_s, who=event.device, what="started again, and began its round again")
    if event.event == "reconnected":
        silent_s = event.silent_s or 0.0
        return Fault(
            at_s=round(at_s - silent_s, 3),
            who=event.device,
            what="its connection broke, and it went on over a new one",
            recovered_s=silent_s,
        )
    if event.event == "restarted":
        return Fault(at_s=at_s, who="server", what=f"started again after {event.round} rounds")
    if event.event in ("evaluation_failed", "checkpoint_failed"):
        what = f"{event.event.replace('_', ' ')}: {event.reason}"
        return Fault(at_s=at_s, who="server", what=what)
    return None


def _back_s(left: Coming, later: Sequence[Coming]) -> float | None:
    """After how long a device that left was let in again."""
    for event in later:
        if event.device == left.device and event.event in ("joined", "resumed"):
            return round((event.time - left.time).total_seconds(), 3)
    return None


def _stalls(
    begun: Begun,
    comings: Sequence[Coming],
    steps: Mapping[str, Sequence[Step]],
    rounds: Sequence[Round],
) -> list[Fault]:
    """Pauses between a device's steps that no other event explains.

    Those over a round's end, in which the server evaluates, are compared with one another.
    """
    found = []
    for device, made in steps.items():
        told = [event.time for event in comings if event.device == device]
        pauses: dict[bool, list[tuple[Step, float]]] = {False: [], True: []}
        for before, later in itertools.pairwise(made):
            if not any(before.time <= time <= later.time for time in told):
                ends = any(before.time <= one.time <= later.time for one in rounds)
                pauses[ends].append((before, (later.time - before.time).total_seconds()))
        for kind in pauses.values():
            usual_s = statistics.median(pause_s for _, pause_s in kind) if kind else 0.0
            found += [
                Fault(
                    at_s=_at_s(begun, before),
                    who=device,
                    what="made no step for a while",
                    recovered_s=round(pause_s, 3),
                )
                for before, pause_s in kind
                if pause_s > max(_STALL_S, _STALL_TIMES * usual_s)
            ]
    return found


def _counted(at_s: float, devices: Mapping[str, Device], end: End | None) -> list[Fault]:
    counted = [
        (device.device, f"{device.late} steps were made without it")
        for device in devices.values()
        if device.late
    ]
    if end is not None:
        counted += [("server", f"refused {n} messages ({why})") for why, n in end.refused.items()]
        if end.refused_keys:
            what = f"refused {end.refused_keys} connections for their keys"
            counted.append(("server", what))
        if end.repeated:
            counted.append(("server", f"{end.repeated} requests came again after a break"))
    return [Fault(at_s=at_s, who=who, what=what) for who, what in counted]

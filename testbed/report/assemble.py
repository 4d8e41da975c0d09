"""From the events of a run to its report, whether the run came to its end or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from slfac.testbed.report.events import Begun, Coming, Device, End, Round, Step
from slfac.testbed.report.faults import faults_of
from slfac.testbed.report.model import DeviceReport, RoundPoint, RunReport

_LARGEST_OFFSET_MS = 1e15
_SUMS = (
    *("bytes_up", "bytes_down", "float32_bytes_up", "float32_bytes_down"),
    *("wire_bytes_up", "wire_bytes_down"),
)


@dataclass
class Log:
    """A run's events by kind, each in order.

    Attributes:
        begun: How it began.
        rounds: Its rounds; of one that was made again after a restart, the last.
        devices: What was said of each device at the end.
        steps: Steps of each device.
        comings: Who came and went, and what failed.
        end: Its end, if it has one.
    """

    begun: Begun
    rounds: dict[int, Round] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    steps: dict[str, list[Step]] = field(default_factory=lambda: defaultdict(list))
    comings: list[Coming] = field(default_factory=list)
    end: End | None = None

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.end is not None and bool(self.rounds)


def log_of(events: Iterable[Struct | None]) -> tuple[Log | None, int]:
    """Sort events by kind.

    Args:
        events: The events, None for damaged ones.

    Returns:
        The log, None where no run begins; and how many events were damaged.
    """
    log: Log | None = None
    damaged = 0
    for event in events:
        if event is None:
            damaged += 1
        elif isinstance(event, Begun):
            log = log or Log(event)
        elif log is not None:
            _take(log, event)
    return log, damaged


def _take(log: Log, event: Struct) -> None:
    if isinstance(event, Round):
        log.rounds[event.round] = event
    elif isinstance(event, Device):
        log.devices[event.device] = event
    elif isinstance(event, Step):
        log.steps[event.device].append(event)
    elif isinstance(event, Coming):
        log.comings.append(event)
        if event.event == "restarted":
            # It may go on behind its end, with more rounds.
            log.end = None
    elif isinstance(event, End):
        log.end = event


def assemble(log: Log, *, dataset: str) -> RunReport:
    """Make a report.

    Args:
        log: The run's events.
        dataset: What to call the data set.

    Returns:
        The report, without versions and machine.
    """
    begun = log.begun
    rounds = [log.rounds[number] for number in sorted(log.rounds)]
    points = _points(rounds)
    devices = _devices(log, rounds)
    settings = begun.settings
    last = points[-1] if points else None
    return RunReport(
        accuracy=last.accuracy if last else None,
        balanced_accuracy=last.balanced_accuracy if last else None,
        test_loss=last.test_loss if last else None,
        recall=tuple((rounds[-1].recall if rounds else None) or ()),
        confusion=_confusion(rounds),
        seconds=last.seconds if last else 0.0,
        rounds=len(points),
        devices=len(devices),
        codec=_codec(settings),
        seed=_integer(settings.get("seed")),
        model=begun.model,
        cut=begun.cut,
        dataset=dataset,
        partition=str(settings.get("partition", "")),
        train_samples=sum(device.samples for device in devices),
        test_samples=begun.test_samples or 0,
        date=begun.time.isoformat(timespec="milliseconds"),
        per_device=tuple(devices),
        by_round=tuple(points),
        accuracy_by_round=tuple(point.accuracy for point in points),
        loss_by_round=tuple(point.loss for point in points),
        finished=log.finished,
        mode=begun.mode,
        revision=begun.revision,
        settings=settings,
        faults=faults_of(
            begun,
            comings=log.comings,
            steps=log.steps,
            rounds=rounds,
            devices=log.devices,
            end=log.end,
        ),
        **_sums(log, last),
    )


def _sums(log: Log, last: RoundPoint | None) -> dict[str, Any]:
    """Bytes of the whole run; before its end, those of its last round."""
    if log.devices:
        return {key: sum(getattr(d, key) for d in log.devices.values()) for key in _SUMS}
    sums = {key: getattr(last, key) if last else 0 for key in _SUMS[:4]}
    return {**sums, "wire_bytes_up": sums["bytes_up"], "wire_bytes_down": sums["bytes_down"]}


def _confusion(rounds: Sequence[Round]) -> tuple[tuple[int, ...], ...]:
    """The last round's matrix, if it is one of its classes."""
    last = rounds[-1] if rounds else None
    matrix = (last.confusion if last else None) or ()
    classes = len((last.recall if last else None) or ())
    whole = len(matrix) == classes and all(len(row) == classes for row in matrix)
    return matrix if whole else ()


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _codec(settings: dict[str, object]) -> str:
    up, down = str(settings.get("codec_up", "?")), str(settings.get("codec_down", "?"))
    return up if up == down else f"{up} up, {down} down"


def _points(rounds: Sequence[Round]) -> list[RoundPoint]:
    points = []
    seconds = 0.0
    joules: dict[str, float] | None = None
    for event in rounds:
        seconds += event.seconds
        joules = _more_joules(joules, event)
        points.append(
            RoundPoint(
                round=event.round + 1,
                accuracy=event.accuracy,
                loss=event.train_loss,
                seconds=seconds,
                bytes_up=event.bytes_up,
                bytes_down=event.bytes_down,
                float32_bytes_up=event.float32_bytes_up,
                float32_bytes_down=event.float32_bytes_down,
                balanced_accuracy=event.balanced_accuracy,
                test_loss=event.loss,
                joules=joules,
            )
        )
    return points


def _more_joules(before: dict[str, float] | None, event: Round) -> dict[str, float]:
    """Energy up to the end of a round: of each scope that was known in every round so far."""
    now = {} if event.energy_unknown else event.energy
    return {
        scope: (before or {}).get(scope, 0.0) + one.joules
        for scope, one in now.items()
        if one.joules is not None and (before is None or scope in before)
    }


def _devices(log: Log, rounds: Sequence[Round]) -> list[DeviceReport]:
    clocks = rounds[-1].clocks if rounds else {}
    names = [*log.devices, *(name for name in log.steps if name not in log.devices)]
    return [
        _device(log.devices[name], _offset_ms(clocks.get(name)))
        if name in log.devices
        else _device_so_far(name, log.steps[name])
        for name in names
    ]


def _offset_ms(clock: dict[str, object] | None) -> float | None:
    value = (clock or {}).get("offset_ms")
    if isinstance(value, int | float) and abs(value) < _LARGEST_OFFSET_MS:
        return float(value)
    return None


def _device(event: Device, offset_ms: float | None) -> DeviceReport:
    summary = event.summary
    return DeviceReport(
        name=event.device,
        samples=summary.samples if summary else 0,
        torch_imported=summary.torch_imported if summary else False,
        peak_rss_mb=round(summary.peak_rss_bytes / 1e6, 1) if summary else 0.0,
        bytes_up=event.bytes_up,
        bytes_down=event.bytes_down,
        steps=event.steps,
        phase_ms={phase: round(value, 3) for phase, value in event.phase_ms.items()},
        provider=summary.provider if summary else "",
        joules={
            scope: round(spent.joules, 3)
            for scope, spent in event.energy.spent.items()
            if spent.covered_s > 0
        },
        wire_bytes_up=event.wire_bytes_up,
        wire_bytes_down=event.wire_bytes_down,
        late=event.late,
        refused=event.refused,
        clock_offset_ms=offset_ms,
    )


def _device_so_far(name: str, steps: Sequence[Step]) -> DeviceReport:
    """What the steps of a device say, where the run has not come to its end."""
    phase_ms: dict[str, float] = defaultdict(float)
    for step in steps:
        for phase, value in (step.phase_ms or {}).items():
            phase_ms[phase] += value
    return DeviceReport(
        name=name,
        samples=0,
        torch_imported=False,
        peak_rss_mb=0.0,
        bytes_up=sum(step.bytes_up for step in steps),
        bytes_down=sum(step.bytes_down for step in steps),
        steps=len(steps),
        phase_ms={phase: round(value, 3) for phase, value in phase_ms.items()},
    )

"""Measures a board from beginning to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

import msgspec

from slfac.device.energy.base import PowerSensor
from slfac.device.energy.conditions import Conditions, read_conditions
from slfac.device.energy.host import Host
from slfac.device.profiling.bench import Bench
from slfac.device.profiling.board import machine, versions
from slfac.device.profiling.fronts import measure_codec, measure_front
from slfac.device.profiling.idle import BUSY_SHARE, measure_idle
from slfac.device.profiling.kernels import array_bytes, kernels, measure_kernel
from slfac.device.profiling.progress import Progress
from slfac.device.profiling.record import SCHEMA, BoardFacts, LinkFacts, Record, Section
from slfac.device.profiling.recorder import Recorder
from slfac.device.profiling.settings import ProfileSettings
from slfac.device.profiling.trial import Tried, front_names, open_bundles, try_front

# Without a sensor, idleness only shows whether something else runs.
_LOOK_S = 2.0
# What starting a process takes on top of what it measures.
_START_S = 2.0


@dataclass(frozen=True)
class Subject:
    """What is measured, and by whom.

    Attributes:
        board: Which board this is.
        command: The command line.
        link: The link to a peer, measured before; None without.
    """

    board: BoardFacts
    command: str
    link: LinkFacts | None = None


def run_profile(
    settings: ProfileSettings,
    *,
    host: Host,
    sensor: PowerSensor,
    subject: Subject,
    say: Callable[[str], None],
) -> Record:
    """Measure everything that the settings ask for.

    Args:
        settings: What, for how long, and how often.
        host: Where conditions are read; its clock must be the monotonic one, which processes share.
        sensor: What measures power; it is not closed.
        subject: What to write down about the board and the command.
        say: Takes lines about what runs, how long the rest takes, and what went wrong.

    Returns:
        All that was measured.

    Raises:
        SlfacError: A front, a codec or the data does not work, which is found out at first; see
            :func:`slfac.device.profiling.trial.try_front`.
    """
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    names = front_names(settings.bundles)
    bundles = open_bundles(settings)
    if sensor.info.gives == "nothing":
        say(
            "NO SENSOR measures this board's power: times are measured, joules and watts are not "
            "(`slfac profile sensors` says what was looked for)"
        )
    if not bundles:
        say("no bundle is named: neither fronts nor codecs are measured")
    fronts = [
        try_front(bundle, name, settings, say) for bundle, name in zip(bundles, names, strict=True)
    ]
    before = read_conditions(host)
    with Recorder(sensor, host) as recorder:
        course = _Course(Bench(settings, host, recorder), fronts, say)
        course.run()
        seconds = host.clock() * 1e-9 - recorder.begin_s
        return Record(
            schema=SCHEMA,
            command=subject.command,
            date=date,
            seconds=round(seconds, 3),
            board=subject.board,
            machine=machine(host),
            versions=versions(),
            settings={name: _text(value) for name, value in _asked(settings)},
            before=before,
            after=read_conditions(host),
            sensor=recorder.facts(),
            notes=tuple(_notes(course, before)),
            fronts=tuple(front.facts for front in fronts),
            sections=tuple(course.sections),
            readings=recorder.readings(),
            link=subject.link,
        )


class _Course:
    """One section after another."""

    def __init__(self, bench: Bench, fronts: list[Tried], say: Callable[[str], None]) -> None:
        self.bench = bench
        self.sections: list[Section] = []
        self.notes: list[str] = []
        self._fronts = fronts
        self._say = say
        self._lost = False

    def run(self) -> None:
        """Measure all of them."""
        settings, bench = self.bench.settings, self.bench
        has_sensor = bench.recorder.has_sensor
        idle_s = settings.idle_s if has_sensor else min(settings.idle_s, _LOOK_S)
        size, note = array_bytes(bench.host, settings.array_mib)
        self.notes += [note] if note else []
        of_board = kernels(size)
        progress = Progress(self._say, self._expected_s(idle_s, len(of_board), has_sensor))
        if idle_s:
            self._idle(progress, "before", idle_s)
        for section, task in of_board:
            progress.begin(section.label)
            self._take(measure_kernel(bench, section, task))
        for index, front in enumerate(self._fronts):
            progress.begin(f"front {front.facts.name}")
            self._take(measure_front(bench, index, front))
            for spec in settings.codecs:
                progress.begin(f"codec {spec} on {front.facts.name}")
                self._take(measure_codec(bench, index, front, spec))
        if idle_s and has_sensor:
            self._idle(progress, "after", idle_s)

    def _expected_s(self, idle_s: float, of_board: int, has_sensor: bool) -> list[float]:
        settings = self.bench.settings
        gap_s = settings.gap_s if has_sensor else 0.0

        def steps_s(one_s: float) -> float:
            measured_s = settings.repetitions * max(settings.least_s, one_s)
            return gap_s + settings.warm_up * one_s + measured_s

        expected = [idle_s] * bool(idle_s)
        expected += [settings.repetitions * settings.least_s + _START_S] * of_board
        for front in self._fronts:
            expected.append(steps_s(front.step_s))
            expected += [steps_s(front.codec_s[spec]) for spec in settings.codecs]
        return expected + [idle_s] * bool(idle_s and has_sensor)

    def _idle(self, progress: Progress, when: str, seconds: float) -> None:
        progress.begin(f"idle {when}")
        section, busy = measure_idle(self.bench, when, seconds)
        self._take(section)
        if busy > BUSY_SHARE:
            note = f"other programs took {100 * busy:.0f} % of the processor while idle {when}"
            self.notes.append(note)
            self._say(f"{note}: figures suffer from that")

    def _take(self, section: Section) -> None:
        """Keep a section, and say what is wrong with it."""
        self.sections.append(section)
        if section.failed:
            self._say(f"{section.label} was not measured: {section.failed}")
        throttled = sum(bool(one.throttled) for one in section.repetitions)
        if throttled:
            count = len(section.repetitions)
            self._say(
                f"the board was throttled in {throttled} of {count} repetitions, which are left out"
                + (": nothing is left" if throttled == count else "")
            )
        recorder = self.bench.recorder
        if recorder.lost_s is not None and not self._lost:
            self._say(f"THE SENSOR IS LOST: {recorder.error}; joules are unknown from now on")
        self._lost = recorder.lost_s is not None


def _notes(course: _Course, before: Conditions) -> list[str]:
    """What a reader of the figures must know."""
    recorder, settings = course.bench.recorder, course.bench.settings
    notes = list(course.notes)
    if not recorder.has_sensor:
        notes.insert(0, "no sensor: times only, no joules and no watts")
    facts = recorder.facts()
    if facts is not None and facts.lost_s is not None:
        notes.append(f"the sensor gave nothing from second {facts.lost_s:.0f} on: {facts.error}")
    elif facts is not None and facts.failures:
        notes.append(f"{facts.failures} of {facts.reads} readings failed: {facts.error}")
    if recorder.unseen:
        notes.append(f"there was no room for {recorder.unseen} readings")
    if settings.bundles and settings.data is None:
        notes.append(
            "batches were seeded noise, not data, and codecs had what fronts make of noise"
        )
    repetitions = [one for section in course.sections for one in section.repetitions]
    if throttled := sum(bool(one.throttled) for one in repetitions):
        notes.append(f"{throttled} of {len(repetitions)} repetitions were throttled and left out")
    if before.governors and set(before.governors.values()) == {"powersave"}:
        notes.append("the CPU's governor was powersave")
    return notes


def _asked(settings: ProfileSettings) -> list[tuple[str, object]]:
    return list(msgspec.structs.asdict(settings).items())


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

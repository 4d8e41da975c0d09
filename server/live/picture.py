"""A running run as its metrics events tell it, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from slfac.server.live.curve import Curve
from slfac.server.live.device import DevicePicture, Sums
from slfac.server.result import RoundResult
from slfac.server.resume import Standing

Event = dict[str, Any]
ROUND_COLUMNS = (
    *("round", "step", "train_loss", "loss", "accuracy", "balanced_accuracy"),
    *("participation", "seconds"),
)
_MOST_NOTICES = 40
_MOST_CHARACTERS = 300
# Steps of all devices between two points of the curve of samples a second.
_RATE_EVERY_S = 1.0


class Picture:
    """What a run looks like.

    Events come from one thread; whoever reads holds :attr:`lock`.

    Attributes:
        lock: Held while an event is taken in.
        facts: The ``run`` event.
        ended: How it ended, for people; empty while it goes on.
        failed: Whether it ended with an error.
        began_s: Monotonic time at which it began, or went on.
        round_began_s: Monotonic time at which its present round began.
        before_s: Seconds of the rounds before it went on.
        rounds: Finished rounds.
        last_round: The last ``round`` event.
        best_round: The best round so far, from 0; None before a score.
        round_time: How long rounds took.
        steps: Steps of all devices.
        by_round: A point a round.
        by_step: Loss over the steps of all devices.
        by_time: Samples a second over the seconds since it began, or went on.
        devices: By name.
        bytes: Bytes both ways and their float32 size at the last finished round.
        notices: What happened lately: when, and what.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._handlers: dict[str, Callable[[Event, float], None]] = {
            "run": self.begin,
            "joined": self._on_joined,
            "resumed": self._on_resumed,
            "reconnected": self._on_reconnected,
            "restarted": self._on_restarted,
            "step": self._on_step,
            "energy": self._on_energy,
            "round": self._on_round,
            "left": self._on_left,
            "early_stop": self._on_early_stop,
            "evaluation_failed": self._on_failure,
            "checkpoint_failed": self._on_failure,
            "device": self._on_device,
            "end": self._on_end,
        }
        self.begin({"devices": []}, 0.0)

    def begin(self, facts: Event, at_s: float) -> None:
        """Begin a run; all that was known of another is gone.

        Args:
            facts: Fields of the ``run`` event.
            at_s: Monotonic time.
        """
        self.facts = facts
        self.ended, self.failed = "", False
        self.began_s = self.round_began_s = at_s
        self.before_s = 0.0
        self.rounds, self.steps = 0, 0
        self.last_round: Event = {}
        self.best_round: int | None = None
        self.round_time = Sums()
        self.by_round = Curve(*ROUND_COLUMNS)
        self.by_step = Curve("step", "loss")
        self.by_time = Curve("second", "samples_per_s")
        self.devices = {name: DevicePicture(name) for name in facts["devices"]}
        self.bytes: dict[str, int] = {}
        self.notices: deque[tuple[str, str]] = deque(maxlen=_MOST_NOTICES)
        self._rated_s = at_s

    def take_up(self, standing: Standing) -> None:
        """Go on with a run that was begun before.

        Args:
            standing: Where its checkpoint left it.
        """
        for name, totals in standing.totals.items():
            if name in self.devices:
                self.devices[name].take_up(totals)
        self.steps = sum(device.steps for device in self.devices.values())
        for result in standing.rounds:
            self._add_past(result, len(standing.rounds))
        self.before_s = sum(result.seconds for result in standing.rounds)
        self.best_round = standing.best.get("best_round")

    def take(self, event: Event, at_s: float) -> None:
        """Take in a metrics event; one of an unknown kind changes nothing.

        Args:
            event: The event.
            at_s: Monotonic time at which it happened.
        """
        handler = self._handlers.get(event["event"])
        if handler is not None:
            with self.lock:
                handler(event, at_s)

    def fail(self, reason: str, at_s: float) -> None:
        """The run ended with an error.

        Args:
            reason: For people.
            at_s: Monotonic time.
        """
        with self.lock:
            if not self.ended:
                self.before_s += at_s - self.began_s
                self.ended, self.failed = reason[:_MOST_CHARACTERS], True

    def samples_per_s(self, now_s: float) -> float:
        """Samples a second of all devices.

        Args:
            now_s: Monotonic time.
        """
        return sum(device.rate.at(now_s) for device in self.devices.values())

    def _add_past(self, result: RoundResult, rounds: int) -> None:
        score = result.score.as_event() if result.score else {}
        # A checkpoint knows how many steps there were in all.
        event = {**result.as_event(), **score, "steps": self.steps * (result.round + 1) // rounds}
        self._add_round(event)

    def _add_round(self, event: Event) -> None:
        self.rounds = event["round"] + 1
        self.last_round = event
        self.round_time.add(event["seconds"] * 1e3)
        values = {**event, "round": self.rounds, "step": event.get("steps", self.steps)}
        self.by_round.add(*(values.get(column) for column in ROUND_COLUMNS))
        names = ("bytes_up", "bytes_down", "float32_bytes_up", "float32_bytes_down")
        self.bytes = {name: event[name] for name in names}

    def _on_round(self, event: Event, at_s: float) -> None:
        self._add_round(event)
        self.best_round = event.get("best_round")
        self.round_began_s = at_s

    def _on_step(self, event: Event, at_s: float) -> None:
        device = self.devices.get(event["device"])
        if device is None:
            return
        if not self.steps:
            self.round_began_s = at_s
        device.on_step(event, at_s)
        self.steps += 1
        self.by_step.add(self.steps, event["loss"])
        # Of a first step nobody knows how long it took.
        rate = self.samples_per_s(at_s) if at_s - self._rated_s >= _RATE_EVERY_S else 0.0
        if rate:
            self._rated_s = at_s
            self.by_time.add(at_s - self.began_s, rate)

    def _on_energy(self, event: Event, _: float) -> None:
        device = self.devices.get(event["device"])
        if device is not None:
            device.on_energy(event)

    def _on_joined(self, event: Event, _: float) -> None:
        self._enter(event)
        self._note(event, f"{event['device']} joined")

    def _on_resumed(self, event: Event, _: float) -> None:
        self._enter(event)
        self._note(event, f"{event['device']} goes on from the beginning of its round")

    def _on_reconnected(self, event: Event, _: float) -> None:
        silent_s = event["silent_s"]
        self._note(event, f"{event['device']} connected again after {silent_s:.1f} s of silence")

    def _enter(self, event: Event) -> None:
        device = self.devices.get(event["device"])
        if device is not None:
            device.state, device.note = "waiting", ""

    def _on_restarted(self, event: Event, at_s: float) -> None:
        self.began_s = self.round_began_s = self._rated_s = at_s
        self._note(event, f"the server goes on after {event['round']} rounds")

    def _on_left(self, event: Event, _: float) -> None:
        device = self.devices.get(event["device"])
        if device is None:
            return
        finished = event["reason"] == "finished"
        device.state = "finished" if finished else "left"
        device.note = "" if finished else str(event["reason"])[:_MOST_CHARACTERS]
        self._note(event, f"{event['device']} left: {event['reason']}")

    def _on_early_stop(self, event: Event, _: float) -> None:
        self._note(event, f"early stop: no gain in {event['measure']}")

    def _on_failure(self, event: Event, _: float) -> None:
        self._note(event, f"{event['event'].replace('_', ' ')}: {event['reason']}")

    def _on_device(self, event: Event, _: float) -> None:
        device = self.devices.get(event["device"])
        if device is not None:
            device.bytes_up, device.bytes_down = event["bytes_up"], event["bytes_down"]

    def _on_end(self, event: Event, _: float) -> None:
        self.ended = "stopped early, for want of gain" if event.get("stopped_early") else "finished"
        self.before_s = event["seconds"]
        self._note(event, f"the run has {self.ended}")

    def _note(self, event: Event, text: str) -> None:
        self.notices.append((event["time"], text[:_MOST_CHARACTERS]))

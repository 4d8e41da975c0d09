"""The trainer: rounds, who is in them, and when they end."""

from __future__ import annotations

import enum
import queue
import time
from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Any

from slfac.server.assembly import assemble
from slfac.server.attendance import Attendance
from slfac.server.back import LARGEST_VALUE
from slfac.server.best import Watch
from slfac.server.chronicle import Chronicle
from slfac.server.evaluate import Evaluator
from slfac.server.events import Arrived, Event, Failed, Left, Lost, Reconnected, Restarted
from slfac.server.kept import KeptReplies
from slfac.server.ledger import Ledger
from slfac.server.metrics import Metrics
from slfac.server.modes.base import Mode
from slfac.server.protocol import RunFacts
from slfac.server.refusals import cause_of_error
from slfac.server.result import RoundResult
from slfac.server.resume import Checkpoint
from slfac.server.settings import ServerSettings
from slfac.server.transport import Transport
from slfac.wire.bundle import State
from slfac.wire.errors import BundleError, CodecError, ProtocolError, TrainingError
from slfac.wire.messages import Directive, Summary
from slfac.wire.transfer import Frames

_POLL_S = 0.5
_GOODBYE_S = 30.0
# A device that comes and goes all the time must not fill the metrics: lines a round.
_MOST_COMINGS = 64
# A device that trickles bytes is not waited for beyond this, however slow its link.
_LAST_GOODBYE_S = 600.0


class Stage(enum.IntEnum):
    """What a rank is ready for; what one is ready for, all do that are ready for less."""

    IDLE = 0
    FINISH = 1
    TRAIN = 2


class Trainer:
    """Runs the rounds of one run on the thread that calls :meth:`run`.

    Args:
        settings: The server's settings.
        facts: Run id, bundle, plan and devices.
        service: Carries requests and answers.
        mode: The way of split learning, with its back half.
        evaluator: Scores the averaged front; None to score nothing.
        watch: Finds the best round by its scores.
        metrics: Where events are written.
        resumed: The checkpoint to go on from; None to begin.
        kept: Where replies are kept; None for the run's folder.

    Attributes:
        front: The front that devices are called with.
        ledger: Sums over steps.
        summaries: What devices said when they left, by index.
    """

    def __init__(
        self,
        *,
        settings: ServerSettings,
        facts: RunFacts,
        service: Transport,
        mode: Mode,
        evaluator: Evaluator | None,
        watch: Watch,
        metrics: Metrics,
        resumed: Checkpoint | None = None,
        kept: KeptReplies | None = None,
    ) -> None:
        self.front: State = facts.bundle.front_state()
        self.ledger = Ledger(facts.roster.names, metrics)
        self.summaries: dict[int, Summary] = {}
        self._settings = settings
        self._facts = facts
        self._service = service
        self._mode = mode
        self._metrics = metrics
        self._kept = kept or KeptReplies(settings.out)
        parts = assemble(settings, facts, mode, kept=self._kept, ledger=self.ledger)
        self._exchange, self._training, self._scores = parts.exchange, parts.training, parts.scores
        self._chronicle = Chronicle(
            settings=settings,
            facts=facts,
            service=service,
            mode=mode,
            evaluator=evaluator,
            watch=watch,
            metrics=metrics,
            ledger=self.ledger,
            exchange=self._exchange,
            kept=self._kept,
        )
        self._here = Attendance(settings.step_timeout_s)
        self._peers = mode.back.peers
        # Whether there may be something to do before anything else happens.
        self._goes_on = False
        # Who waits for a front, and whose own front of this round is in.
        self._waiting: dict[int, Arrived] = {}
        self._finished: dict[int, State] = {}
        self._told: Counter[int] = Counter()
        self._merged = 0
        self._round_start_s = 0.0
        self._waiting_since_s = time.monotonic()
        if resumed is not None:
            self.front = resumed.front(facts.bundle)
            self._chronicle.take_up(resumed)
            self._here.expect(resumed.standing.members, settings.idle_timeout_s)
            self._begin_round()

    @property
    def rounds(self) -> list[RoundResult]:
        """Finished rounds."""
        return self._chronicle.rounds

    @property
    def checkpoint(self) -> Path:
        """Folder of the last checkpoint."""
        return self._chronicle.checkpoint

    def run(self) -> None:
        """Train until the rounds are over, then wait for the devices to say goodbye.

        Raises:
            TrainingError: Training diverged, no devices are left, or too few came.
        """
        while not self._chronicle.over:
            patience_s = 0.0 if self._goes_on else self._training.patience_s
            self._handle(self._next_event(min(_POLL_S, patience_s)))
            self._advance()
        self._see_off()
        self._kept.clear()

    def _see_off(self) -> None:
        """Wait for goodbyes as long as devices still take in their last front."""
        heard_bytes, deadline_s = -1, 0.0
        last_s = time.monotonic() + _LAST_GOODBYE_S
        while self._here.members and time.monotonic() < last_s:
            # Who lost its session over the last front gets it again.
            self._waiting |= self._here.admit()
            self._hand_out(self._waiting.keys(), "stop")
            self._handle(self._next_event(_POLL_S))
            traffic = (self._service.traffic(name) for name in self._facts.roster.names)
            now_s, up_bytes = time.monotonic(), sum(entry.up.bytes for entry in traffic)
            if up_bytes != heard_bytes:
                heard_bytes, deadline_s = up_bytes, now_s + _GOODBYE_S
            elif now_s > deadline_s:
                return

    def _next_event(self, timeout_s: float) -> Event | None:
        try:
            return self._service.events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _handle(self, event: Event | None) -> None:
        if isinstance(event, Arrived):
            try:
                self._on_request(event)
            except (CodecError, ProtocolError, BundleError) as error:
                cause = cause_of_error(error)
                self._refuse(event.index, event.session, error.what, error.remedy, cause)
        elif isinstance(event, Lost):
            self.ledger.gone(event.index)
            self._remove(event.index, event.reason)
        elif isinstance(event, Restarted):
            self._await_return(event.index)
        elif isinstance(event, Reconnected):
            now, silent_s = len(self.rounds), round(event.silent_s, 3)
            self._tell("reconnected", event.index, round=now, silent_s=silent_s)
        elif isinstance(event, Left):
            self.ledger.timings(event.index, event.bye.timings)
            self.ledger.energy(event.index, event.bye.energy)
            self.summaries[event.index] = event.bye.summary
            reason = "finished" if event.bye.finished else "left before the end"
            self._remove(event.index, reason)
        elif isinstance(event, Failed):
            raise event.error

    def _on_request(self, arrived: Arrived) -> None:
        index, header = arrived.index, arrived.transfer.header
        if header.run != self._facts.run:
            raise ProtocolError(f"a request for run {header.run!r} came, this is {self._facts.run}")
        self._here.heard(index)
        # The line of a step that is not over stays open, also while its device makes it again.
        if not (header.part or self._training.is_amid(index)):
            self.ledger.timings(index, header.timings)
        self.ledger.measured(index, header.clock)
        if header.kind == "resume":
            self._on_resume(arrived)
            return
        if header.kind == "join":
            self._on_join(arrived)
        elif self._here.is_away(index):
            raise ProtocolError(f"a {header.kind} request came before its device was taken back")
        elif index not in self._here.members:
            raise ProtocolError(f"a {header.kind} request came from a device that has not joined")
        elif header.kind in {"step", "head"}:
            self._on_step(arrived)
        elif header.kind == "front":
            self._on_front(arrived)
        elif header.kind == "evaluate":
            self._on_evaluate(arrived)
        else:
            self._scores.take(arrived)

    def _on_join(self, arrived: Arrived) -> None:
        index, now, here = arrived.index, len(self.rounds), self._here
        returned = here.is_away(index)
        uncalled = index not in self._mode.called(here.members, self._finished.keys())
        if returned:
            self._remove(index, "it started again, and kept nothing of this run")
        if index in here.members:
            raise ProtocolError("a device that has joined asked to join again")
        here.joining[index] = arrived
        present = {i for i in here.members if not here.is_away(i)} | here.joining.keys()
        missing = [self._name(i) for i in sorted({*self._facts.served} - present)]
        self._tell(
            "joined",
            index,
            round=now,
            missing=missing,
            slfac=arrived.software,
            clock=self.ledger.clock(index),
        )
        same_round = (uncalled or self._is_fresh(now)) and not self._scores.open
        if returned and here.members and same_round:
            # It takes the place that it had: nobody has trained in this round without it, or
            # its turn has not come.
            here.take_back(index)
            self._waiting[index] = arrived

    def _is_fresh(self, round_: int) -> bool:
        """Whether a round is open, and nothing was trained in it."""
        begun = self._round_start_s > 0 and not self._chronicle.over
        return begun and not self._kept.begun(round_)

    def _on_resume(self, arrived: Arrived) -> None:
        """Take a device back that has its round's beginning, or say where the run is."""
        index, round_ = arrived.index, arrived.transfer.header.round
        now = len(self.rounds)
        member = index in self._here.members
        if member and not self._here.is_away(index):
            raise ProtocolError("a device that is in the run asked to resume")
        if member and round_ == now - 1:
            welcome = self._kept.has(index, round_)
        elif member:
            welcome = round_ == now and not self._chronicle.over
        else:
            # Who left this round may come back to it as long as nothing was trained in it.
            welcome = round_ == now and self._is_fresh(now)
        if welcome:
            self._here.take_back(index)
            self._tell("resumed", index, round=round_, clock=self.ledger.clock(index))
        directive: Directive = "train" if welcome else "join"
        answer = self._exchange.write_word(arrived, round_=now, directive=directive)
        self._answer(arrived, answer.frames)

    def _await_return(self, index: int) -> None:
        """Keep the place of a device that opened another session."""
        if index in self._here.members:
            self.ledger.gone(index)
        if not self._training.is_amid(index):
            self.ledger.timings(index, None)
        self._training.drop(index)
        # Its front, where it is in, is what it will make of the round again; so is its score.
        self._waiting.pop(index, None)
        self._scores.drop(index)
        reason = self._here.started_again(index)
        if reason is not None:
            self._remove(index, reason)

    def _on_step(self, arrived: Arrived) -> None:
        header = arrived.transfer.header
        # The second request of a step is numbered as a part behind the first.
        part = header.part + (header.kind == "head")
        self._here.asks_step(arrived.index, header.step, part)
        frames = self._training.take(arrived)
        if frames is not None:
            self._answer(arrived, frames)

    def _on_front(self, arrived: Arrived) -> None:
        index, header = arrived.index, arrived.transfer.header
        now = len(self.rounds)
        again = header.round == now - 1 and self._kept.has(index, header.round)
        if not again:
            if index not in self._training.samples:
                raise ProtocolError("a front came that no step of this round is behind")
            front = self._exchange.read_front(arrived)
            if index not in self._finished:
                self._finished[index] = front
                self.front = self._mode.hand_on(self.front, front)
        self.ledger.front(index, bytes_up=arrived.request_bytes)
        self.ledger.energy(index, header.energy, round_=header.round)
        # Else what the front went into was made before its device, or this server, started again.
        self._waiting[index] = arrived

    def _on_evaluate(self, arrived: Arrived) -> None:
        answer = self._scores.evaluate(arrived, len(self.rounds))
        self._answer(arrived, answer.frames)

    def _advance(self) -> None:
        """Do what all ranks are ready for, as soon as they are."""
        self._refuse_stalling()
        self._goes_on = False
        if self._scores.open:
            self._hand_out(self._waiting.keys(), "evaluate")
            if not self._scores.complete(self._here.members):
                return
            self._close_round()
        active = self._call()
        order = self._training.ready(active)
        if active and not order:
            return
        stage = Stage.TRAIN if order else Stage.FINISH if self._here.members else Stage.IDLE
        stage = Stage(max(int(theirs) for (theirs,) in self._peers.share(stage)))
        self._goes_on = True
        if stage is Stage.TRAIN:
            self._train(order, active)
        elif stage is Stage.FINISH:
            self._finish_round()
        else:
            self._goes_on = self._admit_first()

    def _call(self) -> Set[int]:
        """Who is to train now; those of them who wait for the front get it."""
        called = self._mode.called(self._here.members, self._finished.keys())
        self._hand_out(called & self._waiting.keys(), "train")
        return called

    def _refuse_stalling(self) -> None:
        """Go on without members who are connected, but keep the others waiting for too long."""
        here = self._here
        others_wait = bool(self._training.is_waited_for or self._waiting or here.joining)
        others_wait = others_wait or bool(self._scores.waiting)
        for late in tuple(here.overdue(others_wait=others_wait)):
            if late.session is None:
                self._remove(late.index, late.reason)
            else:
                self._refuse(late.index, late.session, late.reason, "check that device", "late")

    def _admit_first(self) -> bool:
        """Start, or start again after all devices were lost, once enough have joined."""
        joining, total = self._here.joining, len(self._facts.roster)
        (came,) = self._peers.sums(len(joining))
        waited_s = self._peers.least(time.monotonic() - self._waiting_since_s)
        limit_s = self._settings.join_timeout_s
        if self.rounds or self._round_start_s:
            enough = came > 0
            limit_s, wanted = self._settings.idle_timeout_s, 1
        else:
            wanted = self._settings.min_devices or total
            late = 0 < limit_s < waited_s
            enough = came >= (min(wanted, total) if late else total)
        if enough:
            first = not self._round_start_s
            self._begin_round()
            if first:
                self._save(is_best=False)
            self._waiting |= self._here.admit()
        elif 0 < limit_s < waited_s and self._round_start_s:
            raise TrainingError(
                f"all devices were lost, and none came back within {limit_s:g} s",
                "see the devices' own messages; the last checkpoint is kept",
            )
        elif 0 < limit_s < waited_s:
            absent = sorted({*self._facts.served} - joining.keys())
            raise TrainingError(
                f"{came} of {wanted} devices came within {limit_s:g} s; missing: "
                + (", ".join(self._name(index) for index in absent) or "none of those served here"),
                "start them, or raise the time limit",
            )
        return enough

    def _hand_out(self, indices: Set[int], directive: Directive) -> None:
        """Answer those who wait for it with the front."""
        for index in sorted(indices):
            arrived = self._waiting.pop(index)
            answer = self._exchange.write_front(
                arrived, self.front, round_=len(self.rounds), directive=directive
            )
            self._answer(arrived, answer.frames)
            self.ledger.front(index, bytes_down=answer.bytes)

    def _train(self, order: tuple[int, ...], active: Set[int]) -> None:
        left_out = []
        for arrived, frames in self._training.train(order, active):
            if frames is None:
                left_out.append(arrived)
            else:
                self._answer(arrived, frames)
                self._here.made_step(arrived.index)
        present, lost = self._peers.sums(len(self._here.members), len(left_out))
        if present == lost:
            raise TrainingError(
                "no device's loss is finite any more: training diverged", "lower the learning rate"
            )
        for arrived in left_out:
            what = f"its loss is not finite, or its data exceeds {LARGEST_VALUE:g}"
            remedy = "check the data, or lower the learning rate"
            self._refuse(arrived.index, arrived.session, what, remedy, "values")

    def _finish_round(self) -> None:
        samples = self._training.samples
        fronts = {i: (front, samples[i]) for i, front in sorted(self._finished.items())}
        (self._merged,) = self._peers.sums(len(fronts))
        # A rank without fronts has the present one, behind which there are no samples.
        self.front = self._mode.merge(fronts or {-1: (self.front, 0)})
        self._training.end()
        if self._scores.asks:
            self._scores.ask()
            self._hand_out(self._waiting.keys(), "evaluate")
        else:
            self._close_round()

    def _close_round(self) -> None:
        reported = self._scores.waiting
        is_best = self._chronicle.finish_round(
            self.front,
            self._training,
            begun_s=self._round_start_s,
            devices=self._merged,
            own=self._finished.keys(),
            score=self._scores.close(),
        )
        self._save(is_best=is_best)
        directive: Directive = "stop" if self._chronicle.over else "train"
        for _, arrived in sorted(reported.items()):
            answer = self._exchange.write_word(
                arrived, round_=len(self.rounds), directive=directive
            )
            self._answer(arrived, answer.frames)
        reported.clear()
        self._waiting |= self._here.admit()
        self._begin_round()
        if not self._chronicle.over:
            self._call()

    def _save(self, *, is_best: bool) -> None:
        # Who joins is let in with the state that is saved here.
        members = self._here.members | self._here.joining.keys()
        self._chronicle.save(self.front, members, is_best=is_best)
        # No device goes on before all ranks could be started again from here.
        self._peers.confirm(self._mode.back.module)

    def _begin_round(self) -> None:
        self._round_start_s = time.monotonic()
        self._finished.clear()
        self._told.clear()
        self._training.begin(len(self.rounds))

    def _refuse(self, index: int, session: int, what: str, remedy: str, cause: str) -> None:
        self._service.refuse(index, session, what, remedy, cause)
        self._remove(index, f"{what}; {remedy}" if remedy else what)

    def _remove(self, index: int, reason: str) -> None:
        if self._here.members == {index}:
            self._waiting_since_s = time.monotonic()
        self.ledger.timings(index, None)
        self._training.forget(index)
        self._waiting.pop(index, None)
        self._finished.pop(index, None)
        self._scores.drop(index)
        if self._here.remove(index):
            self._tell("left", index, reason=reason)

    def _answer(self, arrived: Arrived, frames: Frames) -> None:
        seq = arrived.transfer.header.seq
        self._service.reply(arrived.index, arrived.session, seq, frames)
        if not self._training.holds(arrived.index):
            self._here.answered(arrived)

    def _tell(self, event: str, index: int, **values: Any) -> None:
        """Write that a device came or went."""
        self._told[index] += 1
        if self._told[index] <= _MOST_COMINGS:
            self._metrics.write(event, device=self._name(index), **values)

    def _name(self, index: int) -> str:
        return self._facts.roster.names[index]

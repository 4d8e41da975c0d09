"""The trainer: rounds, who is in them, and when they end."""

from __future__ import annotations

import queue
import time
from pathlib import Path

from slfac.codec.schedule import make_schedule
from slfac.server.back import LARGEST_VALUE, BackHalf, Outcome
from slfac.server.best import Watch
from slfac.server.chronicle import Chronicle
from slfac.server.evaluate import Evaluator
from slfac.server.events import Arrived, Event, Failed, Left, Lost, Restarted
from slfac.server.exchange import Decoded, Exchange, Step
from slfac.server.kept import KeptReplies
from slfac.server.ledger import Ledger
from slfac.server.metrics import Metrics
from slfac.server.modes.base import Mode
from slfac.server.protocol import RunFacts
from slfac.server.result import RoundResult
from slfac.server.resume import Checkpoint
from slfac.server.service import Service
from slfac.server.settings import ServerSettings
from slfac.wire.bundle import State
from slfac.wire.errors import BundleError, CodecError, ProtocolError, TrainingError
from slfac.wire.messages import Directive, Summary
from slfac.wire.transfer import Frames

_POLL_S = 0.5
_GOODBYE_S = 30.0
# A device that breaks down at the same step each time must not hold up the others for ever.
_MOST_RETURNS = 10
# A device that trickles bytes is not waited for beyond this, however slow its link.
_LAST_GOODBYE_S = 600.0


class Trainer:
    """Runs the rounds of one run on the thread that calls :meth:`run`.

    Args:
        settings: The server's settings.
        facts: Run id, bundle, plan and devices.
        service: The I/O thread.
        mode: The way of split learning.
        back: The back half.
        evaluator: Scores the averaged front; None to score nothing.
        watch: Finds the best round by its scores.
        metrics: Where events are written.
        resumed: The checkpoint to go on from; None to begin.

    Attributes:
        front: The front that the devices have or are about to get.
        ledger: Sums over steps.
        summaries: What devices said when they left, by index.
    """

    def __init__(
        self,
        *,
        settings: ServerSettings,
        facts: RunFacts,
        service: Service,
        mode: Mode,
        back: BackHalf,
        evaluator: Evaluator | None,
        watch: Watch,
        metrics: Metrics,
        resumed: Checkpoint | None = None,
    ) -> None:
        self.front: State = facts.bundle.front_state()
        self.ledger = Ledger(facts.roster.names, metrics)
        self.summaries: dict[int, Summary] = {}
        self._settings = settings
        self._facts = facts
        self._service = service
        self._mode = mode
        self._back = back
        self._metrics = metrics
        self._exchange = _exchange(settings, facts, back)
        self._kept = KeptReplies(settings.out)
        self._chronicle = Chronicle(
            settings=settings,
            facts=facts,
            service=service,
            back=back,
            evaluator=evaluator,
            watch=watch,
            metrics=metrics,
            ledger=self.ledger,
            exchange=self._exchange,
            kept=self._kept,
        )
        rounds, steps = settings.rounds, settings.steps_per_round
        self._schedule = make_schedule(settings.schedule, rounds=rounds, steps_per_round=steps)
        self._share = 1.0
        self._members: set[int] = set()
        # Members without a session that may go on, and until when they are waited for.
        self._away: dict[int, float] = {}
        # Who was answered and has not asked again: its session, and since when.
        self._owing: dict[int, tuple[int, float]] = {}
        # The last step that each asked for since it came, and how often it came without a new one.
        self._asked: dict[int, int] = {}
        self._returns: dict[int, int] = {}
        self._joining: dict[int, Arrived] = {}
        self._steps: dict[int, Step] = {}
        self._fronts: dict[int, tuple[Arrived, State]] = {}
        # Samples of the round by device: a front's weight is what the server saw itself.
        self._trained: dict[int, int] = {}
        self._loss_sum, self._loss_samples = 0.0, 0
        self._round_start_s = 0.0
        self._waiting_since_s = time.monotonic()
        if resumed is not None:
            self._take_up(resumed)

    def _take_up(self, checkpoint: Checkpoint) -> None:
        standing = checkpoint.standing
        self.front = checkpoint.front(self._facts.bundle)
        self._chronicle.take_up(checkpoint)
        self._members = set(standing.members)
        until_s = time.monotonic() + self._settings.idle_timeout_s
        self._away = dict.fromkeys(standing.members, until_s)
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
            self._handle(self._next_event(_POLL_S))
            self._advance()
        self._see_off()
        self._kept.clear()

    def _see_off(self) -> None:
        """Wait for goodbyes as long as devices still take in their last front."""
        heard_bytes, deadline_s = -1, 0.0
        last_s = time.monotonic() + _LAST_GOODBYE_S
        while self._members and time.monotonic() < last_s:
            self._handle(self._next_event(_POLL_S))
            # Who lost its session over the last front gets it again.
            self._admit("stop")
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
                self._refuse(event.index, event.session, error.what, error.remedy)
        elif isinstance(event, Lost):
            self._remove(event.index, event.reason)
        elif isinstance(event, Restarted):
            self._await_return(event.index)
        elif isinstance(event, Left):
            self.ledger.timings(event.index, event.bye.timings)
            self.summaries[event.index] = event.bye.summary
            reason = "finished" if event.bye.finished else "left before the end"
            self._remove(event.index, reason)
        elif isinstance(event, Failed):
            raise event.error

    def _on_request(self, arrived: Arrived) -> None:
        index, header = arrived.index, arrived.transfer.header
        if header.run != self._facts.run:
            raise ProtocolError(f"a request for run {header.run!r} came, this is {self._facts.run}")
        self._owing.pop(index, None)
        self.ledger.timings(index, header.timings)
        if header.kind == "resume":
            self._on_resume(arrived)
            return
        if header.kind == "join":
            self._on_join(arrived)
        elif index in self._away:
            raise ProtocolError(f"a {header.kind} request came before its device was taken back")
        elif index not in self._members:
            raise ProtocolError(f"a {header.kind} request came from a device that has not joined")
        elif header.kind == "step":
            self._on_step(arrived)
        else:
            self._on_front(arrived)

    def _on_join(self, arrived: Arrived) -> None:
        index, now = arrived.index, len(self.rounds)
        returned = index in self._away
        if returned:
            self._remove(index, "it started again, and kept nothing of this run")
        if index in self._members:
            raise ProtocolError("a device that has joined asked to join again")
        self._joining[index] = arrived
        present = self._members | self._joining.keys()
        missing = [n for i, n in enumerate(self._facts.roster.names) if i not in present]
        self._metrics.write("joined", device=self._name(index), round=now, missing=missing)
        if returned and self._members and self._is_fresh(now):
            # It takes the place that it had: nobody has trained in this round without it.
            self._members.add(index)
            del self._joining[index]
            answer = self._exchange.write_front(arrived, self.front, round_=now, directive="train")
            self._answer(arrived, answer.frames)

    def _is_fresh(self, round_: int) -> bool:
        """Whether a round is open, and nothing was trained in it."""
        begun = self._round_start_s > 0 and not self._chronicle.over
        return begun and not self._kept.begun(round_)

    def _on_resume(self, arrived: Arrived) -> None:
        """Take a device back that has its round's beginning, or say where the run is."""
        index, round_ = arrived.index, arrived.transfer.header.round
        now = len(self.rounds)
        member = index in self._members
        if member and index not in self._away:
            raise ProtocolError("a device that is in the run asked to resume")
        if member and round_ == now - 1:
            welcome = self._kept.has(index, round_)
        elif member:
            welcome = round_ == now and not self._chronicle.over
        else:
            # Who left this round may come back to it as long as nothing was trained in it.
            welcome = round_ == now and self._is_fresh(now)
        if welcome:
            self._members.add(index)
            self._away.pop(index, None)
            self._joining.pop(index, None)
            self._metrics.write("resumed", device=self._name(index), round=round_)
        directive: Directive = "train" if welcome else "join"
        answer = self._exchange.write_word(arrived, round_=now, directive=directive)
        self._answer(arrived, answer.frames)

    def _await_return(self, index: int) -> None:
        """Keep the place of a device that opened another session; its old requests are void."""
        self.ledger.timings(index, None)
        for waiting in (self._steps, self._fronts, self._joining, self._owing, self._asked):
            waiting.pop(index, None)
        if index not in self._members:
            return
        self._returns[index] = self._returns.get(index, 0) + 1
        if self._returns[index] > _MOST_RETURNS:
            self._remove(index, f"it started {_MOST_RETURNS} times without making another step")
        else:
            # It is connected, but may have to load its data first.
            self._away[index] = time.monotonic() + self._settings.step_timeout_s

    def _on_step(self, arrived: Arrived) -> None:
        index, header = arrived.index, arrived.transfer.header
        now, before = len(self.rounds), self._asked.get(index, -1)
        if header.step <= before:
            # Asking for kept replies over and over, it would keep the others waiting for ever.
            raise ProtocolError(f"step {header.step} came after step {before}")
        self._asked[index] = header.step
        if header.round == now:
            # Its journal has the beginning of this round by now.
            self._kept.confirm(index, now)
        frames = self._kept.find(index, header.round, header.step, header.session, header.seq)
        if frames is not None:
            self._answer(arrived, frames)
        elif header.round == now:
            self._steps[index] = self._exchange.read_step(arrived)
        else:
            raise ProtocolError(f"a step of round {header.round} came in round {now}")

    def _on_front(self, arrived: Arrived) -> None:
        index, header = arrived.index, arrived.transfer.header
        now = len(self.rounds)
        if header.round == now - 1 and self._kept.has(index, header.round):
            # The average that it is in was made before it, or this server, started again.
            answer = self._exchange.write_front(
                arrived,
                self.front,
                round_=now,
                directive="stop" if self._chronicle.over else "train",
            )
            self._answer(arrived, answer.frames)
            return
        if index not in self._trained:
            raise ProtocolError("a front came that no step of this round is behind")
        self._fronts[index] = (arrived, self._exchange.read_front(arrived))

    def _advance(self) -> None:
        self._refuse_stalling()
        if not self._members:
            self._admit_first()
            return
        active = self._members - self._fronts.keys()
        order = self._mode.ready(active, self._steps.keys())
        if order:
            self._train(order)
        elif not active:
            self._finish_round()

    def _refuse_stalling(self) -> None:
        """Go on without members who are connected, but keep the others waiting for too long."""
        limit_s, now_s = self._settings.step_timeout_s, time.monotonic()
        for index, until_s in sorted(self._away.items()):
            if now_s > until_s:
                self._remove(index, "it did not come back")
        if not (self._steps or self._fronts or self._joining):
            return
        for index, (session, since_s) in sorted(self._owing.items()):
            if now_s - since_s > limit_s:
                what = f"no request for {limit_s:g} s while the others waited"
                self._refuse(index, session, what, "check that device")

    def _admit_first(self) -> None:
        """Start, or start again after all devices were lost, once enough have joined."""
        waited_s = time.monotonic() - self._waiting_since_s
        limit_s = self._settings.join_timeout_s
        total = len(self._facts.roster)
        if self.rounds or self._round_start_s:
            enough = bool(self._joining)
            limit_s, wanted = self._settings.idle_timeout_s, 1
        else:
            wanted = self._settings.min_devices or total
            late = 0 < limit_s < waited_s
            enough = len(self._joining) >= (min(wanted, total) if late else total)
        if enough:
            first = not self._round_start_s
            self._begin_round()
            if first:
                self._save(is_best=False)
            self._admit("train")
        elif 0 < limit_s < waited_s and self._round_start_s:
            raise TrainingError(
                f"all devices were lost, and none came back within {limit_s:g} s",
                "see the devices' own messages; the last checkpoint is kept",
            )
        elif 0 < limit_s < waited_s:
            absent = sorted(set(range(total)) - self._joining.keys())
            raise TrainingError(
                f"{len(self._joining)} of {wanted} devices came within {limit_s:g} s; missing: "
                + ", ".join(self._name(index) for index in absent),
                "start them, or raise the time limit",
            )

    def _admit(self, directive: Directive) -> None:
        """Answer the joining, and whoever waits at the round's end, with the front."""
        waiting = {i: arrived for i, (arrived, _) in self._fronts.items()} | self._joining
        for _, arrived in sorted(waiting.items()):
            answer = self._exchange.write_front(
                arrived, self.front, round_=len(self.rounds), directive=directive
            )
            self._answer(arrived, answer.frames)
        self._members |= self._joining.keys()
        self._joining.clear()
        self._fronts.clear()

    def _train(self, order: tuple[int, ...]) -> None:
        decoded = self._exchange.decode([self._steps.pop(index) for index in order])
        # Of devices that are told when to step, none is ahead of another.
        steps = (one.step.arrived.transfer.header.step for one in decoded)
        self._share = min(self._schedule.share(len(self.rounds), step) for step in steps)
        self._back.scale_rate(self._share)
        start_s = time.perf_counter()
        outcomes = self._mode.train(
            {index: one.batch for index, one in zip(order, decoded, strict=True)}
        )
        train_ms = (time.perf_counter() - start_s) * 1e3
        done = []
        for index, one in zip(order, decoded, strict=True):
            outcome = outcomes.get(index)
            if outcome is None:
                what = f"its loss is not finite, or its data exceeds {LARGEST_VALUE:g}"
                remedy = "check the data, or lower the learning rate"
                self._refuse(index, one.step.arrived.session, what, remedy)
            else:
                done.append((one, outcome))
        self._answer_steps(done, train_ms)

    def _answer_steps(self, done: list[tuple[Decoded, Outcome]], train_ms: float) -> None:
        round_ = len(self.rounds)
        answers = self._exchange.write_gradients(done, round_=round_, train_ms=train_ms)
        try:
            for (decoded, outcome), answer in zip(done, answers, strict=True):
                arrived = decoded.step.arrived
                step = arrived.transfer.header.step
                self._kept.keep(arrived.index, round_, step, answer.frames)
                self._answer(arrived, answer.frames)
                self.ledger.step(
                    decoded, answer, loss=outcome.loss, round_=round_, train_ms=train_ms
                )
                self._returns.pop(arrived.index, None)
                samples = len(decoded.batch.target)
                self._trained[arrived.index] = self._trained.get(arrived.index, 0) + samples
                self._loss_sum += outcome.loss * samples
                self._loss_samples += samples
        except CodecError as error:
            raise TrainingError(
                f"the gradient is no longer finite: {error.what}", "lower the learning rate"
            ) from error

    def _finish_round(self) -> None:
        fronts = {i: (state, self._trained[i]) for i, (_, state) in sorted(self._fronts.items())}
        self.front = self._mode.merge(fronts)
        is_best = self._chronicle.finish_round(
            self.front,
            train_loss=self._loss_sum / max(self._loss_samples, 1),
            begun_s=self._round_start_s,
            devices=len(fronts),
            share=self._share,
        )
        self._save(is_best=is_best)
        self._admit("stop" if self._chronicle.over else "train")
        self._begin_round()

    def _save(self, *, is_best: bool) -> None:
        # Who joins is let in with the state that is saved here.
        members = self._members | self._joining.keys()
        self._chronicle.save(self.front, members, is_best=is_best)

    def _begin_round(self) -> None:
        self._round_start_s = time.monotonic()
        self._loss_sum, self._loss_samples = 0.0, 0
        self._trained.clear()

    def _refuse(self, index: int, session: int, what: str, remedy: str) -> None:
        self._service.refuse(index, session, what, remedy)
        self._remove(index, f"{what}; {remedy}" if remedy else what)

    def _remove(self, index: int, reason: str) -> None:
        known = index in self._members or index in self._joining
        if self._members == {index}:
            self._waiting_since_s = time.monotonic()
        self.ledger.timings(index, None)
        self._members.discard(index)
        self._kept.forget(index)
        for waiting in (self._steps, self._fronts, self._joining, self._owing):
            waiting.pop(index, None)
        for standing in (self._away, self._asked, self._returns, self._trained):
            standing.pop(index, None)
        self._exchange.forget(index)
        if known:
            self._metrics.write("left", device=self._name(index), reason=reason)

    def _answer(self, arrived: Arrived, frames: Frames) -> None:
        seq = arrived.transfer.header.seq
        self._service.reply(arrived.index, arrived.session, seq, frames)
        self._owing[arrived.index] = arrived.session, time.monotonic()

    def _name(self, index: int) -> str:
        return self._facts.roster.names[index]


def _exchange(settings: ServerSettings, facts: RunFacts, back: BackHalf) -> Exchange:
    return Exchange(
        facts.bundle.manifest,
        batch_size=settings.batch_size,
        codec_down=settings.codec_down,
        seed=settings.seed,
        device=back.device,
    )

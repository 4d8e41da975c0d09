"""One round's training: steps come in, and their answers go out."""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Iterable, Iterator, Set
from itertools import zip_longest

from slfac.codec.schedule import make_schedule
from slfac.server.back import Batch, Outcome, Portion
from slfac.server.events import Arrived
from slfac.server.exchange import Decoded, Exchange
from slfac.server.kept import KeptReplies
from slfac.server.ledger import Ledger
from slfac.server.modes.base import Mode, StepMode, Turn
from slfac.server.parts import Incoming, OpenStep, join_parts, share_out
from slfac.server.settings import ServerSettings
from slfac.wire.errors import CodecError, ProtocolError, TrainingError
from slfac.wire.messages import Request
from slfac.wire.transfer import Frames

_NEVER = float("inf")
# Steps that no training is for must not keep the trainer busy.
_LEAST_PATIENCE_S = 0.01


class Training(abc.ABC):
    """Collects the steps of a round, trains on them, and keeps the answers.

    Args:
        settings: The server's settings.
        in_parts: Whether parts of a step are trained on as soon as they are in.
        mode: The way of split learning.
        exchange: Reads requests and writes replies.
        kept: Where replies are kept.
        ledger: Sums over steps.

    Attributes:
        samples: Samples trained on in this round, by device: a front's weight is what the
            server saw itself.
        share: Of the learning rates, at the last step.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        in_parts: bool,
        mode: Mode,
        exchange: Exchange,
        kept: KeptReplies,
        ledger: Ledger,
    ) -> None:
        self.samples: dict[int, int] = {}
        self.share = 1.0
        # How many steps each was trained on in this round, and the last of them.
        self._made: dict[int, tuple[int, int]] = {}
        self._most_steps = settings.steps_per_round or _NEVER
        rounds, steps = settings.rounds, settings.steps_per_round
        self._schedule = make_schedule(settings.schedule, rounds=rounds, steps_per_round=steps)
        self._deadline_s = settings.step_deadline_s or _NEVER
        self._mode = mode
        self._exchange = exchange
        self._kept = kept
        self._ledger = ledger
        self._round = 0
        self._incoming = Incoming(settings.batch_size, joined=not in_parts)
        self._open: list[OpenStep] = []
        self._waiting_since_s = _NEVER
        self._trainings = 0
        self._loss_sum, self._loss_samples = 0.0, 0
        self._participation = 0.0

    def begin(self, round_: int) -> None:
        """Begin a round.

        Args:
            round_: Which.
        """
        self._round = round_
        self._trainings = 0
        self._loss_sum, self._loss_samples = 0.0, 0
        self._participation = 0.0
        self._open.clear()
        self.samples.clear()
        self._made.clear()
        self._mode.begin(round_)

    def end(self) -> None:
        """End the round on all ranks: its loss is that of all their samples."""
        every = self._mode.back.peers.share(self._loss_sum, self._loss_samples)
        self._loss_sum = sum(loss for loss, _ in every)
        self._loss_samples = int(sum(samples for _, samples in every))

    @property
    def loss(self) -> float:
        """Mean training loss over the round's samples so far."""
        return self._loss_sum / max(self._loss_samples, 1)

    @property
    def participation(self) -> float:
        """Mean share of the devices that a training was for whose batches were in."""
        return self._participation / self._trainings if self._trainings else 1.0

    @property
    def is_waited_for(self) -> bool:
        """Whether a batch is in that was not trained on."""
        return len(self._incoming) > 0

    def holds(self, index: int) -> bool:
        """Whether a device has sent something that was not trained on.

        Args:
            index: The device.
        """
        return index in self._incoming

    def is_amid(self, index: int) -> bool:
        """Whether some parts of a device's step were trained on, and some were not.

        Args:
            index: The device.
        """
        return any(index in step.wanted() for step in self._open if step.part)

    def take(self, arrived: Arrived) -> Frames | None:
        """Take in a step, or a part of one.

        Args:
            arrived: The request.

        Returns:
            Its answer, where it was trained on already.

        Raises:
            CodecError: A payload cannot be decoded.
            ProtocolError: It is of another round, does not fit the model, or the device has made
                all its steps of this one.
        """
        self._incoming.expect(arrived.index, arrived.transfer.header)
        frames = self._kept_answer(arrived, arrived.transfer.header.part)
        if frames is not None:
            return frames
        waited = bool(self._incoming.ready())
        self._incoming.put(self._exchange.read_step(arrived))
        if not waited:
            self._waiting_since_s = time.monotonic()
        return None

    def _kept_answer(self, arrived: Arrived, part: int) -> Frames | None:
        index, header = arrived.index, arrived.transfer.header
        if header.round == self._round:
            # Its journal has the beginning of this round by now.
            self._kept.confirm(index, self._round)
        place = (index, header.round, header.step)
        frames = self._kept.find(*place, header.session, header.seq, part=part)
        if frames is None and header.round != self._round:
            raise ProtocolError(f"a step of round {header.round} came in round {self._round}")
        if frames is None:
            self._check_plan(index, header.step)
        return frames

    def _check_plan(self, index: int, step: int) -> None:
        """Refuse a step beyond those of a round."""
        made, last = self._made.get(index, (0, -1))
        if step != last and made >= self._most_steps:
            # Its replies would fill the disk, and the others would wait for ever.
            raise ProtocolError(f"a step came after the {self._most_steps} of a round")

    def drop(self, index: int) -> None:
        """Drop what a device has sent and was not trained on.

        Args:
            index: The device.
        """
        self._incoming.drop(index)

    def forget(self, index: int) -> None:
        """Drop everything of a device that is out of the run.

        Of a step in parts that it is amid, what was trained on stays.

        Args:
            index: The device.

        Raises:
            TrainingError: The others' step ends with that, and training diverged.
        """
        self.drop(index)
        self._go_on_without(index)
        self.samples.pop(index, None)
        self._made.pop(index, None)
        self._exchange.forget(index)
        self._kept.forget(index)
        self._mode.forget(index)

    @property
    def patience_s(self) -> float:
        """How long may be waited before :meth:`ready` says something else of itself."""
        waits = self._incoming.ready()
        return max(self._overdue_s(), _LEAST_PATIENCE_S) if waits else _NEVER

    def ready(self, active: Set[int]) -> tuple[int, ...]:
        """Whose steps to train on now.

        Args:
            active: Devices that are called and have steps left.

        Returns:
            Their indices in the order to train in; empty to wait for more.
        """
        for step in self._open:
            if all(index in self._incoming for index in step.wanted()):
                return step.wanted()
        busy = {index for step in self._open for index in step.members}
        if busy and self._mode.kind.together:
            return ()
        waiting = tuple(index for index in self._incoming.ready() if index not in busy)
        return self._mode.ready(
            Turn(
                round=self._round,
                number=self._trainings,
                active=active - busy,
                waiting=waiting,
                late=bool(waiting) and self._overdue_s() <= 0,
            )
        )

    @abc.abstractmethod
    def train(
        self, order: tuple[int, ...], active: Set[int]
    ) -> Iterator[tuple[Arrived, Frames | None]]:
        """Train on steps, or on the next part of a step.

        Args:
            order: As :meth:`ready` gave it; empty to take part in a training of other ranks.
            active: What it was given.

        Yields:
            Each device's request and its answer as soon as it is ready, first those that were
            left out, with None.

        Raises:
            TrainingError: Training diverged.
        """

    def _go_on_without(self, index: int) -> None:
        """Do what others wait for, when a device is out of the run."""
        del index

    def _scale(self, headers: Iterable[Request]) -> None:
        """Tell what share of the learning rates a training has: who was late is behind."""
        shares = (self._schedule.share(self._round, header.step) for header in headers)
        self.share = self._mode.back.peers.least(min(shares, default=math.inf))

    def _book(self, arrived: Arrived, samples: int, loss: float) -> None:
        """Take note of what was trained for a device."""
        index, step = arrived.index, arrived.transfer.header.step
        made, last = self._made.get(index, (0, -1))
        self._made[index] = made + (step != last), step
        self.samples[index] = self.samples.get(index, 0) + samples
        self._loss_sum += loss * samples
        self._loss_samples += samples

    def _count(self, order: tuple[int, ...], active: Set[int]) -> None:
        self._trainings += 1
        late = active - {*order} if self._mode.kind.together else frozenset()
        for index in late:
            self._ledger.late(index)
        self._participation += len(order) / (len(order) + len(late)) if order else 1.0

    def _overdue_s(self) -> float:
        return self._waiting_since_s + self._deadline_s - time.monotonic()


class StepTraining(Training):
    """Training where what a device sends of a step, smashed data and targets, is answered at once.

    Args:
        settings: The server's settings.
        in_parts: Whether parts of a step are trained on as soon as they are in.
        mode: The way of split learning.
        exchange: Reads requests and writes replies.
        kept: Where replies are kept.
        ledger: Sums over steps.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        in_parts: bool,
        mode: StepMode,
        exchange: Exchange,
        kept: KeptReplies,
        ledger: Ledger,
    ) -> None:
        super().__init__(
            settings, in_parts=in_parts, mode=mode, exchange=exchange, kept=kept, ledger=ledger
        )
        self._in_parts = in_parts
        self._steps = mode

    def train(
        self, order: tuple[int, ...], active: Set[int]
    ) -> Iterator[tuple[Arrived, Frames | None]]:
        """Train on steps, or on the next part of a step; see :meth:`Training.train`."""
        step = next((step for step in self._open if order[0] in step.members), None)
        if step is None:
            step = self._begin_step(order)
            self._count(order, active)
        taken = [self._incoming.take(index) for index in order]
        decoded = iter(self._exchange.decode([part for parts in taken for part in parts]))
        parts = {i: [next(decoded) for _ in own] for i, own in zip(order, taken, strict=True)}
        self._waiting_since_s = time.monotonic()
        start_s = time.perf_counter()
        outcomes = self._train_part(step, {i: join_parts(own) for i, own in parts.items()})
        train_ms = (time.perf_counter() - start_s) * 1e3
        for index in order:
            if index not in outcomes:
                yield parts[index][0].step.arrived, None
        shares = [
            list(zip(own, share_out(outcomes[index], own), strict=True))
            for index, own in parts.items()
            if index in outcomes
        ]
        try:
            for number, row in enumerate(zip_longest(*shares)):
                done = [one for one in row if one is not None]
                # Each training is timed once.
                yield from self._answers(done, 0.0 if number else train_ms)
        except CodecError as error:
            raise TrainingError(
                f"the gradient is no longer finite: {error.what}", "lower the learning rate"
            ) from error

    def _begin_step(self, order: tuple[int, ...]) -> OpenStep:
        headers = {index: self._incoming.header(index) for index in order}
        self._scale(headers.values())
        step = OpenStep(
            members={index: header.parts for index, header in headers.items()},
            samples=sum(header.step_samples or header.samples for header in headers.values()),
            share=self.share,
        )
        if self._in_parts:
            self._open.append(step)
        return step

    def _train_part(self, step: OpenStep, batches: dict[int, Batch]) -> dict[int, Outcome]:
        self._mode.scale_rate(step.share)
        if not self._in_parts:
            return self._steps.train(batches)
        portion = step.portion()
        outcomes = self._steps.train(batches, portion)
        step.part += 1
        if portion.last:
            self._open.remove(step)
        return outcomes

    def _go_on_without(self, index: int) -> None:
        for step in tuple(self._open):
            if step.members.pop(index, None) is None:
                continue
            if not step.members:
                self._open.remove(step)
            elif not step.wanted():
                # All that the others' step waited for were parts of this device.
                self._mode.scale_rate(step.share)
                self._steps.train({}, Portion(step.samples, first=False, last=True))
                self._open.remove(step)

    def _answers(
        self, done: list[tuple[Decoded, Outcome]], train_ms: float
    ) -> Iterator[tuple[Arrived, Frames]]:
        answers = self._exchange.write_gradients(done, round_=self._round, train_ms=train_ms)
        for place, ((decoded, outcome), answer) in enumerate(zip(done, answers, strict=True)):
            arrived = decoded.step.arrived
            index, header = arrived.index, arrived.transfer.header
            self._kept.keep(index, self._round, header.step, answer.frames, part=header.part)
            yield arrived, answer.frames
            self._ledger.step(
                decoded,
                answer,
                outcome,
                round_=self._round,
                training=self._trainings - 1,
                place=place,
                train_ms=train_ms,
            )
            self._book(arrived, len(decoded.batch.target), outcome.loss)

"""One round's training: steps come in, and their answers go out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Set

from slfac.codec.schedule import make_schedule
from slfac.server.back import Outcome
from slfac.server.events import Arrived
from slfac.server.exchange import Decoded, Exchange, Step
from slfac.server.kept import KeptReplies
from slfac.server.ledger import Ledger
from slfac.server.modes.base import Mode, Turn
from slfac.server.settings import ServerSettings
from slfac.wire.errors import CodecError, ProtocolError, TrainingError
from slfac.wire.transfer import Frames

_NEVER = float("inf")
# Steps that no training is for must not keep the trainer busy.
_LEAST_PATIENCE_S = 0.01


class Training:
    """Collects the steps of a round, trains on them, and keeps the answers.

    Args:
        settings: The server's settings.
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
        mode: Mode,
        exchange: Exchange,
        kept: KeptReplies,
        ledger: Ledger,
    ) -> None:
        self.samples: dict[int, int] = {}
        self.share = 1.0
        rounds, steps = settings.rounds, settings.steps_per_round
        self._schedule = make_schedule(settings.schedule, rounds=rounds, steps_per_round=steps)
        self._deadline_s = settings.step_deadline_s or _NEVER
        self._mode = mode
        self._exchange = exchange
        self._kept = kept
        self._ledger = ledger
        self._round = 0
        self._steps: dict[int, Step] = {}
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
        self.samples.clear()
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
        return bool(self._steps)

    def take(self, arrived: Arrived) -> Frames | None:
        """Take in a step.

        Args:
            arrived: The request.

        Returns:
            Its answer, where it was trained on already.

        Raises:
            CodecError: A payload cannot be decoded.
            ProtocolError: It is of another round, or does not fit the model.
        """
        index, header = arrived.index, arrived.transfer.header
        if header.round == self._round:
            # Its journal has the beginning of this round by now.
            self._kept.confirm(index, self._round)
        frames = self._kept.find(index, header.round, header.step, header.session, header.seq)
        if frames is not None:
            return frames
        if header.round != self._round:
            raise ProtocolError(f"a step of round {header.round} came in round {self._round}")
        if not self._steps:
            self._waiting_since_s = time.monotonic()
        self._steps[index] = self._exchange.read_step(arrived)
        return None

    def drop(self, index: int) -> None:
        """Drop a device's step that was not trained on.

        Args:
            index: The device.
        """
        self._steps.pop(index, None)

    def forget(self, index: int) -> None:
        """Drop everything of a device that is out of the run.

        Args:
            index: The device.
        """
        self.drop(index)
        self.samples.pop(index, None)
        self._exchange.forget(index)
        self._kept.forget(index)
        self._mode.forget(index)

    @property
    def patience_s(self) -> float:
        """How long may be waited before :meth:`ready` says something else of itself."""
        return max(self._overdue_s(), _LEAST_PATIENCE_S) if self._steps else _NEVER

    def ready(self, active: Set[int]) -> tuple[int, ...]:
        """Whose steps to train on now.

        Args:
            active: Devices that are called and have steps left.

        Returns:
            Their indices in the order to train in; empty to wait for more.
        """
        return self._mode.ready(
            Turn(
                round=self._round,
                number=self._trainings,
                active=active,
                waiting=tuple(self._steps),
                late=bool(self._steps) and self._overdue_s() <= 0,
            )
        )

    def train(
        self, order: tuple[int, ...], active: Set[int]
    ) -> Iterator[tuple[Arrived, Frames | None]]:
        """Train on steps.

        Args:
            order: As :meth:`ready` gave it; empty to take part in a training of other ranks.
            active: What it was given.

        Yields:
            Each device's request and its answer as soon as it is ready, first those that were
            left out, with None.

        Raises:
            TrainingError: Training diverged.
        """
        decoded = self._exchange.decode([self._steps.pop(index) for index in order])
        self._waiting_since_s = time.monotonic()
        steps = (one.step.arrived.transfer.header.step for one in decoded)
        # Who was late is behind the others.
        least = min((self._schedule.share(self._round, step) for step in steps), default=math.inf)
        self.share = self._mode.back.peers.least(least)
        self._mode.scale_rate(self.share)
        start_s = time.perf_counter()
        batches = {index: one.batch for index, one in zip(order, decoded, strict=True)}
        outcomes = self._mode.train(batches)
        train_ms = (time.perf_counter() - start_s) * 1e3
        self._count(order, active)
        done = []
        for one in decoded:
            index = one.step.arrived.index
            if index in outcomes:
                done.append((one, outcomes[index]))
            else:
                yield one.step.arrived, None
        try:
            yield from self._answers(done, train_ms)
        except CodecError as error:
            raise TrainingError(
                f"the gradient is no longer finite: {error.what}", "lower the learning rate"
            ) from error

    def _answers(
        self, done: list[tuple[Decoded, Outcome]], train_ms: float
    ) -> Iterator[tuple[Arrived, Frames]]:
        answers = self._exchange.write_gradients(done, round_=self._round, train_ms=train_ms)
        for place, ((decoded, outcome), answer) in enumerate(zip(done, answers, strict=True)):
            arrived = decoded.step.arrived
            index, step = arrived.index, arrived.transfer.header.step
            self._kept.keep(index, self._round, step, answer.frames)
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
            samples = len(decoded.batch.target)
            self.samples[index] = self.samples.get(index, 0) + samples
            self._loss_sum += outcome.loss * samples
            self._loss_samples += samples

    def _count(self, order: tuple[int, ...], active: Set[int]) -> None:
        self._trainings += 1
        late = active - {*order} if self._mode.together else frozenset()
        for index in late:
            self._ledger.late(index)
        self._participation += len(order) / (len(order) + len(late)) if order else 1.0

    def _overdue_s(self) -> float:
        return self._waiting_since_s + self._deadline_s - time.monotonic()

"""One round's training where a step is two requests: smashed data, then gradients.

Both replies to each are kept. What a killed device was answered before it sent its gradients it is
answered again, and the others wait for those; a device that is out of the run gives none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Set

from slfac.server.back import Outcome
from slfac.server.events import Arrived
from slfac.server.exchange import Answer, Decoded, Step
from slfac.server.kept import KeptReplies
from slfac.server.ledger import Ledger
from slfac.server.modes.u_shaped import UShaped
from slfac.server.settings import ServerSettings
from slfac.server.training import Training
from slfac.server.u_exchange import UShapedExchange, whole_step
from slfac.wire.errors import CodecError, ProtocolError, TrainingError
from slfac.wire.transfer import Frames

_NEVER = float("inf")
# Kept as so many parts of a step, which itself comes whole.
_FORWARD, _BACKWARD = 0, 1


class UShapedTraining(Training):
    """Training in two phases: forward for all, then backward for all of them.

    Args:
        settings: The server's settings.
        mode: The way of split learning.
        exchange: Reads requests and writes replies.
        kept: Where replies are kept.
        ledger: Sums over steps.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        mode: UShaped,
        exchange: UShapedExchange,
        kept: KeptReplies,
        ledger: Ledger,
    ) -> None:
        super().__init__(
            settings, in_parts=False, mode=mode, exchange=exchange, kept=kept, ledger=ledger
        )
        self._middle = mode.middle
        self._crossings = exchange
        # Of the forward pass: what each device sent and was sent, as long as its gradients are
        # due; and those that are in.
        self._due: dict[int, tuple[Decoded, Answer]] = {}
        self._gradients: dict[int, Step] = {}
        self._forward_ms = 0.0

    def begin(self, round_: int) -> None:
        """Begin a round."""
        self._due.clear()
        self._gradients.clear()
        super().begin(round_)

    @property
    def is_waited_for(self) -> bool:
        """Whether something is in that was not trained on."""
        return super().is_waited_for or bool(self._gradients)

    def holds(self, index: int) -> bool:
        """Whether a device has sent something that was not trained on."""
        return super().holds(index) or index in self._gradients

    @property
    def patience_s(self) -> float:
        """How long may be waited; gradients have no deadline, since the forward pass is made."""
        return _NEVER if self._due else super().patience_s

    def take(self, arrived: Arrived) -> Frames | None:
        """Take in one of a step's requests; see :meth:`Training.take`."""
        if arrived.transfer.header.parts > 1:
            raise ProtocolError("a step came in parts, and in mode u-shaped steps come whole")
        if arrived.transfer.header.kind == "step":
            return super().take(arrived)
        frames = self._kept_answer(arrived, _BACKWARD)
        if frames is None:
            index, header = arrived.index, arrived.transfer.header
            first = self._due[index][0].step.arrived.transfer.header if index in self._due else None
            if first is None or (first.step, first.samples) != (header.step, header.samples):
                raise ProtocolError(f"gradients of step {header.step} came that nobody waits for")
            self._gradients[index] = self._crossings.read_gradients(arrived)
        return frames

    def drop(self, index: int) -> None:
        """Drop what a device sent that was not trained on; its gradients are due still."""
        super().drop(index)
        self._gradients.pop(index, None)

    def forget(self, index: int) -> None:
        """Drop everything of a device that is out of the run."""
        super().forget(index)
        if self._due.pop(index, None) and not self._due:
            self._middle.drop()

    def ready(self, active: Set[int]) -> tuple[int, ...]:
        """Whose requests to work on now: gradients, once all are in, before new steps."""
        if not self._due:
            return super().ready(active)
        return tuple(sorted(self._due)) if self._due.keys() <= self._gradients.keys() else ()

    def train(
        self, order: tuple[int, ...], active: Set[int]
    ) -> Iterator[tuple[Arrived, Frames | None]]:
        """Make one phase of a step; see :meth:`Training.train`."""
        try:
            yield from self._backward(order) if self._due else self._forward(order, active)
        except CodecError as error:
            raise TrainingError(
                f"what goes to the devices is no longer finite: {error.what}",
                "lower the learning rate",
            ) from error

    def _forward(
        self, order: tuple[int, ...], active: Set[int]
    ) -> Iterator[tuple[Arrived, Frames | None]]:
        taken = [step for index in order for step in self._incoming.take(index)]
        decoded = self._exchange.decode(taken)
        self._waiting_since_s = time.monotonic()
        start_s = time.perf_counter()
        made = self._middle.forward(
            {index: one.batch.smashed for index, one in zip(order, decoded, strict=True)}
        )
        self._forward_ms = (time.perf_counter() - start_s) * 1e3
        self._count(order, active)
        done = []
        for index, one in zip(order, decoded, strict=True):
            if index in made:
                done.append((one, made[index]))
            else:
                yield one.step.arrived, None
        answers = self._crossings.write_outputs(done, round_=self._round, train_ms=self._forward_ms)
        for (one, _), answer in zip(done, answers, strict=True):
            arrived = one.step.arrived
            self._due[arrived.index] = one, answer
            self._keep(arrived, answer, _FORWARD)
            yield arrived, answer.frames

    def _backward(self, order: tuple[int, ...]) -> Iterator[tuple[Arrived, Frames | None]]:
        decoded = self._exchange.decode([self._gradients.pop(index) for index in order])
        firsts, self._due = self._due, {}
        self._scale(one.step.arrived.transfer.header for one in decoded)
        self._mode.scale_rate(self.share)
        start_s = time.perf_counter()
        made = self._middle.backward(
            {index: one.batch.smashed for index, one in zip(order, decoded, strict=True)}
        )
        train_ms = self._forward_ms + (time.perf_counter() - start_s) * 1e3
        done = []
        for index, one in zip(order, decoded, strict=True):
            if index in made:
                loss = one.step.arrived.transfer.header.loss
                done.append((one, Outcome(loss, made[index])))
            else:
                yield one.step.arrived, None
        answers = self._exchange.write_gradients(done, round_=self._round, train_ms=train_ms)
        for place, ((one, outcome), answer) in enumerate(zip(done, answers, strict=True)):
            arrived = one.step.arrived
            self._keep(arrived, answer, _BACKWARD)
            yield arrived, answer.frames
            first, outputs = firsts[arrived.index]
            whole, sent = whole_step(first, one, outputs, answer)
            self._ledger.step(
                whole,
                sent,
                outcome,
                round_=self._round,
                training=self._trainings - 1,
                place=place,
                train_ms=train_ms,
            )
            self._book(arrived, arrived.transfer.header.samples, outcome.loss)

    def _keep(self, arrived: Arrived, answer: Answer, phase: int) -> None:
        step = arrived.transfer.header.step
        self._kept.keep(arrived.index, self._round, step, answer.frames, part=phase)

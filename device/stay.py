"""A device's stay in a run: steps and rounds over one session."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from slfac.codec.schedule import make_schedule
from slfac.device.engine import Engine
from slfac.device.evaluation import evaluate
from slfac.device.journal import Entry, Journal, Place
from slfac.device.link import Link
from slfac.device.samples import Samples
from slfac.device.sections import most_bytes
from slfac.device.steps import At, StepMaker, Steps
from slfac.device.stopwatch import Stopwatch
from slfac.device.u_shaped import UShapedSteps
from slfac.wire.bundle import Bundle, pack_state, unpack_state
from slfac.wire.errors import ProtocolError, SlfacError, TrainingError
from slfac.wire.messages import Energy, Reply, Timings, Welcome
from slfac.wire.transfer import Part, Transfer

if TYPE_CHECKING:
    from slfac.device.energy.watch import EnergyWatch


class Stay:
    """From joining a run to its end, or until the server forgets this session.

    Args:
        link: The open link.
        welcome: What the server said about the run.
        bundle: The bundle to train.
        samples: This device's samples.
        engine: Computes the steps; its halves are what is trained.
        journal: Where the beginning of each round is taken down.
        energy: Measures what it takes; None where nobody asked for that.
        on_status: Told what people should know.

    Attributes:
        round: The present round.
        rounds: Rounds of the run.
        steps_per_round: Steps that this device makes in each.
    """

    def __init__(
        self,
        link: Link,
        welcome: Welcome,
        bundle: Bundle,
        *,
        samples: Samples,
        engine: Engine,
        journal: Journal,
        energy: EnergyWatch | None = None,
        on_status: Callable[[str], None],
    ) -> None:
        plan = welcome.plan
        self.round = 0
        self.rounds = plan.rounds
        self.steps_per_round = plan.steps_per_round or samples.batches_per_pass
        self._link = link
        self._bundle = bundle
        self._manifest = bundle.manifest
        self._max_front_bytes = most_bytes(
            [*bundle.manifest.parameters, *(b.tensor for b in bundle.manifest.buffers)], copies=1
        )
        self._samples = samples
        self._engine = engine
        self._front = engine.front
        self._welcome = welcome
        self._plan = plan
        self._schedule = make_schedule(
            plan.schedule, rounds=plan.rounds, steps_per_round=plan.steps_per_round
        )
        self._journal = journal
        self._energy = energy
        self._meter = energy.meter if energy is not None else None
        self._on_status = on_status
        self._begin_afresh()
        self._round_samples = 0

    def enter(self) -> bool:
        """Go on from the beginning of a round that was taken down, or wait to be let in.

        Returns:
            Whether to train.
        """
        if self._energy is not None:
            self._energy.ask_in()
        going = self._resume() or self._join()
        if self._energy is not None:
            self._energy.let_in()
        return going

    def _join(self) -> bool:
        self._begin_afresh()
        exchanged = self._link.request("join", max_reply_bytes=self._max_front_bytes)
        if self._meter is not None:
            self._meter.record("idle", *exchanged.waiting_ns)
        return self._take_front(exchanged.reply)

    def _begin_afresh(self) -> None:
        self._step = 0
        self._optimizer = self._engine.optimizer(self._plan.optimizer)
        self._lr = self._optimizer.lr
        given = (self._link, self._welcome, self._manifest, self._engine)
        self._u_shaped = UShapedSteps(*given) if self._engine.head is not None else None
        self._steps: StepMaker = self._u_shaped or Steps(*given)

    def _resume(self) -> bool:
        entry = self._journal.read()
        while entry is not None and self._take_back(entry):
            place = entry.place
            reply = self._link.request(
                "resume", max_reply_bytes=0, round_=place.round, step=place.step
            ).reply.header
            if reply.directive == "train":
                self._on_status(f"going on from the beginning of round {place.round + 1}")
                return True
            # A server that was started again may stand at an earlier round.
            entry = self._journal.read(reply.round) if reply.round < place.round else None
        return False

    def _take_back(self, entry: Entry) -> bool:
        """Become what this device was; whether that is possible."""
        place = entry.place
        try:
            self._front.load(entry.front)
            self._optimizer.restore(entry.optimizer)
            self._samples.seek(place.data)
            for codec, state in zip(self._steps.codecs, place.codecs, strict=True):
                codec.restore(state)
        except (SlfacError, ValueError) as error:
            self._on_status(f"cannot go on from round {place.round + 1}: {error}")
            return False
        self.round, self._step, self._round_samples = place.round, place.step, 0
        return True

    def _take_down(self) -> None:
        """Write the beginning of a round; without it, training only cannot be resumed here."""
        place = Place(
            bundle=self._bundle.id,
            optimizer=self._plan.optimizer,
            round=self.round,
            step=self._step,
            data=self._samples.place(),
            codecs=[codec.state() for codec in self._steps.codecs],
        )
        try:
            self._journal.write(Entry(place, self._front.state(), self._optimizer.state()))
        except OSError as error:
            self._on_status(
                f"cannot write {error.filename or 'the journal'}: {error.strerror}; if this device "
                "is killed, it will have to join anew"
            )

    def step(self, before: Timings) -> tuple[float, Timings]:
        """Make one training step.

        Args:
            before: Timings of the step before, which travel with this one.

        Returns:
            The batch's mean loss, and this step's timings.

        Raises:
            SessionLost: The server forgot this session.
            TrainingError: Something is no longer finite.
            LinkError: The server refused, or did not come back.
        """
        watch = Stopwatch(self._meter)
        with watch.phase("load"):
            x, target = self._samples.next_batch()
        at = At(self.round, self._step)
        loss, grads = self._steps.step(x, target, at=at, before=before, watch=watch)
        with watch.phase("update"):
            self._optimizer.lr = self._lr * self._schedule.share(self.round, self._step)
            self._optimizer.step(self._front.parameters, grads)
        self._step += 1
        self._round_samples += len(x)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of step {self._step} is not finite", "lower the learning rate"
            )
        timings = watch.timings()
        if self._energy is not None:
            self._energy.step_made()
        return loss, timings

    def finish_round(self, last: Timings) -> bool:
        """Send the front, and take over what the server made of all of them.

        Args:
            last: Timings of the round's last step.

        Returns:
            Whether to go on.
        """
        part = Part("front", "front", pack_state(self._front.state()), "safetensors")
        energy: tuple[Energy, ...] = ()
        if self._energy is not None:
            self._energy.round_made(self.round)
            energy = self._energy.told()
        exchanged = self._link.request(
            "front",
            [part],
            max_reply_bytes=self._max_front_bytes,
            round_=self.round,
            step=self._step,
            samples=self._round_samples,
            timings=last,
            energy=energy,
        )
        Stopwatch(self._meter).exchange(exchanged)
        self._round_samples = 0
        return self._take_front(exchanged.reply)

    def _take_front(self, reply: Transfer[Reply]) -> bool:
        if reply.header.directive == "join":
            raise ProtocolError(
                f"the server answered a {reply.header.kind} request with the word to join",
                "check that both ends run the same release of slfac",
            )
        _, data = reply.part("front", "front")
        self._front.load(unpack_state(self._manifest, bytes(data)))
        header = reply.header
        if header.directive == "evaluate" and self._u_shaped is not None:
            header = self._evaluate(self._u_shaped)
        self.round = header.round
        if header.directive == "train":
            self._take_down()
            return True
        self._journal.clear()
        return False

    def _evaluate(self, steps: UShapedSteps) -> Reply:
        """Score the front that came, and hear how to go on."""
        watch = Stopwatch(self._meter)
        at = At(self.round, self._step)
        score = evaluate(
            self._bundle,
            self._front.state(),
            self._samples.test(),
            batch_size=self._plan.batch_size,
            middle=lambda smashed: steps.middle(smashed, at, watch),
            watch=watch,
        )
        return steps.report(score, at, watch)

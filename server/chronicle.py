"""What a run has to show for itself: its rounds and their scores, in metrics and checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from slfac.server.best import Watch
from slfac.server.checkpoint import BEST_NAME, mark_best, write_checkpoint
from slfac.server.evaluate import Evaluator, Score
from slfac.server.exchange import Exchange
from slfac.server.kept import KeptReplies
from slfac.server.ledger import Ledger
from slfac.server.metrics import Metrics
from slfac.server.modes.base import Mode
from slfac.server.protocol import RunFacts
from slfac.server.result import RoundResult
from slfac.server.resume import Checkpoint, Standing
from slfac.server.settings import ServerSettings
from slfac.server.training import Training
from slfac.server.transport import Transport
from slfac.wire.bundle import State
from slfac.wire.errors import BundleError, TrainingError

_log = logging.getLogger(__name__)


class Chronicle:
    """Records each round of one run.

    Args:
        settings: The server's settings.
        facts: Run id, bundle and devices.
        service: Knows what crossed the sockets.
        mode: The way of split learning, with its back half.
        evaluator: Scores the averaged front; None to score nothing.
        watch: Finds the best round by its scores.
        metrics: Where events are written.
        ledger: Sums over steps.
        exchange: Has the codecs.
        kept: What the devices were answered.

    Attributes:
        rounds: Finished rounds.
        checkpoint: Folder of the last checkpoint.
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
        ledger: Ledger,
        exchange: Exchange,
        kept: KeptReplies,
    ) -> None:
        self.rounds: list[RoundResult] = []
        self.checkpoint = settings.out
        self._settings = settings
        self._facts = facts
        self._service = service
        self._mode = mode
        self._evaluator = evaluator
        self._watch = watch
        self._metrics = metrics
        self._ledger = ledger
        self._exchange = exchange
        self._kept = kept

    @property
    def over(self) -> bool:
        """Whether the run has had its rounds, or gains no more."""
        return self._watch.stops or len(self.rounds) >= self._settings.rounds

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Go on with what a checkpoint holds.

        Args:
            checkpoint: The checkpoint.

        Raises:
            BundleError: The replies in it cannot be read, or it is of another mode.
            CodecError: It holds the state of other codecs.
        """
        standing = checkpoint.standing
        self.rounds = list(standing.rounds)
        for result in self.rounds:
            self._watch.look(result.round, result.score)
        self._ledger.totals.update(standing.totals)
        self.checkpoint = checkpoint.path
        self._exchange.restore_codecs(standing.codecs)
        checkpoint.restore_kept(self._kept)
        checkpoint.restore_mode(self._mode)

    def finish_round(
        self,
        front: State,
        training: Training,
        *,
        begun_s: float,
        devices: int,
        own: Iterable[int],
        score: Score | None = None,
    ) -> bool:
        """Evaluate a round and write it into the metrics.

        Args:
            front: The averaged front.
            training: What was trained in it.
            begun_s: Monotonic time at which the round began.
            devices: Devices whose fronts went into it.
            own: Which of them are served here.
            score: What the devices make of it, where these evaluate.

        Returns:
            Whether it is the best round so far.
        """
        score = score or self._score(front)
        traffic = [self._service.traffic(name) for name in self._facts.roster.names]
        bytes_up = sum(t.up.bytes for t in traffic)
        bytes_down = sum(t.down.bytes for t in traffic)
        totals = self._ledger.totals.values()
        energy, unknown = self._ledger.round_energies(own)
        result = RoundResult(
            round=len(self.rounds),
            train_loss=training.loss,
            score=score,
            seconds=time.monotonic() - begun_s,
            bytes_up=bytes_up,
            bytes_down=bytes_down,
            float32_bytes_up=bytes_up + sum(t.saved_bytes_up for t in totals),
            float32_bytes_down=bytes_down + sum(t.saved_bytes_down for t in totals),
            devices=devices,
            participation=training.participation,
            energy=energy,
            energy_unknown=unknown,
        )
        self.rounds.append(result)
        is_best = self._watch.look(result.round, score)
        self._write(result, training.share)
        return is_best

    def save(self, front: State, members: Iterable[int], *, is_best: bool) -> None:
        """Write a checkpoint; only the last round's must not fail.

        Args:
            front: The averaged front.
            members: Devices in the next round.
            is_best: Whether the last round is the best so far.

        Raises:
            TrainingError: The run's last one cannot be written.
        """
        names = self._facts.roster.names
        standing = Standing(
            run=self._facts.run,
            bundle=self._facts.bundle.id,
            settings=self._settings.stored(),
            names=names,
            members=tuple(sorted(members)),
            rounds=tuple(self.rounds),
            totals=self._ledger.totals,
            traffic={name: self._service.traffic(name) for name in names},
            codecs=self._exchange.codecs(),
            best=self._watch.state(),
            metrics_bytes=self._metrics.mark(),
        )
        try:
            self.checkpoint = write_checkpoint(
                self._settings.out,
                finished_rounds=len(self.rounds),
                front=front,
                mode=self._mode,
                kept=self._kept,
                facts=standing.as_json(),
            )
            if is_best:
                mark_best(self.checkpoint)
        except TrainingError as error:
            if self.over:
                raise
            _log.warning("%s", error)
            if is_best:
                _log.warning("the best round so far is not in checkpoint/%s", BEST_NAME)
            self._metrics.write(
                "checkpoint_failed",
                finished_rounds=len(self.rounds),
                reason=str(error),
                best_missed=is_best,
            )

    def _score(self, front: State) -> Score | None:
        if self._evaluator is None:
            return None
        try:
            return self._evaluator.score(front, self._mode.back)
        except (OSError, BundleError) as error:
            # The devices' work must not be lost over a number that only people read.
            _log.warning("round %d is not evaluated: %s", len(self.rounds), error)
            self._metrics.write("evaluation_failed", round=len(self.rounds), reason=str(error))
            return None

    def _write(self, result: RoundResult, share: float) -> None:
        watched = self._watch.state()
        self._metrics.write(
            "round",
            rounds=self._settings.rounds,
            **result.as_event(),
            lr_share=share,
            clocks=self._ledger.clocks(),
            best_round=watched["best_round"],
        )
        if self._watch.stops and len(self.rounds) < self._settings.rounds:
            self._metrics.write("early_stop", round=result.round, **watched)

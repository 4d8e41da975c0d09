"""What a mode needs to train: how requests are read, trained on, and scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slfac.server.device_scores import DeviceScores
from slfac.server.events import Arrived
from slfac.server.exchange import Answer, Exchange
from slfac.server.kept import KeptReplies
from slfac.server.ledger import Ledger
from slfac.server.modes.base import Mode, StepMode
from slfac.server.modes.u_shaped import UShaped
from slfac.server.protocol import RunFacts
from slfac.server.settings import ServerSettings
from slfac.server.training import StepTraining, Training
from slfac.server.u_exchange import UShapedExchange
from slfac.server.u_training import UShapedTraining


@dataclass(frozen=True)
class Assembly:
    """The parts of a trainer that depend on the mode.

    Attributes:
        exchange: Reads requests and writes replies.
        training: Trains on them.
        scores: Collects the scores of devices, where these evaluate.
    """

    exchange: Exchange
    training: Training
    scores: DeviceScores


def assemble(
    settings: ServerSettings, facts: RunFacts, mode: Mode, *, kept: KeptReplies, ledger: Ledger
) -> Assembly:
    """Make what a mode needs.

    Args:
        settings: The server's settings.
        facts: Bundle and plan of the run.
        mode: The way of split learning.
        kept: Where replies are kept.
        ledger: Sums over steps.

    Returns:
        The parts.
    """
    manifest = facts.bundle.manifest
    common: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "codec_down": settings.codec_down,
        "seed": settings.seed,
        "device": mode.back.device,
    }
    if isinstance(mode, UShaped):
        crossings = UShapedExchange(manifest, **common)
        training = UShapedTraining(
            settings, mode=mode, exchange=crossings, kept=kept, ledger=ledger
        )

        def answer(arrived: Arrived, round_: int) -> Answer:
            outputs = mode.middle.evaluate(crossings.read_samples(arrived))
            return crossings.write_samples(arrived, outputs, round_=round_)

        return Assembly(crossings, training, DeviceScores(answer if settings.evaluate else None))
    if not isinstance(mode, StepMode):
        raise TypeError(f"mode {mode.kind.name} is of no known kind")
    exchange = Exchange(manifest, **common)
    steps = StepTraining(
        settings,
        in_parts=facts.plan.micro_batches > 1,
        mode=mode,
        exchange=exchange,
        kept=kept,
        ledger=ledger,
    )
    return Assembly(exchange, steps, DeviceScores(None))

"""Stands where the I/O thread does, so that a test can say what devices do, and when."""

from __future__ import annotations

import contextlib
import queue
from collections import defaultdict
from pathlib import Path

import numpy as np

from harness.offline import RUN, arrive, collect, front_parts, kept_bundle, request, step_parts
from slfac.server import server_settings
from slfac.server.accelerator import choose_precision
from slfac.server.back import CPU, BackHalf
from slfac.server.best import make_watch
from slfac.server.events import Arrived, Left
from slfac.server.metrics import Metrics
from slfac.server.modes.factory import make_mode
from slfac.server.protocol import RunFacts
from slfac.server.resume import newest_checkpoint
from slfac.server.roster import Roster
from slfac.server.trainer import Trainer
from slfac.wire.bundle import Bundle
from slfac.wire.messages import Bye, Summary, Timings
from slfac.wire.meter import Traffic

BYE = Bye(0, True, Timings(), Summary(False, 1, 2, 3, "3", "1", "x", 4))


class Script:
    """Stands where the I/O thread does; each answer calls what the test wants next."""

    def __init__(self):
        self.events = queue.Queue()
        self.answers = []
        self.refused = []
        self.causes = []
        self.bodies = defaultdict(list)
        self.then = {}
        self.sessions = {}
        self.seqs = defaultdict(int)
        self.steps = defaultdict(int)
        self.rounds = defaultdict(int)

    def reply(self, index, session, seq, frames):
        transfer = collect(frames)
        header = transfer.header
        sections = [transfer.part(part.role, part.name)[1] for part in header.sections]
        self.bodies[index].append(b"".join(bytes(section) for section in sections))
        assert (header.session, header.seq) == (session, seq)
        self.answers.append((index, header.kind, header.round, header.directive))
        if header.kind in {"join", "front"}:
            self.rounds[index] = header.round
        self.then[index](header)

    def refuse(self, index, session, reason, _remedy, cause):
        self.refused.append((index, session, reason))
        self.causes.append(cause)

    def traffic(self, _name):
        return Traffic()

    def join(self, index, session=None, **changes):
        self.sessions[index] = session or index + 1
        self.seqs[index] = 0
        self.ask(index, "join", **changes)

    def ask(self, index, kind, payload=(), **changes):
        self.seqs[index] += 1
        session = self.sessions[index]
        changes = {"round": self.rounds[index], "step": self.steps[index], **changes}
        header = request(kind, self.seqs[index], session=session, **changes)
        self.events.put(Arrived(index, session, arrive(header, list(payload)), 10))

    def step(self, index, samples=2, run=RUN, scale=1.0):
        x = np.random.default_rng(index).normal(size=(samples, 4, 4, 4)).astype(np.float32)
        x *= np.float32(scale)
        target = np.zeros(samples, np.uint8)
        self.ask(index, "step", step_parts(x, target), samples=samples, run=run)
        self.steps[index] += 1

    def part(self, index, part, sizes, scale=1.0, **changes):
        """One part of a step whose parts have these sizes."""
        start = sum(sizes[:part])
        x = np.random.default_rng(index).normal(size=(sum(sizes), 4, 4, 4)).astype(np.float32)
        x = x[start : start + sizes[part]] * np.float32(scale)
        fields = {"part": part, "parts": len(sizes), "step_samples": sum(sizes), **changes}
        self.ask(index, "step", step_parts(x, np.zeros(len(x), np.uint8)), samples=len(x), **fields)
        self.steps[index] += part == len(sizes) - 1

    def obey_in_parts(self, index, sizes, steps=1):
        """A device that does what it should, and makes each of its steps in parts."""
        answered = 0

        def then(header):
            nonlocal answered
            answered += header.kind == "step"
            if header.directive == "stop":
                self.events.put(Left(index, BYE))
            elif answered == steps * len(sizes):
                answered = 0
                self.front(index)
            elif answered % len(sizes) == 0:
                for part in range(len(sizes)):
                    self.part(index, part, sizes)

        self.then[index] = then

    def front(self, index, samples=2, clock=(), **changes):
        state = {**kept_bundle().front_state(), **changes}
        self.ask(index, "front", front_parts(state), samples=samples, clock=clock)

    def obey(self, index, steps=1):
        """A device that does what it should: its steps, its front, goodbye."""
        made = 0

        def then(header):
            nonlocal made
            if header.directive == "stop":
                self.events.put(Left(index, BYE))
            elif header.kind == "step" and made == steps:
                made = 0
                self.front(index)
            else:
                made += 1
                self.step(index)

        self.then[index] = then

    def directives(self, index):
        return [(kind, round_, told) for i, kind, round_, told in self.answers if i == index]


def run_script(
    root: Path,
    script: Script,
    *,
    devices: int = 2,
    evaluator: object = None,
    out: str = ".",
    resume: bool = False,
    bundle: Bundle | None = None,
    **changes: object,
) -> Trainer:
    """A run under a script; with ``resume`` one that goes on from its checkpoint."""
    names = tuple(f"d{index}" for index in range(devices))
    settings = server_settings(
        bundle="b",
        out=root / out,
        keys=root,
        **{"rounds": 2, "codec_down": "none", "optimizer": "sgd:lr=0.01", **changes},
    )
    facts = RunFacts("boot", RUN, bundle or kept_bundle(), settings.plan(), Roster(names), 10.0)
    precision = choose_precision(settings.precision, CPU)
    back = BackHalf(facts.bundle, settings.optimizer, settings.allow_factories, precision=precision)
    found = newest_checkpoint(settings.out) if resume else None
    if found is not None:
        found.restore_back(back)
    told = []
    keep_bytes = found.standing.metrics_bytes if found is not None else None
    metrics = Metrics(settings.out, told.append, keep_bytes=keep_bytes)
    with contextlib.closing(metrics):
        trainer = Trainer(
            settings=settings,
            facts=facts,
            service=script,
            mode=make_mode(settings.mode, back, settings.seed),
            evaluator=evaluator,
            watch=make_watch(facts.bundle.manifest, settings.best_by, settings.early_stop),
            metrics=metrics,
            resumed=found,
        )
        trainer.told, trainer.back, script.trainer = told, back, trainer
        trainer.run()
    return trainer

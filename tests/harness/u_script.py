"""Devices with heads where the I/O thread would be: two requests a step, and an evaluation."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from harness.offline import collect, front_parts, kept_head_bundle
from harness.script import BYE, Script, run_script
from slfac.codec import decode, make_codec
from slfac.server.events import Left, Restarted
from slfac.server.trainer import Trainer
from slfac.wire.transfer import Part

run_u_script = functools.partial(run_script, bundle=kept_head_bundle())
PLAIN = make_codec("none")


class UScript(Script):
    """What it asks follows from what it was answered, so that a killed device asks the same.

    Attributes:
        given: What the middle last gave each device.
        samples: Samples of a device's steps; 2 for those not in it.
    """

    def __init__(self):
        super().__init__()
        self.given = {}
        self.samples = {}

    def reply(self, index, session, seq, frames):
        transfer = collect(frames)
        if any(section.role == "smashed" for section in transfer.header.sections):
            self.given[index] = decode(transfer.part("smashed", "middle")[1], max_values=1 << 20)
        super().reply(index, session, seq, frames)

    def smash(self, index, kind="step", scale=1.0, extra=(), **changes):
        size = self.samples.get(index, 2)
        rng = np.random.default_rng((index, self.rounds[index], self.steps[index]))
        x = (rng.normal(size=(size, 4, 4, 4)) * scale).astype(np.float32)
        parts = [Part("smashed", "smashed", PLAIN.encode(x)), *extra]
        self.ask(index, kind, parts, samples=size, **changes)

    def head(self, index, loss=None, scale=1.0, **changes):
        given = self.given[index]
        gradient = (np.tanh(given - index) * scale / given.size).astype(np.float32)
        parts = [Part("gradient", "middle", PLAIN.encode(gradient))]
        fields = {"loss": 0.5 + index if loss is None else loss, "samples": len(given), **changes}
        self.ask(index, "head", parts, **fields)

    def front(self, index, **changes):
        state = kept_head_bundle().front_state()
        self.ask(index, "front", front_parts(state), samples=2, **changes)

    def score(self, index, samples=10, loss=1.0, accuracy=0.5, balanced_accuracy=0.25):
        self.ask(
            index,
            "score",
            samples=samples,
            loss=loss,
            accuracy=accuracy,
            balanced_accuracy=balanced_accuracy,
        )

    def obey(self, index, steps=1, **score):
        """A device that does what it should: steps, front, an evaluation, goodbye."""
        made = 0

        def then(header):
            nonlocal made
            if header.directive == "stop":
                self.events.put(Left(index, BYE))
            elif header.directive == "evaluate":
                self.smash(index, "evaluate")
            elif header.kind == "evaluate":
                self.score(index, **score)
            elif header.kind == "step":
                self.head(index)
            elif header.kind == "head" and made + 1 == steps:
                made = 0
                self.steps[index] += 1
                self.front(index)
            else:
                # Let in, taken back, or a step is over.
                self.rounds[index] = header.round
                made = made + 1 if header.kind == "head" else 0
                self.steps[index] += header.kind == "head"
                self.smash(index)

        self.then[index] = then

    def kill(self, index, at, steps=1, session=50, **score):
        """Obey, but be killed once on the ``at``-th answer, and begin the round again."""
        self.obey(index, steps=steps, **score)
        obedient, first = self.then[index], {}
        answered = 0

        def then(header):
            nonlocal answered
            answered += 1
            if header.kind in {"join", "score"} and header.directive == "train":
                # What its journal has of the round that begins.
                first[header.round] = self.steps[index]
            if answered == at:
                self.resume(index, max(first), first[max(first)], session)
            else:
                obedient(header)

        self.then[index] = then

    def resume(self, index, round_, step, session):
        self.events.put(Restarted(index))
        self.sessions[index] = session
        self.seqs[index] = 0
        self.steps[index], self.rounds[index] = step, round_
        self.ask(index, "resume")


def run_obedient(root: Path, devices: int = 2, steps: int = 2, **changes: object) -> Trainer:
    """A run in which nothing goes wrong."""
    script = UScript()
    for index in range(devices):
        script.obey(index, steps=steps)
        script.join(index)
    trainer = run_u_script(root, script, devices=devices, **changes)
    assert script.refused == []
    return trainer

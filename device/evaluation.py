"""How good the model is on this device's test samples, where labels stay here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slfac.data import Dataset, apply, has_classes, make_targets
from slfac.device.asking import UNSCORED, Scores
from slfac.device.losses import loss_sum
from slfac.device.stopwatch import Stopwatch
from slfac.wire.bundle import Bundle, State
from slfac.wire.errors import BundleError
from slfac.wire.runtime import open_infer_session, open_session

# From smashed data of the front, one array a tensor, to what the middle gives for it.
Middle = Callable[[list[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Score:
    """What an evaluation comes to; numbers about labels, and no label.

    Attributes:
        samples: How many there were.
        scores: Over all of them; not numbers without samples, and those of classes without
            classes.
    """

    samples: int
    scores: Scores = UNSCORED


def evaluate(
    bundle: Bundle,
    state: State,
    data: Dataset | None,
    *,
    batch_size: int,
    middle: Middle,
    watch: Stopwatch,
) -> Score:
    """Evaluate front and head here, with the middle elsewhere.

    Args:
        bundle: A bundle with a head.
        state: The device's parameters and buffers.
        data: The test samples; None for none.
        batch_size: Samples that are sent at once.
        middle: Sends them.
        watch: Times it.

    Returns:
        The score.

    Raises:
        BundleError: A graph cannot be opened.
    """
    manifest, head = bundle.manifest, bundle.manifest.head
    if not head:
        raise BundleError(f"bundle {bundle.path} has no head", "export it with --head-cut")
    if data is None or not len(data):
        return Score(samples=0)
    front = open_infer_session(bundle, state)
    last = open_session(bundle, head.infer, state, threads=1)
    total, predicted = 0.0, np.zeros(len(data), np.int64)
    for start in range(0, len(data), batch_size):
        part = slice(start, start + batch_size)
        with watch.phase("load"):
            x = apply(manifest.preprocessing, data.images[part])
        with watch.phase("forward"):
            smashed = front.run(list(manifest.graphs.infer.outputs), {manifest.input.name: x})
        given = middle(smashed)
        fed = {spec.name: value for spec, value in zip(head.inputs, given, strict=True)}
        with watch.phase("forward"):
            output: np.ndarray = last.run(None, fed)[0]
        target = make_targets(manifest.loss, data.labels[part], manifest.num_outputs)
        total += loss_sum(manifest.loss, output, target)
        predicted[part] = output.argmax(1)
    loss = total / len(data)
    if not has_classes(manifest):
        return Score(len(data), Scores(loss))
    hits = predicted == data.labels
    counts = np.bincount(data.labels)
    recalls = np.bincount(data.labels[hits], minlength=len(counts)) / np.maximum(counts, 1)
    return Score(len(data), Scores(loss, float(hits.mean()), float(recalls[counts > 0].mean())))

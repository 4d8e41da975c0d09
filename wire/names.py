"""Names within a manifest that stand for one another: each has to lead somewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from slfac.wire.errors import BundleError
from slfac.wire.manifest import Head, Manifest


def check_names(manifest: Manifest, path: Path) -> None:
    """Check that a step can be made by the manifest's names alone.

    Args:
        manifest: A manifest whose fields are valid one by one.
        path: What to call it in an error.

    Raises:
        BundleError: A name is listed twice, leads nowhere, or lacks its partner; the
            message names the field and the name.
    """
    check = _Checker(path)
    graphs = manifest.graphs
    fed = [
        manifest.input.name,
        *(spec.name for spec in manifest.parameters),
        *(buffer.tensor.name for buffer in manifest.buffers),
        *(spec.name for spec in manifest.random),
    ]
    smashed = [spec.name for spec in manifest.smashed]
    upstream = list(graphs.smashed_gradients.values())
    known = [*fed, *graphs.forward.outputs, *upstream]
    check.once(
        "input, parameters, buffers, random, graphs.forward.outputs and graphs.smashed_gradients",
        known,
    )
    check.within("graphs.forward.inputs", graphs.forward.inputs, fed)
    check.once("smashed", smashed)
    check.within("smashed", smashed, graphs.forward.outputs)
    check.same("graphs.smashed_gradients", graphs.smashed_gradients, smashed)
    check.within("graphs.smashed_gradients", upstream, graphs.backward.inputs)
    check.within("graphs.backward.inputs", graphs.backward.inputs, known)
    check.once("graphs.backward.outputs", graphs.backward.outputs)
    parameters = [spec.name for spec in manifest.parameters]
    check.within("graphs.gradients", graphs.gradients, parameters)
    check.within("graphs.gradients", graphs.gradients.values(), graphs.backward.outputs)
    made = [*graphs.forward.outputs, *graphs.backward.outputs]
    if manifest.head:
        made += manifest.head.step.outputs
        _check_head(check, manifest, manifest.head)
    outputs = [buffer.output for buffer in manifest.buffers if buffer.update == "graph"]
    check.within("buffers", outputs, made)
    still = {buffer.tensor.name for buffer in manifest.buffers if buffer.update == "none"}
    check.within("graphs.forward.frozen", graphs.forward.frozen, still)
    check.within("graphs.backward.frozen", graphs.backward.frozen, still)
    check.same("graphs.infer.frozen", graphs.infer.frozen, ())
    check.same("graphs.infer.inputs", graphs.infer.inputs, [manifest.input.name])
    check.same("graphs.infer.outputs", graphs.infer.outputs, smashed)


def _check_head(check: _Checker, manifest: Manifest, head: Head) -> None:
    inputs = [spec.name for spec in head.inputs]
    random = [spec.name for spec in head.random]
    parameters = [spec.name for spec in manifest.parameters]
    buffers = [buffer.tensor.name for buffer in manifest.buffers]
    own = set(head.state)
    check.once("head.inputs and smashed", [*inputs, *(spec.name for spec in manifest.smashed)])
    check.once("head.random and random", [*random, *(spec.name for spec in manifest.random)])
    check.once("head.state", head.state)
    check.within("head.state", head.state, [*parameters, *buffers])
    fed = [*inputs, head.target, *random, *head.state]
    check.once("head.inputs, head.target, head.random and head.state", fed)
    still = {b.tensor.name for b in manifest.buffers if b.update == "none"}
    check.within("head.step.inputs", head.step.inputs, {*fed, *still})
    check.within("head.step.frozen", head.step.frozen, still)
    check.once("head.step.outputs", head.step.outputs)
    made = [head.loss, *head.input_gradients.values(), *head.gradients.values()]
    check.within("head.loss, head.input_gradients and head.gradients", made, head.step.outputs)
    check.same("head.input_gradients", head.input_gradients, inputs)
    check.same("head.gradients", head.gradients, own.intersection(parameters))
    check.within("graphs.gradients", manifest.graphs.gradients, set(parameters) - own)
    updated = [b for b in manifest.buffers if b.update == "graph" and b.tensor.name in own]
    check.within("buffers of the head", (b.output for b in updated), head.step.outputs)
    check.within("head.infer.frozen", head.infer.frozen, {*own, *still})
    check.same("head.infer.inputs", head.infer.inputs, inputs)
    if len(head.infer.outputs) != 1:
        raise check.error("head.infer.outputs are not one")


class _Checker:
    def __init__(self, path: Path) -> None:
        self._path = path

    def once(self, field: str, names: Iterable[str]) -> None:
        for name, count in Counter(names).items():
            if count > 1:
                raise self.error(f"{field} name {name!r} {count} times")

    def within(self, field: str, names: Iterable[str], known: Iterable[str]) -> None:
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise self.error(f"{field} name {unknown[0]!r}, which nothing else in it knows")

    def same(self, field: str, names: Iterable[str], expected: Iterable[str]) -> None:
        odd = sorted(set(names) ^ set(expected))
        if odd:
            raise self.error(f"{field}: {odd[0]!r} is missing or unknown")

    def error(self, what: str) -> BundleError:
        return BundleError(f"{self._path}: {what}", "export the bundle again")

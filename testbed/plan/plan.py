"""Predicts every cut with every codec on a board, and chooses."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slfac.codec import make_codec
from slfac.export.source import Source
from slfac.export.trial import Trial, bundle_source, model_source, try_cuts
from slfac.hw_profiles import load_profile, load_reference
from slfac.hw_profiles.choice import Goal, Verdict, choose, pareto
from slfac.hw_profiles.estimate import Estimate, Guess, Unknown, between, exact
from slfac.hw_profiles.link import Path as LinkPath
from slfac.hw_profiles.link import choose_path
from slfac.hw_profiles.machine import Machine, choose_mode
from slfac.hw_profiles.predict import SERVER, Load, Prediction, predict_round, predict_step, times
from slfac.hw_profiles.schema import Device
from slfac.testbed.plan.payloads import Input, make_input, measure_payloads
from slfac.wire.bundle import open_bundle
from slfac.wire.costs import Costs, read_costs
from slfac.wire.errors import SettingsError
from slfac.wire.manifest import Loss, Preprocessing

_MAX_BATCH = 1 << 16
_MAX_ROUNDS = 1_000_000
_SERVER_SPREAD = 2.0


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What is to be planned.

    Attributes:
        bundles: Bundles, each of one cut; none where a model is named.
        model: A model; empty where there are bundles.
        kwargs: Arguments of the model.
        weights: A safetensors file with its weights; None for fresh ones.
        input_shape: Shape of one sample of the model.
        num_classes: Width of the model's output.
        cuts: Cuts of the model; none for all where one tensor crosses.
        loss: The model's loss.
        board: A profile: a name, or a file.
        mode: Its power mode; empty for the one of which most is known.
        device: Where fronts run.
        threads: With how many threads.
        link: The way to the server, as :func:`slfac.hw_profiles.link.choose_path` takes it.
        data: A data set, or how many samples the board will have.
        batch_size: Samples of a step.
        codecs: Codecs to try, both ways.
        rounds: Rounds of a run.
        server_ms: What the server takes for a step; None to measure here.
        seed: Of weights and of made-up input.
    """

    bundles: tuple[Path, ...] = ()
    model: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    input_shape: tuple[int, ...] = ()
    num_classes: int = 0
    cuts: tuple[str, ...] = ()
    loss: Loss = "cross_entropy"
    board: str
    mode: str = ""
    device: Device = "cpu"
    threads: int = 1
    link: str
    data: str
    batch_size: int = 32
    codecs: tuple[str, ...] = ("none", "slfac")
    rounds: int = 1
    server_ms: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Candidate:
    """One cut with one codec.

    Attributes:
        cut: The cut; of a bundle, with its folder's name.
        codec: The codec, as it calls itself.
        load: What the board is to do.
        step: What a step takes.
        round: What a round takes.
        run: What all rounds take.
        on_front: Whether no other candidate beats it in time, energy and bytes of a round.
    """

    cut: str
    codec: str
    load: Load
    step: Prediction
    round: Prediction
    run: Prediction
    on_front: bool = False

    @property
    def name(self) -> str:
        """Cut and codec."""
        return f"{self.cut} {self.codec}"


@dataclass(frozen=True)
class Plan:
    """Everything that was predicted.

    Attributes:
        settings: What was asked for.
        machine: The board.
        path: The way to the server.
        given: What fronts were run on.
        candidates: Those that take least time first; unknown ones last.
        verdicts: By time, by energy, by bytes of a round.
    """

    settings: PlanSettings
    machine: Machine
    path: LinkPath
    given: Input
    candidates: list[Candidate]
    verdicts: list[Verdict]


def make_plan(settings: PlanSettings, say: Callable[[str], None]) -> Plan:
    """Predict and choose.

    Args:
        settings: What is to be planned.
        say: Called with what is being done.

    Returns:
        The plan.

    Raises:
        SettingsError: A setting is wrong, or there is nothing to predict from.
        SlfacError: A model, bundle, codec or the data cannot be used.
    """
    _check(settings)
    machine = _machine(settings)
    _refuse_unmeasured(machine, settings.batch_size)
    path = choose_path(settings.link, machine.profile)
    specs = tuple(dict.fromkeys(make_codec(codec).spec for codec in settings.codecs))
    found: list[Candidate] = []
    given = None
    for subject in _subjects(settings):
        given = make_input(
            settings.data,
            settings.batch_size,
            subject.source.input_shape,
            subject.outputs,
            subject.preprocessing,
            subject.loss,
            settings.seed,
        )
        for trial in try_cuts(subject.source, subject.cuts, given.batches, subject.loss):
            say(f"{subject.prefix}{trial.cut.name}")
            costs = subject.costs or trial.cut.costs
            for spec in specs:
                load = _load(settings, trial, costs, spec, given, subject.source.name)
                name = f"{subject.prefix}{trial.cut.name}"
                found.append(_candidate(settings, machine, path, name, load, given.samples))
    if given is None:
        raise SettingsError("there is nothing to plan", "give --model, or --bundle")
    _refuse_nothing(found)
    found = _ordered(found)
    return Plan(settings, machine, path, given, found, _verdicts(found))


@dataclass(frozen=True)
class _Subject:
    """A model, and which of its cuts are tried."""

    source: Source
    cuts: Sequence[str] | None
    outputs: int
    preprocessing: Preprocessing
    loss: Loss
    costs: Costs | None = None
    prefix: str = ""


def _check(settings: PlanSettings) -> None:
    for name, value, most in (
        ("batch-size", settings.batch_size, _MAX_BATCH),
        ("rounds", settings.rounds, _MAX_ROUNDS),
        ("threads", settings.threads, 64),
    ):
        if not 1 <= value <= most:
            raise SettingsError(f"--{name} is {value}", f"use 1 to {most}")
    if not settings.codecs:
        raise SettingsError("--codec names none", "name one or more, such as none,slfac")
    if settings.server_ms is not None and not 0 <= settings.server_ms <= 1e9:
        raise SettingsError(
            f"--server-ms is {settings.server_ms:g}", "give milliseconds, 0 or more"
        )
    if bool(settings.bundles) == bool(settings.model):
        raise SettingsError("there is no model, or two", "give --model, or --bundle, and not both")
    if settings.model and not (settings.input_shape and settings.num_classes):
        raise SettingsError("--model needs --input and --classes", "such as 3x32x32 and 10")
    if settings.bundles and (settings.cuts or settings.input_shape or settings.num_classes):
        raise SettingsError("--bundle holds cut, input and classes", "leave out those options")


def _machine(settings: PlanSettings) -> Machine:
    profile = load_profile(settings.board)
    mode = choose_mode(profile, settings.mode)
    if isinstance(mode, Unknown):
        raise SettingsError(f"--board is {settings.board!r}: {mode.why}")
    return Machine(profile, mode, load_reference(), settings.device, settings.threads)


def _subjects(settings: PlanSettings) -> Iterator[_Subject]:
    if settings.model:
        source = model_source(
            settings.model,
            settings.kwargs,
            settings.input_shape,
            settings.num_classes,
            weights=settings.weights,
            seed=settings.seed,
        )
        plain = Preprocessing(scale=1 / 255)
        cuts = settings.cuts or None
        yield _Subject(source, cuts, settings.num_classes, plain, settings.loss)
    for path in settings.bundles:
        bundle = open_bundle(path)
        manifest = bundle.manifest
        yield _Subject(
            bundle_source(bundle),
            [manifest.back.cut],
            manifest.num_outputs,
            manifest.preprocessing,
            manifest.loss,
            read_costs(bundle),
            f"{path.name}:" if len(settings.bundles) > 1 else "",
        )


def _load(  # noqa: PLR0917 - all that a step's load is made of
    settings: PlanSettings, trial: Trial, costs: Costs, spec: str, given: Input, model: str
) -> Load:
    payloads = measure_payloads(trial, given.batches, spec, given)
    if settings.server_ms is not None:
        server: Estimate = exact(settings.server_ms, "as --server-ms says")
    else:
        # This machine may be nothing like the server, and torch's optimiser comes on top.
        value = statistics.median(trial.back_ms) + payloads.codec_ms
        said = "back half and codec, measured here on one thread; or say --server-ms"
        ends = (value / _SERVER_SPREAD, value * _SERVER_SPREAD)
        server = between(value, *ends, "spec", said, SERVER)
    return Load(
        model=model,
        costs=costs,
        batch=settings.batch_size,
        codec=spec,
        tensor_bytes=payloads.tensor_bytes,
        up_bytes=payloads.up_bytes,
        down_bytes=payloads.down_bytes,
        server_ms=server,
        front_bytes=trial.front_bytes,
    )


def _candidate(  # noqa: PLR0917 - all that a prediction depends on
    settings: PlanSettings,
    machine: Machine,
    path: LinkPath,
    cut: str,
    load: Load,
    samples: int,
) -> Candidate:
    step = predict_step(machine, path, load)
    whole = predict_round(machine, path, load, step, samples)
    return Candidate(cut, load.codec, load, step, whole, times(whole, settings.rounds))


def _refuse_unmeasured(machine: Machine, batch: int) -> None:
    """Say before minutes have passed that there is nothing to predict from."""
    nothing = Costs(layers=(), residual_bytes=0)
    guess = machine.front_ms(nothing, batch, "forward", "")
    if isinstance(guess, Unknown) and not (machine.at_home and machine.mode.fronts):
        raise SettingsError(f"no time can be predicted: {guess.why}")


def _refuse_nothing(found: Sequence[Candidate]) -> None:
    """A plan without a single time helps nobody: say why there is none."""
    reasons = []
    for candidate in found:
        if isinstance(candidate.step.ms, Estimate):
            return
        reasons.append(candidate.step.ms.why)
    raise SettingsError(f"no time can be predicted: {reasons[0]}")


def _ordered(found: list[Candidate]) -> list[Candidate]:
    known = [c for c in found if isinstance(c.round.ms, Estimate)]
    front = dict(zip(map(id, known), pareto([_figures(c) for c in known]), strict=True))
    marked = [
        Candidate(c.cut, c.codec, c.load, c.step, c.round, c.run, front.get(id(c), False))
        for c in found
    ]
    return sorted(marked, key=lambda c: _value(c.round.ms))


def _figures(candidate: Candidate) -> tuple[float, float, float]:
    """Time, energy and bytes; where no candidate's energy is known, it decides nothing."""
    whole = candidate.round
    return _value(whole.ms), _value(whole.joules), whole.bytes.value


def _value(guess: Guess) -> float:
    return guess.value if isinstance(guess, Estimate) else float("inf")


def _verdicts(found: Sequence[Candidate]) -> list[Verdict]:
    goals: dict[Goal, list[Guess]] = {
        "time": [c.round.ms for c in found],
        "energy": [c.round.joules for c in found],
        "bytes": [c.round.bytes for c in found],
    }
    return [choose(goal, values) for goal, values in goals.items()]

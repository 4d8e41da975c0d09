"""How long a board takes to compute something, by the best that its profile has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slfac.hw_profiles.estimate import (
    FLOORS,
    Estimate,
    Guess,
    Term,
    Tier,
    Unknown,
    between,
    figure_of,
    total,
    within,
)
from slfac.hw_profiles.fit import SPEEDS, memory_mib
from slfac.hw_profiles.schema import (
    CodecCost,
    Compute,
    Device,
    FrontCost,
    MemoryCost,
    Mode,
    PhaseCost,
    Profile,
)
from slfac.hw_profiles.values import Value
from slfac.hw_profiles.work import FrontPhase, Work, work_of
from slfac.wire.costs import Costs, costs_id

NOTHING: Final = "nothing to predict from: run `slfac profile run` on the board"
_AMOUNTS: Final = ("conv_gflop", "depthwise_gflop", "matmul_gflop", "gb")
COMPUTING: Final = "computing"
CODEC: Final = "codec"


@dataclass(frozen=True)
class Ratio:
    """How much faster a board is than another.

    Attributes:
        value: So many times as fast.
        source: Both figures, and where they are from.
    """

    value: float
    source: str


@dataclass(frozen=True)
class Machine:
    """A board in one of its power modes, to be predicted.

    Attributes:
        profile: What is known of it.
        mode: The mode.
        reference: The measured profile of another machine, from which is carried over what this
            one lacks; None for none.
        device: Where fronts run.
        threads: With how many threads.
    """

    profile: Profile
    mode: Mode
    reference: Profile | None = None
    device: Device = "cpu"
    threads: int = 1

    @property
    def at_home(self) -> bool:
        """Whether the profile was measured on the very board."""
        return self.profile.provenance.origin == "measured"

    def front_ms(self, costs: Costs, batch: int, phase: FrontPhase, model: str) -> Guess:
        """The time of a phase that a front computes.

        Args:
            costs: What the front costs.
            batch: Samples in a batch.
            phase: Which phase.
            model: Which model it is a front of. One of which no front was measured is predicted
                less well, and its interval is wider.
        """
        front = self._front(costs, batch)
        value = None if front is None else getattr(front, f"{phase}_ms")
        if front is not None and value is not None:
            return _whole(
                figure_of(value, cause=f"{front.label} {phase}", at_home=True), phase, "ms"
            )
        work = work_of(costs, batch, phase)
        own = _phase(self.mode, phase, self.device, self.threads)
        if own is not None:
            spread, said = _spread(own, self.mode, model)
            return _fitted(own, work, "calibrated", said, spread, lambda _: 1.0)
        return self._carried_front(work, phase, model)

    def codec_ms(self, spec: str, way: str, tensor_bytes: int) -> Guess:
        """The time of a codec.

        Args:
            spec: The codec, as it calls itself.
            way: ``encode`` or ``decode``.
            tensor_bytes: Bytes of float32.
        """
        own = _codec(self.mode, spec, self.threads)
        if own is not None and getattr(own, f"{way}_mbs") is not None:
            return _coded(own, way, tensor_bytes, "calibrated", CODEC, "", 1.0)
        unmeasured = Unknown(f"codec {spec} was not measured on {self._name()}")
        if self.reference is None:
            return unmeasured
        found = self._ratios()
        if isinstance(found, Unknown):
            return found
        theirs = _codec(found[2], spec, self.threads)
        if theirs is None or getattr(theirs, f"{way}_mbs") is None:
            return unmeasured
        slower = min(found[:2], key=lambda ratio: ratio.value)
        said = f"carried over by {slower.source}:"
        return _coded(theirs, way, tensor_bytes, "spec", COMPUTING, said, slower.value)

    def peak_mib(self, costs: Costs, batch: int) -> Guess:
        """The memory of a process that trains a front, at its peak.

        Args:
            costs: What the front costs.
            batch: Samples in a batch.
        """
        front = self._front(costs, batch)
        if front is not None and front.peak_mib is not None:
            return _whole(figure_of(front.peak_mib, cause="memory", at_home=True), "peak", "MiB")
        own = _memory(self.mode, self.device)
        if own is not None:
            return _held(own, costs, batch, "calibrated", "")
        if self.reference is not None:
            for mode in self.reference.modes:
                theirs = _memory(mode, self.device)
                if theirs is not None:
                    said = f"as on {self.reference.board.name}:"
                    return _held(theirs, costs, batch, "spec", said)
        return Unknown(f"the memory of fronts was not measured on {self._name()}")

    def _name(self) -> str:
        name = self.profile.board.name
        return name if self.reference is None else f"{name} or {self.reference.board.name}"

    def _front(self, costs: Costs, batch: int) -> FrontCost | None:
        if not self.at_home:
            return None
        same = (costs_id(costs), batch, self.device, self.threads)
        for front in self.mode.fronts:
            if (front.costs, front.batch, front.device, front.threads) == same:
                return front
        return None

    def _carried_front(self, work: Work, phase: FrontPhase, model: str) -> Guess:
        found = self._ratios()
        if isinstance(found, Unknown):
            return found
        computing, memory, mode = found
        theirs = _phase(mode, phase, self.device, self.threads)
        if theirs is None:
            return Unknown(
                f"phase {phase} was not measured on {self._name()} with {self.threads} threads "
                f"on {self.device}"
            )
        spread, unseen = _spread(theirs, mode, model)
        said = f"{unseen} carried over by {computing.source}, and bytes by {memory.source}:".strip()

        def faster(name: str) -> float:
            return (memory if name == "gb" else computing).value

        return _fitted(theirs, work, "spec", said, spread, faster)

    def _ratios(self) -> tuple[Ratio, Ratio, Mode] | Unknown:
        """Of computing and of memory, to the reference; and what that is in."""
        board = self.profile.board.name
        if self.device != "cpu":
            return Unknown(
                f"fronts on {self.device} were measured on no machine; profile {board} has only "
                f"products of matrices there; {NOTHING}"
            )
        if self.reference is None:
            return Unknown(f"profile {board} has no fitted phases; {NOTHING}")
        mode = self.reference.modes[0]
        computing = _computing_ratio(self.profile, self.mode, self.reference, mode)
        memory = _memory_ratio(self.profile, self.reference)
        if computing is None:
            return Unknown(f"profile {board} has no computing figures of its CPU; {NOTHING}")
        if memory is None:
            return Unknown(f"profile {board} has no memcpy_gbs; {NOTHING}")
        return computing, memory, mode


def choose_mode(profile: Profile, name: str = "") -> Mode | Unknown:
    """The power mode of a profile that is predicted.

    Args:
        profile: The profile.
        name: Which mode; empty for the one of which most is known.

    Returns:
        The mode; unknown if there is none of that name, or none at all.
    """
    if name:
        for mode in profile.modes:
            if mode.name == name:
                return mode
        names = ", ".join(mode.name for mode in profile.modes)
        return Unknown(f"profile {profile.board.name} has no mode {name!r}: it has {names}")
    if not profile.modes:
        return Unknown(f"profile {profile.board.name} has no mode; {NOTHING}")
    return max(profile.modes, key=_known)


def _known(mode: Mode) -> tuple[int, int, int]:
    cpu = [one for one in mode.compute if one.device == "cpu" and _fp64(one)]
    powers = sum(power is not None for power in (mode.idle_w, mode.active_w))
    return len(mode.fronts) + len(mode.phases), len(cpu), powers


def _fp64(one: Compute) -> bool:
    return one.dtype == "fp64" and one.workload in {"gemm", "hpl"} and one.gflops is not None


def _computing_ratio(
    profile: Profile, mode: Mode, reference: Profile, theirs: Mode
) -> Ratio | None:
    """By products of matrices in fp64, a core; LINPACK is hardly anything else."""
    own = _per_core(profile, mode)
    other = _per_core(reference, theirs)
    if own is None or other is None:
        return None
    return Ratio(own[0] / other[0], f"{own[1]} over {other[1]}")


def _per_core(profile: Profile, mode: Mode) -> tuple[float, str] | None:
    cores = profile.hardware.cores
    found = []
    for one in mode.compute:
        count = one.threads if one.threads is not None else cores.value if cores else 0
        if one.device == "cpu" and _fp64(one) and one.gflops is not None and count:
            found.append((float(count), one.workload, one.gflops))
    if not found:
        return None
    count, workload, gflops = min(found, key=lambda each: each[0])
    rate = gflops.value / count
    return rate, (
        f"{rate:.3g} GFLOP/s fp64 a core of {profile.board.name} ({workload}, {count:g} cores: "
        f"{gflops.source})"
    )


def _memory_ratio(profile: Profile, reference: Profile) -> Ratio | None:
    own, other = profile.hardware.memcpy_gbs, reference.hardware.memcpy_gbs
    if own is None or other is None:
        return None
    said = f"memcpy {own.value:g} GB/s ({own.source}) over {other.value:g} GB/s"
    return Ratio(own.value / other.value, f"{said} of {reference.board.name}")


def _phase(mode: Mode, name: str, device: Device, threads: int) -> PhaseCost | None:
    for phase in mode.phases:
        same = phase.name == name and phase.device == device and phase.threads in {None, threads}
        if same and phase.t0_ms is not None and phase.spread is not None:
            return phase
    return None


def _codec(mode: Mode, spec: str, threads: int) -> CodecCost | None:
    for codec in mode.codecs:
        if codec.spec == spec and codec.threads in {None, threads}:
            return codec
    return None


def _memory(mode: Mode, device: Device) -> MemoryCost | None:
    return next((one for one in mode.memories if one.device == device), None)


def _whole(estimate: Estimate, what: str, unit: str) -> Estimate:
    term = Term(what, estimate.value, unit, estimate.tier, estimate.source)
    return between(
        estimate.value, estimate.low, estimate.high, estimate.tier, estimate.source, what
    ).of(term)


def _spread(cost: PhaseCost, mode: Mode, model: str) -> tuple[float, str]:
    """How far a phase may be off, and what must be said of it."""
    spread = cost.spread.value if cost.spread is not None else 0.0
    # Of bundles of one model that differ in its arguments, each is named behind it.
    if any(front.model == model or front.model.startswith(f"{model} (") for front in mode.fronts):
        return spread, ""
    # Where only one model was measured, nothing tells what another does.
    unseen = cost.unseen_spread.value if cost.unseen_spread is not None else FLOORS["spec"]
    return max(spread, unseen), f"no front of {model} was measured;"


def _fitted(  # noqa: PLR0917 - a fit, and how it is carried over
    cost: PhaseCost,
    work: Work,
    tier: Tier,
    said: str,
    spread: float,
    faster: Callable[[str], float],
) -> Estimate:
    """A phase by its fit; ``faster`` says how much faster this board does something."""
    parts = [("whatever there is to do", 1.0, cost.t0_ms, "t0")]
    parts.append((f"{work.layers} layers with weights", float(work.layers), cost.layer_ms, "layer"))
    terms = [
        Term(
            f"{cost.name}: {what}",
            count * value.value / faster(name),
            "ms",
            tier,
            " ".join(filter(None, (said, value.source))),
        )
        for what, count, value, name in parts
        if value is not None and count
    ]
    for speed, name in zip(SPEEDS, _AMOUNTS, strict=True):
        rate: Value | None = getattr(cost, speed)
        amount = getattr(work, name)
        if rate is not None and amount:
            unit = "GB" if name == "gb" else f"GFLOP {name.removesuffix('_gflop')}"
            here = rate.value * faster(name)
            what = f"{cost.name}: {amount:.4g} {unit} at {here:.4g}/s"
            source = " ".join(filter(None, (said, rate.source)))
            terms.append(Term(what, 1e3 * amount / here, "ms", tier, source))
    value = sum(term.value for term in terms)
    return within(value, spread, tier, said or terms[0].source, COMPUTING).of(*terms)


def _coded(  # noqa: PLR0917 - a speed, and how it is carried over
    codec: CodecCost, way: str, size: int, tier: Tier, cause: str, said: str, faster: float
) -> Estimate:
    rate: Value = getattr(codec, f"{way}_mbs")
    start: Value | None = getattr(codec, f"{way}_t0_ms")
    here = rate.value * faster
    value = 1e-3 * size / here + (start.value / faster if start is not None else 0.0)
    spread = codec.spread.value if codec.spread is not None else 0.0
    if rate.low and rate.high:
        spread = max(spread, rate.value / rate.low - 1, rate.high / rate.value - 1)
    source = " ".join(filter(None, (said, rate.source)))
    what = f"{way}: {1e-6 * size:.4g} MB at {here:.4g} MB/s"
    return within(value, spread, tier, source, cause).of(Term(what, value, "ms", tier, source))


def _held(cost: MemoryCost, costs: Costs, batch: int, tier: Tier, said: str) -> Guess:
    weights, residuals = memory_mib(costs, batch)
    parts = (
        ("process", 1.0, cost.base_mib),
        (f"{weights:.4g} MiB of weights", weights, cost.per_weight),
        (f"{residuals:.4g} MiB of residuals", residuals, cost.per_residual),
    )
    spread = cost.spread.value if cost.spread is not None else 0.0
    found: list[Guess] = []
    for what, amount, value in parts:
        if value is None:
            return Unknown(f"memory: {what} was not fitted")
        source = " ".join(filter(None, (said, value.source)))
        part = amount * value.value
        term = Term(f"memory: {what}", part, "MiB", tier, source)
        found.append(within(part, spread, tier, source, "memory").of(term))
    return total(found, source=said or "fit")

"""Figures of a plan as people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slfac.hw_profiles.choice import Goal, Verdict
from slfac.hw_profiles.estimate import Estimate, Guess, Term, Unknown
from slfac.hw_profiles.link import LINK, RADIO
from slfac.hw_profiles.predict import SERVER
from slfac.testbed.plan.payloads import PAYLOAD
from slfac.testbed.plan.plan import Candidate, Plan

_GOALS = {"time": "time", "energy": "energy", "bytes": "bytes on the network"}
_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
HEADER = (
    *("", "cut", "codec", "step ms", "95 %", "round s", "95 %", "round J", "95 %"),
    *("round MB", "peak MiB", "tier"),
)


def digits(value: float) -> str:
    """A number with three digits that count.

    Args:
        value: Not below zero.
    """
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def with_interval(guess: Guess, scale: float = 1.0) -> tuple[str, str]:
    """A figure, and its interval.

    Args:
        guess: The figure.
        scale: What it is multiplied with.

    Returns:
        Both; ``?`` for what is unknown, ``>=`` before what something is missing from.
    """
    if isinstance(guess, Unknown):
        return "?", ""
    least = ">=" if guess.missing else ""
    ends = f"{digits(scale * guess.low)} to {digits(scale * guess.high)}"
    exact = guess.low == guess.high
    return f"{least}{digits(scale * guess.value)}", "" if exact else ends


def rows(plan: Plan) -> Iterator[tuple[str, ...]]:
    """Cells of the table, without its header.

    Args:
        plan: The plan.
    """
    for candidate in plan.candidates:
        whole = candidate.round
        yield (
            "*" if candidate.on_front else "",
            candidate.cut,
            candidate.codec,
            *with_interval(candidate.step.ms),
            *with_interval(whole.ms, 1e-3),
            *with_interval(whole.joules),
            digits(1e-6 * whole.bytes.value),
            with_interval(candidate.step.peak_mib)[0],
            whole.ms.tier if isinstance(whole.ms, Estimate) else "unknown",
        )


def subject(plan: Plan) -> str:
    """What is trained.

    Args:
        plan: The plan.
    """
    settings = plan.settings
    return settings.model or ", ".join(path.name for path in settings.bundles)


def sentences(plan: Plan) -> Iterator[str]:
    """What the plan comes to: what was assumed, what is best, what is not known.

    Args:
        plan: The plan.
    """
    settings, machine = plan.settings, plan.machine
    steps = -(-plan.given.samples // settings.batch_size)
    yield (
        f"{machine.profile.board.title}, mode {machine.mode.name}, {settings.threads} thread"
        f"{'s' if settings.threads > 1 else ''} on {settings.device}; link {plan.path.name}; "
        f"batches of {settings.batch_size}, {steps} steps a round"
    )
    yield f"sizes: {plan.given.source}"
    yield "* is on the Pareto front of time, energy and bytes of a round"
    yield from _verdicts(plan)
    yield from _notes(plan)


def _verdicts(plan: Plan) -> Iterator[str]:
    names = [candidate.name for candidate in plan.candidates]
    for verdict in plan.verdicts:
        goal = _GOALS[verdict.goal]
        if verdict.best is None:
            why = next(iter(_unknown(plan, verdict.goal)), "no figures")
            yield f"least {goal}: unknown, for {why}"
        elif verdict.separated:
            yield f"least {goal}: {names[verdict.best]}; with 95 % less than any other"
        else:
            listed = _listed([names[i] for i in verdict.remaining])
            yield (
                f"least {goal}: cannot be told among {len(verdict.remaining)}: "
                f"{listed}; {advice(plan, verdict)}"
            )


def advice(plan: Plan, verdict: Verdict) -> str:
    """What measurement would tell candidates apart.

    Args:
        plan: The plan.
        verdict: Which candidates remain, and by what.

    Returns:
        What widens their intervals most, and what measures it.
    """
    widths: dict[str, float] = {}
    for index in verdict.remaining:
        guess = figure(plan.candidates[index], verdict.goal)
        for cause, width in guess.above.items() if isinstance(guess, Estimate) else ():
            widths[cause] = max(widths.get(cause, 0.0), width)
    if not any(widths.values()):
        return "they are the same"
    cause = max(widths, key=lambda name: widths[name])
    cuts = list(dict.fromkeys(plan.candidates[index].cut for index in verdict.remaining))
    bundles = " and ".join(cuts[:3]) + (f" and {len(cuts) - 3} more" if len(cuts) > 3 else "")
    measured = {
        LINK: "measure the link (`slfac profile link`), or say its rate",
        RADIO: "measure the radio (`slfac profile radio`)",
        SERVER: "measure a step on the server, and say --server-ms",
        PAYLOAD: "give your data: --data PATH",
    }
    run = f"run `slfac profile run` on the board with bundles of {bundles}"
    return f"what is least known is {cause}: {measured.get(cause, run)}"


def figure(candidate: Candidate, goal: Goal) -> Guess:
    """What a candidate is judged by.

    Args:
        candidate: The candidate.
        goal: By what.
    """
    whole = candidate.round
    return {"time": whole.ms, "energy": whole.joules, "bytes": whole.bytes}[goal]


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _unknown(plan: Plan, goal: Goal) -> Iterator[str]:
    for candidate in plan.candidates:
        guess = figure(candidate, goal)
        if isinstance(guess, Unknown):
            yield guess.why


def _notes(plan: Plan) -> Iterator[str]:
    """What is missing, once each."""
    said: dict[str, None] = {}
    for candidate in plan.candidates:
        for guess, what in ((candidate.round.ms, "time"), (candidate.round.joules, "energy")):
            if isinstance(guess, Unknown):
                said.setdefault(f"{what} of {candidate.name} is unknown: {guess.why}")
            else:
                for missing in guess.missing:
                    said.setdefault(f">= {what} is at least that, without the {missing}")
    memory = plan.machine.profile.hardware.memory_mib
    for candidate in plan.candidates:
        peak = candidate.step.peak_mib
        if isinstance(peak, Unknown):
            said.setdefault(f"peak memory is unknown: {peak.why}")
        elif memory is not None and peak.high > memory.value:
            said.setdefault(f"{candidate.name} may not fit into {memory.value:g} MiB of memory")
    yield from said


def explained(candidate: Candidate) -> Iterator[tuple[str, str, str, str]]:
    """Every figure that a step was predicted from.

    Args:
        candidate: Of what.

    Yields:
        What it is, its value, its tier, its source; phases before what they are made of.
    """
    yield ("what", "value", "tier", "source")
    for phase in candidate.step.phases:
        yield from _phase(f"{phase.name}, time", phase.ms, "ms")
    yield from _phase("step, time", candidate.step.ms, "ms", terms=False)
    for phase in candidate.step.phases:
        yield from _phase(f"{phase.name}, energy", phase.joules, "J")
    yield from _phase("step, energy", candidate.step.joules, "J", terms=False)
    yield from _phase("sent", candidate.step.up_bytes, "bytes")
    yield from _phase("received", candidate.step.down_bytes, "bytes")
    yield from _phase("peak memory", candidate.step.peak_mib, "MiB")
    yield from _phase("round, time", candidate.round.ms, "ms", terms=False)
    yield from _phase("round, energy", candidate.round.joules, "J", terms=False)


def _phase(
    what: str, guess: Guess, unit: str, *, terms: bool = True
) -> Iterator[tuple[str, str, str, str]]:
    if isinstance(guess, Unknown):
        yield (what, "unknown", "", guess.why)
        return
    value, ends = with_interval(guess)
    said = f"{value} {unit}" + (f" ({ends})" if ends else "")
    yield (what, said, guess.tier, "" if guess.terms else guess.source)
    if terms:
        for term in guess.terms:
            yield _term(term)


def _term(term: Term) -> tuple[str, str, str, str]:
    return (f"  {term.what}", f"{digits(term.value)} {term.unit}", term.tier, term.source)

"""A run whose processes are killed ends with the weights of one that nobody disturbed."""

import functools

import pytest

from harness.chaos import (
    ROUNDS,
    Chaos,
    Kill,
    Schedule,
    bundle_for_parts,
    bundle_with_everything,
    fresh_site,
    random_schedule,
)
from harness.site import write_digits

# Killed as soon as a round's line is written, the server has not written its checkpoint yet; a
# few milliseconds later it is in the middle of it, and then its devices have their new front.
PAUSES_S = (0.0, 0.004, 0.05)
BOUNDARIES = Schedule(
    kills=tuple(
        Kill(victim, rounds=2 + 2 * number, pause_s=pause_s)
        for number, (victim, pause_s) in enumerate(
            [("server", pause_s) for pause_s in PAUSES_S] + [("d1", 0.0), ("d2", 0.01)]
        )
    )
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The bundle of a mode."""
    folder = tmp_path_factory.mktemp("chaos")
    return functools.cache(lambda mode: bundle_with_everything(folder / mode, mode))


@pytest.fixture(scope="module")
def undisturbed(bundle, digits):
    """What a run ends with that nobody disturbs, by mode."""

    @functools.cache
    def weights(mode):
        with fresh_site(bundle(mode), digits) as site:
            chaos = Chaos(site, mode)
            ended = chaos.run(Schedule())
            assert len([e for e in chaos.events() if e["event"] == "step"]) == ROUNDS * 5 * 3
            return ended

    return weights


@pytest.mark.slow
@pytest.mark.timeout(400)  # each start of a server takes seconds
@pytest.mark.parametrize(
    ("mode", "schedule"),
    [
        ("parallel", BOUNDARIES),
        ("parallel", random_schedule(0)),
        ("relay", random_schedule(5)),
        ("sfl-v1", random_schedule(6)),
        ("u-shaped", random_schedule(7)),
    ],
    ids=["boundaries", "0", "relay", "sfl-v1", "u-shaped"],
)
def test_kills_and_cuts_leave_no_trace_in_the_weights(mode, schedule, bundle, digits, undisturbed):
    with fresh_site(bundle(mode), digits) as site:
        chaos = Chaos(site, mode)
        assert chaos.run(schedule) == undisturbed(mode)
        events = chaos.events()
    kinds = [event["event"] for event in events]
    # The metrics are those of one run: what was made again stands there once.
    made = [(e["device"], e["round"], e["step"]) for e in events if e["event"] == "step"]
    assert len(made) == len(set(made)) == ROUNDS * 5 * 3
    assert kinds.count("round") == ROUNDS
    killed = sum(kill.victim == "server" for kill in schedule.kills)
    assert killed >= 2
    assert kinds.count("restarted") <= killed
    assert kinds[-1] == "end"


# Lines of metrics are written as a next step begins: its parts are then on their way.
AMID_STEPS = Schedule(
    kills=(
        Kill("d0", lines=20, pause_s=0.004),
        Kill("server", lines=60, pause_s=0.01),
        Kill("d2", lines=90, pause_s=0.002),
        Kill("server", lines=140, pause_s=0.02),
    ),
    cuts=(80_000, 300_000),
)


@pytest.mark.slow
@pytest.mark.timeout(400)  # each start of a server takes seconds
def test_kills_amid_steps_in_parts_leave_no_trace_in_the_weights(tmp_path):
    bundle = bundle_for_parts(tmp_path / "bundle")
    data = write_digits(tmp_path / "digits", train=240, test=60, size=8)
    weights = []
    for schedule in (Schedule(), AMID_STEPS):
        with fresh_site(bundle, data) as site:
            chaos = Chaos(site, micro_batches=4)
            weights.append(chaos.run(schedule))
            steps = [e for e in chaos.events() if e["event"] == "step"]
        made = [(e["device"], e["round"], e["step"]) for e in steps]
        assert len(made) == len(set(made)) == ROUNDS * 5 * 3
        assert {e["samples"] for e in steps} == {16}
    assert weights[0] == weights[1]

"""Who trains when in each mode, and on which weights; the I/O thread is a script here."""

import functools

import numpy as np
import pytest
import torch

from harness.offline import kept_bundle, variant
from harness.script import Script, run_script
from slfac.server.back import BackHalf, Batch
from slfac.server.events import Left, Restarted
from slfac.server.modes.factory import make_mode
from slfac.server.modes.kinds import U_SHAPED, mode_names, parse_mode
from slfac.server.modes.sfl_v1 import SflV1
from slfac.wire.bundle import unpack_state
from slfac.wire.errors import SettingsError, TrainingError

ALLOW = ("slfac.export.models",)
# The one with heads needs another bundle, and two requests a step: test_server_u_shaped.py.
MODES = tuple(name for name in mode_names() if name != U_SHAPED.name)
MOMENTUM = "sgd:lr=0.1,momentum=0.9"


@pytest.fixture
def train(tmp_path):
    return functools.partial(run_script, tmp_path)


def obedient(devices=3, steps=2):
    script = Script()
    for index in range(devices):
        script.obey(index, steps=steps)
        script.join(index)
    return script


def trainings(trainer, round_):
    """Devices of each training of a round, in their order."""
    found = {}
    for event in trainer.told:
        if event["event"] == "step" and event["round"] == round_:
            found.setdefault(event["training"], {})[event["place"]] = event["device"]
    return [[group[place] for place in sorted(group)] for _, group in sorted(found.items())]


def weights(back):
    return {name: tensor.clone() for name, tensor in back.module.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", MODES)
def test_every_mode_trains_every_batch_and_says_which_it_is(train, name):
    trainer = train(obedient(), devices=3, mode=name, rounds=2)
    assert [entry.devices for entry in trainer.rounds] == [3, 3]
    assert [entry.participation for entry in trainer.rounds] == [1.0, 1.0]
    for round_ in range(2):
        groups = trainings(trainer, round_)
        assert sorted(device for group in groups for device in group) == sorted(
            ["d0", "d1", "d2"] * 2
        )
    assert parse_mode(name).kind.name == name
    assert not same(weights(trainer.back), kept_weights())


def kept_weights():
    return weights(BackHalf(kept_bundle(), "sgd:lr=0.01", ALLOW))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("serial", "mode 'serial' is unknown; use parallel, sfl-v1, sfl-v2, relay, async"),
        ("async:staleness=-1", "staleness"),
        ("async:depth=1", "depth"),
        ("parallel:staleness=1", "staleness"),
    ],
)
def test_a_mode_that_there_is_not_is_refused(spec, text):
    with pytest.raises(SettingsError, match=text):
        parse_mode(spec)


def test_a_relay_passes_the_front_from_device_to_device(train):
    script = obedient(devices=3, steps=1)
    marks = {}

    def marked(index):
        obey = script.then[index]

        def then(header):
            if header.kind == "step":
                # What it makes of the front, in a form that can be told apart.
                changed = {n: a + np.float32(index + 1) for n, a in marks[index].items()}
                script.front(index, **changed)
            else:
                marks[index] = front_of(script, index)
                obey(header)

        return then

    for index in range(3):
        script.then[index] = marked(index)
    trainer = train(script, devices=3, mode="relay", rounds=1)
    start = kept_bundle().front_state()
    name = next(iter(start))
    # Each began with what the one before had made of it, and the last one's went on.
    assert np.allclose(trainer.front[name], start[name] + 1 + 2 + 3, atol=1e-5)
    order = [index for index, kind, _, _ in script.answers if kind in {"join", "step"}]
    assert order == [0, 0, 1, 1, 2, 2]


def front_of(script, index):
    return unpack_state(kept_bundle().manifest, script.bodies[index][-1])


def test_a_relay_waits_for_the_one_whose_turn_it_is(train):
    script = obedient(devices=2, steps=1)
    obey, steps = script.then[0], []

    def killed_once(header):
        if header.kind == "step" and not steps:
            steps.append(header)
            script.then[0] = obey
            script.obey(0, steps=1)
            script.events.put(Restarted(0))
            script.sessions[0], script.seqs[0], script.steps[0] = 40, 0, 0
            script.ask(0, "resume")
        else:
            obey(header)

    script.then[0] = killed_once
    trainer = train(script, devices=2, mode="relay", rounds=2)
    assert script.refused == []
    assert [entry.devices for entry in trainer.rounds] == [2, 2]
    assert [trainings(trainer, round_) for round_ in range(2)] == [[["d0"], ["d1"]]] * 2


def test_who_restarts_before_its_turn_in_a_relay_keeps_its_place(train):
    script = obedient(devices=2, steps=2)
    obey = script.then[0]

    def restart_the_other(header):
        if header.kind == "step" and script.sessions[1] == 2:
            script.events.put(Restarted(1))
            script.join(1, session=60)
        obey(header)

    script.then[0] = restart_the_other
    trainer = train(script, devices=2, mode="relay", rounds=1)
    assert [entry.devices for entry in trainer.rounds] == [2]
    assert trainings(trainer, 0) == [["d0"], ["d0"], ["d1"], ["d1"]]


def test_splitfed_v1_waits_for_nobody_and_the_order_of_arrival_changes_nothing(train):
    ended = [weights(one_waits(train, slow).back) for slow in range(2)]
    assert same(*ended)


def one_waits(train, slow):
    """A run of two in which one begins when the other has asked for both its steps."""
    script = obedient(devices=2, steps=2)
    obey, fast, held = script.then[slow], script.then[1 - slow], []

    def wait_for_the_other(header):
        if header.kind == "join":
            held.append(header)
        else:
            obey(header)

    def go_first(header):
        fast(header)
        if script.steps[1 - slow] == 2 and held:
            obey(held.pop())

    script.then[slow], script.then[1 - slow] = wait_for_the_other, go_first
    trainer = train(script, devices=2, mode="sfl-v1", rounds=1, out=str(slow))
    assert trainings(trainer, 0)[0] == [f"d{1 - slow}"]
    return trainer


def test_splitfed_v1_averages_copies_that_never_touched():
    rng = np.random.default_rng(0)
    batches = {index: batch_of(rng, 4) for index in range(2)}
    mode = SflV1(BackHalf(kept_bundle(), MOMENTUM, ALLOW), seed=0)
    alone = [BackHalf(kept_bundle(), MOMENTUM, ALLOW) for _ in range(2)]
    mode.begin(0)
    for index, batch in batches.items():
        (expected,) = alone[index].step([batch])
        outcome = mode.train({index: batch})[index]
        assert outcome.loss == expected.loss
        assert torch.equal(outcome.gradients[0], expected.gradients[0])
    front = kept_bundle().front_state()
    mode.merge({0: (front, 30), 1: (front, 10)})
    for name, tensor in mode.back.module.state_dict().items():
        one, other = (back.module.state_dict()[name] for back in alone)
        assert torch.allclose(tensor, 0.75 * one + 0.25 * other, atol=1e-6)


def test_splitfed_v1_draws_what_the_device_and_its_step_say(tmp_path):
    bundle = variant(tmp_path / "b")
    drawn = {}
    for order in ((0, 1), (1, 0)):
        mode = SflV1(BackHalf(bundle, "sgd:lr=0.1", ALLOW), seed=3)
        mode.back.module.register_forward_pre_hook(
            lambda _, args: (torch.nn.functional.dropout(args[0], 0.5),)
        )
        mode.begin(2)
        for index in order:
            batch = batch_of(np.random.default_rng(index), 4)
            drawn.setdefault(index, []).append(mode.train({index: batch})[index].loss)
    for losses in drawn.values():
        assert losses[0] == losses[1]
    before = torch.get_rng_state()
    mode.train({0: batch_of(np.random.default_rng(0), 4)})
    assert torch.equal(torch.get_rng_state(), before)


def batch_of(rng, size):
    x = torch.from_numpy(rng.normal(size=(size, 4, 4, 4)).astype(np.float32))
    return Batch((x,), rng.integers(0, 4, size))


@pytest.mark.parametrize("name", ["sfl-v1", "sfl-v2", "relay"])
def test_a_server_that_was_killed_goes_on_as_if_it_had_not_been(train, name):
    kinds = {"devices": 2, "mode": name, "optimizer": MOMENTUM}
    expected = train(obedient(2), rounds=3, out="whole", **kinds)
    train(obedient(2), rounds=2, out="cut", **kinds)
    script = Script()
    for index in range(2):
        script.obey(index, steps=2)
        script.sessions[index] = 70 + index
        script.steps[index], script.rounds[index] = 4, 2
        script.ask(index, "resume")
    trainer = train(script, rounds=3, out="cut", resume=True, **kinds)
    assert [entry.round for entry in trainer.rounds] == [0, 1, 2]
    assert same(weights(trainer.back), weights(expected.back))


def test_splitfed_v2_steps_for_one_device_after_another_in_an_order_of_its_own(train):
    trainer = train(obedient(3, steps=4), devices=3, mode="sfl-v2", rounds=2, seed=1)
    orders = [tuple(group) for round_ in range(2) for group in trainings(trainer, round_)]
    assert len(orders) == 8
    assert len(set(orders)) > 1
    again = train(obedient(3, steps=4), devices=3, mode="sfl-v2", rounds=2, seed=1, out="again")
    assert [tuple(g) for r in range(2) for g in trainings(again, r)] == orders
    assert same(weights(trainer.back), weights(again.back))


def test_splitfed_v2_takes_the_steps_of_torch_in_sequence():
    rng = np.random.default_rng(0)
    batches = {index: batch_of(rng, 3) for index in (2, 0, 1)}
    mode = make_mode("sfl-v2", BackHalf(kept_bundle(), MOMENTUM, ALLOW), 0)
    twin = BackHalf(kept_bundle(), MOMENTUM, ALLOW)
    outcomes = mode.train(batches)
    for index, batch in batches.items():
        x = batch.smashed[0].clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(twin.module(x), torch.from_numpy(batch.target))
        twin.optimizer.zero_grad()
        loss.backward()
        twin.optimizer.step()
        assert outcomes[index].loss == pytest.approx(loss.item(), rel=1e-6)
        assert torch.allclose(outcomes[index].gradients[0], x.grad, atol=1e-7)


def test_nobody_is_further_ahead_than_staleness_allows(train):
    script = obedient(devices=2, steps=6)
    obey, order = script.then[1], []
    late = []

    def slow(header):
        if header.kind == "join":
            late.append(header)
        else:
            obey(header)

    fast = script.then[0]

    def ahead(header):
        fast(header)
        if header.kind == "step":
            order.append(script.steps[0])
        # It asked for its fourth step, which has to wait until the other one moves.
        if script.steps[0] == 4 and late:
            script.events.put(Restarted(9))
            obey(late.pop())

    script.then[0], script.then[1] = ahead, slow
    trainer = train(script, devices=2, mode="async:staleness=2", rounds=1)
    groups = [group for (group,) in trainings(trainer, 0)]
    made = {"d0": 0, "d1": 0}
    for device in groups:
        made[device] += 1
        assert made["d0"] - made["d1"] <= 3
    assert groups[:4] == ["d0", "d0", "d0", "d1"]
    stale = [e["staleness"] for e in trainer.told if e["event"] == "step" and e["device"] == "d1"]
    assert stale[0] == 3
    assert made == {"d0": 6, "d1": 6}


def test_after_its_deadline_a_step_is_made_without_the_late(train):
    script = obedient(devices=2, steps=3)
    obey = script.then[1]
    held = []

    def late_once(header):
        if header.kind == "join":
            held.append(header)
        else:
            obey(header)

    fast = script.then[0]

    def go_on(header):
        fast(header)
        if header.kind == "step" and held:
            obey(held.pop())

    script.then[0], script.then[1] = go_on, late_once
    trainer = train(script, devices=2, rounds=1, step_deadline_s=0.05)
    groups = trainings(trainer, 0)
    assert groups == [["d0"], ["d0", "d1"], ["d0", "d1"], ["d1"]]
    assert trainer.rounds[0].participation == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    assert trainer.ledger.totals["d1"].late == 1
    assert trainer.ledger.totals["d0"].late == 0


def diverge(script, index, _):
    script.step(index, scale=1e9)


def test_where_all_devices_diverge_the_run_ends_in_every_mode(train):
    for name in MODES:
        script = Script()
        for index in range(2):
            script.then[index] = functools.partial(diverge, script, index)
            script.join(index)
        with pytest.raises(TrainingError, match="diverged; lower the learning rate"):
            train(script, mode=name, out=name)


def test_who_diverges_alone_is_let_go_in_every_mode(train):
    for name in MODES:
        script = obedient(2, steps=1)
        script.then[0] = lambda _, script=script: script.step(0, scale=1e9)
        trainer = train(script, mode=name, out=name, rounds=1)
        assert [entry.devices for entry in trainer.rounds] == [1]
        assert [(index, what) for index, _, what in script.refused] == [
            (0, "its loss is not finite, or its data exceeds 1e+06")
        ]


def test_bytes_are_told_apart_by_what_they_are_for(train):
    trainer = train(obedient(2), rounds=2)
    totals = trainer.ledger.totals["d0"]
    assert totals.target_bytes > 0
    assert totals.front_bytes_up > 0
    # The front comes once before the first round, and once after each.
    assert totals.front_bytes_down > totals.front_bytes_up
    assert totals.late == 0


def test_a_deadline_needs_a_mode_whose_steps_wait_for_all(train):
    with pytest.raises(SettingsError, match=r"step_deadline_s is 1, but in mode relay no step"):
        train(Script(), mode="relay", step_deadline_s=1.0)


def test_the_end_of_a_run_reaches_those_whose_turn_is_long_over(train):
    script = obedient(3, steps=1)
    train(script, devices=3, mode="relay", rounds=1)
    ends = [index for index, kind, _, told in script.answers if told == "stop"]
    assert sorted(ends) == [0, 1, 2]
    assert Left not in {type(event) for event in script.events.queue}

"""Joules of a radio whose cost is known come back within their intervals, or are not resolved."""

import numpy as np
import pytest

from harness.radiosim import FIGURES, SCENES, Radio, World, measured
from slfac.device.profiling.blockfit import fit_blocks
from slfac.device.profiling.radio import BlockKind, BlockPlan, Reconnecting, fit_radio, run_blocks
from slfac.device.profiling.radio.blocks import KINDS
from slfac.wire.errors import LinkError, SensorError, SettingsError

pytestmark = pytest.mark.device
SEEDS = 30


@pytest.mark.parametrize("scene", SCENES)
def test_intervals_hold_the_truth(scene):
    radio = SCENES[scene]
    inside = {name: [] for name in FIGURES}
    for seed in range(SEEDS):
        found, _, _ = measured(radio, seed)
        for name, truth in zip(FIGURES, radio.truth(), strict=True):
            figure = getattr(found, name).figure
            if figure is not None:
                inside[name].append(figure.low <= truth <= figure.high)
    for name, hits in inside.items():
        assert len(hits) >= 0.8 * SEEDS, name
        assert np.mean(hits) >= 0.9, name


def test_without_noise_the_figures_are_exact():
    radio = Radio(noise=0, slow_w=0, drift_w=0, block_spread=0, lsb_w=1e-9, tail_s=0, rate_hz=50)
    found, _, said = measured(radio)
    for name, truth in zip(FIGURES, radio.truth(), strict=True):
        figure = getattr(found, name).figure
        assert figure.value == pytest.approx(truth, rel=0.01)
    assert found.idle_w.value == pytest.approx(radio.idle_w, rel=1e-3)
    assert found.left_w < 2e-3
    for way in ("send", "receive"):
        (full,) = [kind for kind in found.kinds if kind.name.startswith(f"{way} 65536")]
        assert getattr(found, f"{way}_w").figure.value == pytest.approx(full.above_idle_w)
        assert full.fitted_w == pytest.approx(full.above_idle_w, rel=1e-3)
    assert len(said) == found.kept == 40
    assert said[0].startswith("block 1 of 40: ")


def test_a_drift_of_idle_power_falls_out():
    radio = Radio(noise=0, slow_w=0, drift_w=10, block_spread=0, lsb_w=1e-9, tail_s=0, rate_hz=50)
    found, _, _ = measured(radio)
    for name, truth in zip(FIGURES, radio.truth(), strict=True):
        assert getattr(found, name).figure.value == pytest.approx(truth, rel=0.03)


def test_what_costs_nothing_is_not_resolved():
    found, _, _ = measured(Radio(receive_j_per_mb=0, awake_w=0))
    assert found.receive_j_per_mb.figure is None
    assert "cannot be told from nothing, and is at most" in found.receive_j_per_mb.why
    found, _, _ = measured(Radio(send_j_per_mb=0, receive_j_per_mb=0, awake_w=0, j_per_frame=0))
    assert [getattr(found, name).figure for name in (*FIGURES, "send_w", "receive_w")] == [None] * 5


@pytest.mark.parametrize(
    ("kinds", "unresolved"),
    [
        ([kind for kind in KINDS if not kind.gap_s], {"j_per_frame"}),
        ([kind for kind in KINDS if kind.gap_s], {*FIGURES[:2], "send_w", "receive_w"}),
        (KINDS[:1], {"receive_j_per_mb", "j_per_frame", "receive_w"}),
        ([kind for kind in KINDS if kind.direction == "up"], {"receive_j_per_mb", "receive_w"}),
    ],
)
def test_a_plan_that_cannot_tell_leaves_figures_unresolved(kinds, unresolved):
    found, _, _ = measured(Radio(), plan=BlockPlan(kinds=tuple(kinds)))
    told = {name: getattr(found, name) for name in (*FIGURES, "send_w", "receive_w")}
    assert {name for name, one in told.items() if one.figure is None} == unresolved
    assert all(one.why for name, one in told.items() if name in unresolved)


def test_a_megabyte_holds_its_packets_where_they_cannot_be_told_apart():
    kinds = tuple(kind for kind in KINDS if not kind.gap_s)
    radio = Radio()
    found, _, _ = measured(radio, plan=BlockPlan(kinds=kinds))
    packets = radio.j_per_frame * 46 / 0.065616
    for name, truth in zip(FIGURES[:2], radio.truth(), strict=False):
        figure = getattr(found, name).figure
        assert figure.value == pytest.approx(truth + packets, rel=0.05)
        drawn_w = getattr(found, f"{name.split('_')[0]}_w").figure.value
        assert figure.value * radio.mb_s == pytest.approx(drawn_w, rel=0.03)


def test_a_link_that_breaks_now_and_then_leaves_blocks_out():
    plan = BlockPlan(seed=3)
    world = World(Radio(), np.random.default_rng(3), broken=(2, 11))
    runs = run_blocks(world, plan, clock=world.clock, wait=world.wait, say=[].append)
    found = fit_radio(runs, plan, world.recording())
    assert [out.number for out in found.left_out] == [2, 11]
    assert "the link broke (the connection broke)" in found.left_out[0].why
    assert found.kept == 38
    truth = Radio().truth()
    assert found.j_per_frame.figure.low <= truth[2] <= found.j_per_frame.figure.high


def test_a_link_that_breaks_again_and_again_ends_it():
    world = World(Radio(), np.random.default_rng(0), broken=tuple(range(3, 99)))
    with pytest.raises(LinkError, match="broke"):
        run_blocks(world, BlockPlan(), clock=world.clock, wait=world.wait, say=[].append)
    assert world.streams == 7


def test_a_sensor_that_fails_and_a_throttled_board_leave_blocks_out():
    _, runs, _ = measured(Radio())
    gap = (runs[4].begin_s + 1, runs[4].begin_s + 3)
    hot = (runs[20].begin_s + 2, runs[20].begin_s + 2.1)
    found, _, _ = measured(Radio(), gaps=[gap], throttled=[hot])
    assert {out.number: out.why.split(": ")[1] for out in found.left_out} == {
        5: "the sensor gave nothing for a while (the chip did not answer)",
        21: "the board was throttled",
    }


def test_idleness_counts_as_well():
    _, runs, _ = measured(Radio())
    between = (runs[7].end_s + 1.2, runs[7].end_s + 3.8)
    found, _, _ = measured(Radio(), gaps=[between])
    assert [out.number for out in found.left_out] == [8, 9]


def test_a_kind_of_which_too_few_are_left_does_not_count():
    plan = BlockPlan()
    _, runs, _ = measured(Radio())
    first = [number for number, run in enumerate(runs) if run.kind == 0]
    gaps = [(runs[number].begin_s + 1, runs[number].begin_s + 3) for number in first[:3]]
    found, _, _ = measured(Radio(), gaps=gaps)
    assert found.send_j_per_mb.figure is None
    assert "no block sends" in found.send_j_per_mb.why
    whys = [out.why for out in found.left_out]
    assert sum("only 2 of its kind" in why for why in whys) == 2
    assert len(whys) == plan.repetitions


def test_without_readings_there_is_no_cost():
    with pytest.raises(SensorError, match=r"none of 40 blocks can be used: .*gave nothing"):
        measured(Radio(), gaps=[(0, 1e9)])


@pytest.mark.parametrize(
    "changes",
    [{"repetitions": 4}, {"seed": -1}, {"block_s": 0}, {"idle_s": float("nan")}, {"settle_s": 601}],
)
def test_plans_out_of_range_are_refused(changes):
    (name,) = changes
    with pytest.raises(SettingsError, match=name):
        BlockPlan(**changes).check()


def test_the_order_is_random_and_each_repetition_whole():
    plan = BlockPlan(repetitions=6, seed=1)
    order = plan.order()
    passes = [order[i : i + 8] for i in range(0, 48, 8)]
    assert all(sorted(one) == list(range(8)) for one in passes)
    assert len({tuple(one) for one in passes}) == 6
    assert plan.order() == order
    assert BlockPlan(repetitions=6, seed=2).order() != order


def test_kinds_say_what_they_do():
    assert str(BlockKind("up", 64, 0.002)) == "send 64 bytes 500 times a second"
    assert str(BlockKind("down", 65536, 0)) == "receive 65536 bytes as fast as it can"


class _Link:
    """A link that breaks at its second stream."""

    def __init__(self, made):
        self.made, self.closed = made, False
        made.append(self)
        self.streams = 0

    def stream(self, *_, gap_s):
        self.streams += 1
        if self.streams == 2:
            raise LinkError("it broke")
        return gap_s

    def close(self):
        self.closed = True

    def __exit__(self, *_):
        self.close()


def test_a_broken_link_is_opened_again():
    made = []
    with Reconnecting(lambda: _Link(made)) as link:
        assert link.stream("up", 1, 1.0, gap_s=0.5) == 0.5
        with pytest.raises(LinkError):
            link.stream("up", 1, 1.0)
        assert made[0].closed
        assert link.stream("up", 1, 1.0) == 0.0
    assert [one.closed for one in made] == [True, True]


def test_intervals_of_blocks_hold_the_truth_where_noise_differs():
    hits = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        kinds = np.repeat(np.arange(6), 5)
        x = np.stack([np.ones(30), kinds + 0.1 * rng.standard_normal(30)], axis=1)
        noise = (0.1 + 0.1 * (kinds == 5)) * rng.standard_normal(30)
        fit = fit_blocks(x, x @ [1.0, 2.0] + noise, kinds, np.eye(2), seed=seed)
        hits.append(np.abs(fit.value - [1.0, 2.0]) <= fit.half)
    assert np.all(np.mean(hits, axis=0) >= 0.9)


def test_blocks_that_lie_on_a_line_tell_only_what_lies_on_it():
    x = np.stack([np.arange(1.0, 11), 2 * np.arange(1.0, 11)], axis=1)
    functions = np.array([[1.0, 0.0], [1.0, 2.0]])
    fit = fit_blocks(x, x @ [1.0, 1.0], np.zeros(10, int), functions)
    assert np.isnan(fit.value[0])
    assert np.isinf(fit.half[0])
    assert fit.value[1] == pytest.approx(3.0)
    assert fit.half[1] < 1e-9
    assert fit.condition > 1e6

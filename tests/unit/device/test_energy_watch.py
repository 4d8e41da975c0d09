"""What a device measures during its run: on the trees of boards, with this machine's clock."""

import errno
import itertools
import json
import threading
import time

import pytest

from harness.boards import orin_nano, pi4
from slfac.device.energy import sensor_settings
from slfac.device.energy.conditions import read_conditions
from slfac.device.energy.report import decode_report, write_report
from slfac.device.energy.reporting import make_report
from slfac.device.energy.watch import EnergyWatch
from slfac.device.energy.words import closing_lines, phase_rows, spent_words
from slfac.wire.errors import SensorError, SettingsError
from slfac.wire.messages import Energy

pytestmark = pytest.mark.device
WATTS = 5.104 * 1.016
ENDS = ("in1_input", "curr1_input")


def await_reads(board, count):
    """Wait until a sensor was read some more times."""
    wanted = len(board.reads) + 2 * count
    until_s = time.monotonic() + 20
    while len(board.reads) < wanted:
        assert time.monotonic() < until_s
        threading.Event().wait(0.005)


def watch(board, said, **settings):
    return EnergyWatch(sensor_settings(**settings), said.append, board.live)


def make_steps(measured, board, steps=3):
    """Steps of a forward and a backward phase each, while the sensor is read."""
    for _ in range(steps):
        begin_ns = time.monotonic_ns()
        await_reads(board, 4)
        middle_ns = time.monotonic_ns()
        await_reads(board, 2)
        end_ns = time.monotonic_ns()
        measured.meter.record("forward", begin_ns, middle_ns)
        measured.meter.record("backward", middle_ns, end_ns)
        measured.meter.record("step", begin_ns, end_ns)
        measured.step_made()


def test_rounds_and_the_total_are_measured_from_being_let_in(tmp_path):
    board, said = orin_nano(tmp_path), []
    measured = watch(board, said)
    assert measured.told() == ()
    measured.ask_in()
    await_reads(board, 5)
    measured.let_in()
    told = []
    for round_ in range(3):
        make_steps(measured, board)
        measured.round_made(round_)
        told += measured.told()
    energy = measured.finish()
    told += measured.told()
    assert said == ["measuring energy: sensor jetson, of the module"]
    assert len({one.meter for one in told}) == 1
    assert {one.scope for one in told} == {"module"}
    for before, after in itertools.pairwise(told):
        assert after.joules > before.joules
        assert after.covered_s > before.covered_s
    assert energy.total.joules == told[-1].joules
    assert energy.total.joules == pytest.approx(WATTS * energy.total.covered_s)
    assert energy.total.missing_s == 0
    assert energy.waiting.joules == pytest.approx(WATTS * energy.waiting.covered_s)
    assert [one.round for one in energy.rounds] == [0, 1, 2]
    rounds = sum(one.spent.joules for one in energy.rounds)
    assert rounds == pytest.approx(told[2].joules)
    assert (energy.steps, told[-1].steps) == (9, 9)
    by_name = {one.phase: one for one in told[-1].phases}
    assert {"forward", "backward", "step"} <= by_name.keys()
    assert by_name["step"].ms == pytest.approx(
        by_name["forward"].ms + by_name["backward"].ms, rel=1e-3
    )
    assert spent_words(energy.rounds[0].spent, "module").endswith("(5.19 W, module)")
    (head, *rows) = phase_rows(energy)
    assert {len(row) for row in (head, *rows)} == {5}
    (total, *more) = closing_lines(energy)
    assert total.startswith("total: ")
    assert "(5.19 W) of the module, by sensor jetson" in total
    assert any("of a core for" in line for line in more)
    measured.close()


def test_a_long_round_is_taken_in_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("slfac.device.energy.watch._CUT_EVERY_NS", 0)
    board = orin_nano(tmp_path)
    measured = watch(board, [])
    measured.ask_in()
    await_reads(board, 3)
    measured.let_in()
    make_steps(measured, board, steps=5)
    measured.round_made(0)
    energy = measured.finish()
    assert len(measured._recent._segments) >= 7
    assert energy.steps == 5
    assert len(energy.recent.timeline.steps) == 5
    (only,) = energy.rounds
    assert only.spent.joules == pytest.approx(WATTS * only.spent.covered_s)
    assert only.spent.missing_s == 0
    assert only.spent.covered_s == pytest.approx(
        sum(energy.recent.timeline.steps @ [-1.0, 1.0]), abs=0.2
    )


def test_a_sensor_that_vanishes_makes_rounds_unknown_and_harms_nothing(tmp_path):
    board, said = orin_nano(tmp_path), []
    measured = watch(board, said)
    measured.ask_in()
    measured.let_in()
    make_steps(measured, board)
    measured.round_made(0)
    known = measured.last_round()
    for end in ENDS:
        board.failing[end] = errno.EIO
    # Ten failures in a row, the tenth of which it takes to be lost; a second's rest each then.
    threading.Event().wait(0.6)
    measured.round_made(1)
    gone = measured.last_round()
    board.failing.clear()
    await_reads(board, 30)
    measured.round_made(2)
    energy = measured.finish()
    assert known.known == pytest.approx(WATTS * known.covered_s)
    assert gone.known is None
    assert gone.missing_s > 0.3
    assert spent_words(gone, "module").startswith("joules unknown (")
    assert "gives nothing any more" in said[1]
    assert "cannot be read: EIO" in said[1]
    assert "training goes on" in said[1]
    assert said[2] == "sensor jetson gives readings again"
    assert energy.failures >= 10
    assert not energy.lost
    assert energy.total.joules is not None
    assert energy.total.known is None
    (total, *_) = closing_lines(energy)
    assert total.startswith("total: at least ")


def test_without_a_sensor_times_are_measured_and_it_is_said_why(tmp_path):
    board, said = pi4(tmp_path), []
    measured = watch(board, said)
    measured.ask_in()
    measured.let_in()
    now_ns = time.monotonic_ns()
    measured.meter.record("forward", now_ns - 2_000_000, now_ns)
    measured.meter.record("step", now_ns - 2_000_000, now_ns)
    measured.round_made(0)
    assert measured.last_round() is None
    assert measured.told() == ()
    energy = measured.finish()
    (line,) = said
    assert line.startswith("times are measured, but no joules: no power sensor was found, and ")
    assert "`slfac profile sensors`" in line
    forward = next(one for one in energy.phases if one.phase == "forward")
    assert forward.ms == pytest.approx(2.0)
    assert forward.joules is None
    assert forward.unresolved == "no readings"
    assert list(closing_lines(energy)) == ["total: joules unknown, no sensor was read"]


def test_no_sensor_is_read_where_none_is_wanted(tmp_path):
    said = []
    measured = watch(orin_nano(tmp_path), said, sensor="none")
    assert measured.scope is None
    assert said == ["times are measured, but no joules: setting sensor is 'none'"]
    measured.close()


def test_a_named_sensor_that_cannot_be_read_is_an_error(tmp_path):
    board = orin_nano(tmp_path)
    with pytest.raises(SettingsError, match="there is no sensor 'rapl'"):
        watch(board, [], sensor="rapl")
    with pytest.raises(SensorError, match=r"nowhere\.txt"):
        watch(board, [], meter_file=tmp_path / "nowhere.txt")
    for end in ENDS:
        board.failing[end] = errno.EIO
    before = threading.active_count()
    with pytest.raises(SensorError, match="cannot be read: EIO"):
        watch(board, [], sensor="jetson")
    assert threading.active_count() == before


def test_the_report_can_be_read_again(tmp_path):
    board, said = orin_nano(tmp_path / "board"), []
    measured = watch(board, said)
    measured.ask_in()
    measured.let_in()
    make_steps(measured, board, steps=4)
    measured.round_made(0)
    energy = measured.finish()
    state = read_conditions(board.host)
    report = make_report(energy, run="r1", device="d0", bundle="b", before=state, after=state)
    path = tmp_path / "energy.json"
    write_report(report, path)
    read = decode_report(path.read_bytes(), str(path))
    assert read == report
    assert read.sensor.scope == "module"
    assert read.total.joules == energy.total.joules
    assert read.before.power_mode == "2 (MAXN_SUPER)"
    assert len(read.recently.readings.t_s) == len(read.recently.readings.watts) > 10
    assert len(read.recently.steps) == 4
    assert read.recently.spans.keys() >= {"forward", "backward"}
    assert set(read.recently.readings.watts) == {round(WATTS, 6)}
    # Seconds since it was let in.
    assert -1 < read.recently.begin_s <= 0 < read.recently.end_s < 20


def test_what_is_no_report_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="is no energy report of schema 1"):
        decode_report(b"{}", "x.json")
    with pytest.raises(SettingsError, match="is no energy report of schema 1"):
        decode_report(b"\xff", "x.json")
    with pytest.raises(SettingsError, match="bytes"):
        decode_report(b" " * (33 << 20), "x.json")
    energy = watch(pi4(tmp_path), []).finish()
    state = read_conditions(pi4(tmp_path / "other").host)
    report = make_report(energy, run="r", device="d", bundle="b", before=state, after=state)
    with pytest.raises(SettingsError, match=r"cannot write .*nowhere/x\.json"):
        write_report(report, tmp_path / "nowhere" / "x.json")
    write_report(report, tmp_path / "x.json")
    text = json.loads((tmp_path / "x.json").read_text())
    assert text["total"]["joules"] is None, "unknown, which is not 0"
    text["total"]["joules"] = -1.0
    with pytest.raises(SettingsError, match=r"total\.joules"):
        decode_report(json.dumps(text).encode(), "x.json")


def test_what_is_told_is_what_the_wire_takes(tmp_path):
    measured = watch(orin_nano(tmp_path), [])
    measured.ask_in()
    measured.let_in()
    (told,) = measured.told()
    assert isinstance(told, Energy)
    assert told.phases == ()
    measured.close()

"""Counters of joules: wraps undone, resets and gaps said, means between reads."""

import errno
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.boards import Board, pi4_ina228, server
from slfac.device.energy import find_sensors, sensor_settings
from slfac.device.energy.counter import Count
from slfac.wire.errors import SensorError

pytestmark = pytest.mark.device

RANGE_J = 262143.328850


def sensors(board, **settings):
    return find_sensors(board.host, sensor_settings(**settings)).sensors


def count_up(board, zone, joules):
    """Let a zone of RAPL use energy, and begin again where its range ends."""
    folder = board.root / f"sys/class/powercap/intel-rapl:{zone}"
    value = int((folder / "energy_uj").read_text()) + round(joules * 1e6)
    (folder / "energy_uj").write_text(f"{value % round(RANGE_J * 1e6)}\n")


def test_rapl_adds_up_its_sockets_and_not_their_parts(tmp_path):
    board = server(tmp_path)
    rapl, psys = sensors(board)
    assert (rapl.info.name, psys.info.name) == ("rapl", "rapl@psys")
    assert rapl.info.total == ("package-0", "package-1")
    assert rapl.info.rails == ("package-0", "package-0/core", "package-0/dram", "package-1")
    first = rapl.read()
    assert (first.power_w, first.energy_j) == (None, 0.0)
    for zone, joules in {"0": 30, "0:0": 20, "0:1": 5, "1": 10}.items():
        count_up(board, zone, joules)
    board.after(2.0)
    sample = rapl.read()
    assert sample.energy_j == pytest.approx(40)
    seconds = (sample.t1_ns - sample.t0_ns) / 1e9
    assert sample.t0_ns == first.t1_ns
    assert sample.power_w == pytest.approx(40 / seconds)
    assert sample.rails_w["package-0/core"] == pytest.approx(20 / seconds)
    assert psys.read().energy_j == 0.0


def test_rapl_goes_on_where_its_counters_begin_again(tmp_path):
    board = server(tmp_path)
    rapl, _ = sensors(board)
    rapl.read()
    total = 0.0
    for _ in range(60):  # 90 kJ at 60 s of 1.5 kW: the counters begin again in the first
        for zone in ("0", "1"):
            count_up(board, zone, 750.0)
        total += 1500.0
        board.after(1.0)
        sample = rapl.read()
        assert sample.energy_j == pytest.approx(total)
        assert sample.power_w == pytest.approx(1500, rel=0.01)


def test_a_gap_in_which_a_counter_may_have_begun_again_twice_is_said(tmp_path):
    board = server(tmp_path)
    rapl, _ = sensors(board)
    rapl.read()
    count_up(board, "0", 10)
    board.after(RANGE_J / 4000 + 1)
    with pytest.raises(SensorError, match="may have begun again more than once"):
        rapl.read()
    count_up(board, "0", 7)
    board.after(0.1)
    sample = rapl.read()
    assert sample.energy_j == pytest.approx(7)
    # What the gap used is not known, so no mean goes back across it.
    assert sample.power_w is None
    count_up(board, "0", 7)
    board.after(0.1)
    assert rapl.read().power_w == pytest.approx(70, rel=0.1)


def test_a_failed_read_loses_no_joules(tmp_path):
    board = server(tmp_path)
    rapl, _ = sensors(board)
    rapl.read()
    count_up(board, "1", 12)
    board.failing["intel-rapl:1/energy_uj"] = errno.EIO
    board.after(0.5)
    with pytest.raises(SensorError, match="cannot be read"):
        rapl.read()
    board.failing.clear()
    board.after(0.5)
    sample = rapl.read()
    assert sample.energy_j == pytest.approx(12)
    assert sample.power_w == pytest.approx(12, rel=0.05)


def test_rapl_that_only_root_may_read_says_so(tmp_path):
    board = server(tmp_path)
    board.failing["energy_uj"] = errno.EACCES
    probe = find_sensors(board.host, sensor_settings())
    assert not probe.sensors
    assert len(probe.passed) == 5
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj" in probe.passed[0].remedy


def test_rapl_without_one_of_its_sockets_is_no_smaller_whole(tmp_path):
    board = server(tmp_path)
    board.failing["intel-rapl:1/energy_uj"] = errno.EACCES
    assert [sensor.info.name for sensor in sensors(board)] == ["rapl@psys"]


@pytest.mark.parametrize("text", ["0", "-5", "x"])
def test_a_range_that_is_none_is_refused(text, tmp_path):
    board = server(tmp_path)
    board.write("sys/devices/virtual/powercap/intel-rapl/intel-rapl:2", max_energy_range_uj=text)
    assert [sensor.info.name for sensor in sensors(board)] == ["rapl"]


def energy_of(board):
    (file,) = (board.root / "sys/devices").rglob("energy1_input")
    return file


def test_an_ina228_counts_between_reads(tmp_path):
    board = pi4_ina228(tmp_path)
    (sensor,) = sensors(board)
    sensor.read()
    energy_of(board).write_text("84450000\n")
    board.after(1.0)
    sample = sensor.read()
    assert sample.energy_j == pytest.approx(3.2)
    assert sample.power_w == pytest.approx(3.2, rel=0.01)
    # Finer than power1_input, which says 3.2 W at the instant of the read alone.
    assert sensor.info.gives == "energy"


@pytest.mark.parametrize("microjoules", ["0", "81249999", "9000000000000000"])
def test_a_counter_that_is_set_back_or_jumps_is_said_and_goes_on(microjoules, tmp_path):
    board = pi4_ina228(tmp_path)
    (sensor,) = sensors(board)
    sensor.read()
    energy_of(board).write_text(f"{microjoules}\n")
    board.after(1.0)
    with pytest.raises(SensorError, match="was set back, or is broken"):
        sensor.read()
    energy_of(board).write_text(f"{int(microjoules) + 5_000_000}\n")
    board.after(1.0)
    sample = sensor.read()
    assert (sample.power_w, sample.energy_j) == (None, pytest.approx(5.0))


@given(
    start=st.integers(0, 2**32 - 1),
    gains=st.lists(st.integers(0, 2**31), max_size=50),
    bits=st.sampled_from([32, 40]),
)
def test_counts_are_exact_across_any_number_of_wraps(start, gains, bits):
    count = Count("c", 1.0, 2**bits, most_w=2.0**31)
    raw, t_ns = start, 0
    count.advance(raw, t_ns)
    for gain in gains:
        raw, t_ns = (raw + gain) % 2**bits, t_ns + 10**9
        count.advance(raw, t_ns)
    assert count.joules == sum(gains)


@given(values=st.lists(st.floats(0, 1e15), min_size=1, max_size=20))
def test_counts_never_go_down_nor_faster_than_a_board(values):
    count = Count("c", 1.0, None, most_w=1000.0)
    before = 0.0
    for second, value in enumerate(values):
        with suppress(SensorError):
            count.advance(value, second * 10**9)
        assert 0 <= count.joules - before <= 2000.0
        before = count.joules


def test_two_reads_at_one_instant_give_no_power(tmp_path):
    board = Board(tmp_path)
    board.hwmon("zenergy", "d", energy1_input=5)
    (sensor,) = sensors(board)
    sensor.read()
    board.now_ns -= 10**9  # a clock that is not what it promises
    assert sensor.read().power_w is None

"""Meters that write lines: files that grow, are cut and replaced, and serial ports."""

import os
import pty
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.boards import Board
from slfac.device.energy import find_sensors, open_sensor, sensor_settings
from slfac.device.energy.meter import columns_of
from slfac.wire.errors import SensorError

pytestmark = pytest.mark.device

# As the logger of a FNB58 writes.
HEADER = (
    "timestamp sample_in_packet voltage_V current_A dp_V dn_V temp_C_ema energy_Ws capacity_As\n"
)
LINE = "1700000000.01 0 5.00000 0.37400 0.6 0.6 31.2 0.019 0.004\n"


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path / "root")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(HEADER + LINE)
    return path


def append(path, text):
    with path.open("a") as handle:
        handle.write(text)


def test_a_read_is_the_mean_of_the_lines_since_the_last(board, file):
    start_ns = board.now_ns
    sensor = open_sensor(board.host, sensor_settings(meter_file=file, meter_hz=100))
    info = sensor.info
    assert (info.name, info.scope, info.gives, info.max_hz) == ("meter", "board", "power", 100)
    board.after(0.1)
    append(file, LINE + LINE.replace("0.37400", "0.60000"))
    sample = sensor.read()
    assert sample.power_w == pytest.approx((1.87 + 3.0) / 2)
    assert (sample.t0_ns, sample.t1_ns) == (start_ns, board.now_ns)
    board.after(0.1)
    append(file, LINE)
    again = sensor.read()
    assert again.power_w == pytest.approx(1.87)
    assert again.t0_ns == sample.t1_ns
    sensor.close()


def test_lines_that_were_there_before_are_not_taken(board, file):
    sensor = open_sensor(board.host, sensor_settings(meter_file=file))
    board.after(2)
    with pytest.raises(SensorError, match=r"has told nothing for 2\.00 s"):
        sensor.read()


def test_half_lines_wait_for_their_ends_or_are_left_out(board, file):
    append(file, "1700000000.02 0 9")
    sensor = open_sensor(board.host, sensor_settings(meter_file=file))
    append(file, ".5 99 0 0 0 0 0\n" + LINE + LINE[:25])
    assert sensor.read().power_w == pytest.approx(1.87)
    append(file, LINE[25:])
    assert sensor.read().power_w == pytest.approx(1.87)


@pytest.mark.parametrize(
    "junk", ["", "volts\n", "1 2\n", "nan " * 9 + "\n", "inf " * 9 + "\n", "\0\n"]
)
def test_lines_without_a_power_are_no_samples(junk, board, file):
    sensor = open_sensor(board.host, sensor_settings(meter_file=file))
    append(file, junk)
    with pytest.raises(SensorError, match="has told nothing"):
        sensor.read()
    append(file, junk + LINE)
    assert sensor.read().power_w == pytest.approx(1.87)


def test_an_absurd_power_is_an_error(board, file):
    sensor = open_sensor(board.host, sensor_settings(meter_file=file))
    append(file, LINE.replace("0.37400", "900"))
    with pytest.raises(SensorError, match="which no board draws"):
        sensor.read()


def test_a_file_that_is_begun_again_or_replaced_is_followed(board, file):
    sensor = open_sensor(board.host, sensor_settings(meter_file=file))
    file.write_text(HEADER)
    with pytest.raises(SensorError, match="has told nothing"):
        sensor.read()
    append(file, LINE)
    assert sensor.read().power_w == pytest.approx(1.87)
    other = file.with_name("new.csv")
    other.write_text(HEADER)
    other.rename(file)
    with pytest.raises(SensorError, match="has told nothing"):
        sensor.read()
    append(file, LINE)
    assert sensor.read().power_w == pytest.approx(1.87)
    file.unlink()
    with pytest.raises(SensorError, match="cannot be read: No such file"):
        sensor.read()
    file.write_text(HEADER)
    with pytest.raises(SensorError, match="has told nothing"):
        sensor.read()
    append(file, LINE)
    assert sensor.read().power_w == pytest.approx(1.87)


@pytest.mark.parametrize(
    ("header", "line", "columns"),
    [
        ("time_s,power_mw", "1,1870", None),
        ("POWER_UW;x", "1870000;5", None),
        ("a\tvoltage_mv\tcurrent_ma", "0\t5000\t374", None),
        ("1,1.87", "2,1.87", ("time_s", "power_w")),
    ],
)
def test_units_are_the_columns(header, line, columns, board, tmp_path):
    file = tmp_path / "m.csv"
    file.write_text(f"{header}\n")
    settings = sensor_settings(meter_file=file, meter_columns=columns, meter_scope="wall")
    sensor = open_sensor(board.host, settings)
    append(file, f"{line}\n")
    assert sensor.read().power_w == pytest.approx(1.87)
    assert sensor.info.scope == "wall"


@pytest.mark.parametrize("header", ["", "power", "voltage_v", "energy_j,time_s", "\0" * 9000])
def test_columns_that_tell_no_power_are_passed_over(header, board, tmp_path):
    file = tmp_path / "m.csv"
    file.write_text(f"{header}\n")
    (over,) = find_sensors(board.host, sensor_settings(meter_file=file)).passed
    assert "names no power, nor voltage and current" in over.why
    assert "--meter-columns" in over.remedy


@pytest.mark.parametrize(("name", "said"), [("nowhere", "No such file"), (".", "is no file")])
def test_what_is_no_file_is_passed_over(name, said, board, tmp_path):
    settings = sensor_settings(meter_file=tmp_path / name, meter_columns=("power_w",))
    with pytest.raises(SensorError, match=said):
        open_sensor(board.host, settings)


def test_a_pipe_that_nobody_fills_does_not_hang(board, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    settings = sensor_settings(meter_file=tmp_path / "pipe")
    with pytest.raises(SensorError, match="is no file"):
        open_sensor(board.host, settings)


@pytest.fixture
def port(tmp_path):
    """A serial port, as a link to a terminal, and the meter's end of it."""
    ours, theirs = pty.openpty()
    link = tmp_path / "ttyUSB0"
    link.symlink_to(os.ttyname(theirs))
    yield link, ours
    for handle in (ours, theirs):
        os.close(handle)


def test_a_serial_port_is_read_as_it_writes(board, port):
    link, meter = port
    columns = ("voltage_v", "current_ma")
    settings = sensor_settings(serial_port=link, serial_baud=9600, meter_columns=columns)
    sensor = open_sensor(board.host, settings)
    with pytest.raises(SensorError, match="has told nothing"):
        sensor.read()
    os.write(meter, b".0,374\r\n5.0,374\r\n5.")
    assert sensor.read().power_w == pytest.approx(1.87)
    os.write(meter, b"0,600\r\n")
    assert sensor.read().power_w == pytest.approx(3.0)
    sensor.close()


def test_lines_that_do_not_end_fill_no_memory(board, file):
    sensor = open_sensor(board.host, sensor_settings(meter_file=file))
    append(file, "1" * 3_000_000)
    tracemalloc.start()
    try:
        for _ in range(4):
            with pytest.raises(SensorError, match="has told nothing"):
                sensor.read()
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    append(file, "\n" + LINE)
    assert sensor.read().power_w == pytest.approx(1.87)


def test_a_port_must_be_one_and_its_columns_be_named(board, port, file):
    with pytest.raises(SensorError, match=r"what .* writes is not known"):
        open_sensor(board.host, sensor_settings(serial_port=port[0]))
    settings = sensor_settings(serial_port=file, meter_columns=("power_w",))
    with pytest.raises(SensorError, match="ioctl"):
        open_sensor(board.host, settings)


def test_a_port_that_is_unplugged_is_used_again_when_it_is_back(board, port):
    link, meter = port
    settings = sensor_settings(serial_port=link, meter_columns=("power_w",))
    sensor = open_sensor(board.host, settings)
    target = link.readlink()
    link.unlink()
    with pytest.raises(SensorError, match="No such file"):
        sensor.read()
    link.symlink_to(target)
    with pytest.raises(SensorError, match="has told nothing"):
        sensor.read()
    os.write(meter, b"\n4.5\n")
    assert sensor.read().power_w == 4.5


@given(names=st.lists(st.text(max_size=12), max_size=6), line=st.text(max_size=60))
def test_any_line_is_a_finite_power_or_none(names, line):
    columns = columns_of((*names, "power_w"))
    assert columns is not None
    watts = columns.watts(line)
    assert watts is None or abs(watts) < float("inf")

"""A short measurement of this machine, and of one with a made-up sensor, from end to end."""

import dataclasses
import errno
import importlib.util
import time

import numpy as np
import pytest

from harness.boards import pi4_ina226
from harness.offline import KEPT, KEPT_HEAD
from slfac.cli import main
from slfac.cli.profile_board import name_board
from slfac.cli.profile_values import profile_of
from slfac.device.energy.discover import open_sensor
from slfac.device.energy.host import pause
from slfac.device.energy.settings import sensor_settings
from slfac.device.profiling import run as course
from slfac.device.profiling.figures import counted, of_kind, phase_ms, watts
from slfac.device.profiling.kernels import kernels
from slfac.device.profiling.record import read_record
from slfac.device.profiling.run import Subject, run_profile
from slfac.device.profiling.settings import profile_settings
from slfac.hw_profiles import check_profile, load_profile, write_profile

pytestmark = pytest.mark.device

# What the INA226 of the tree says, whatever runs.
METER_W = 3.2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten samples of 1x8x8 and four classes."""
    path = tmp_path_factory.mktemp("data") / "d.npz"
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (10, 8, 8)).astype(np.uint8), np.arange(10) % 4
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return path


def test_a_machine_measures_itself(tmp_path, monkeypatch, capsys, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "board.toml").write_text("an older one")
    code = main(
        [
            *("profile", "run", "--sensor", "none", "--out", "board.toml", "--data", str(data)),
            *("--bundle", str(KEPT), "--bundle", str(KEPT_HEAD), "--codec", "none,slfac"),
            *("--batch-size", "4", "--idle-s", "0.1", "--warm-up", "1", "--least-s", "0.01"),
            *("--array-mib", "1"),
        ]
    )
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.err.count("NO SENSOR measures this board's power") == 1
    assert "codec slfac on cnn-8x8-head, some seconds left" in said.err
    assert check_profile(tmp_path / "board.toml") == []
    profile = load_profile(tmp_path / "board.toml")
    (mode,) = profile.modes
    assert [(front.model, front.cut) for front in mode.fronts] == [
        ("cnn (cnn-8x8)", "pool1"),
        ("cnn (cnn-8x8-head)", "pool1"),
    ]
    for front in mode.fronts:
        for figure in (front.forward_ms, front.backward_ms, front.update_ms, front.peak_mib):
            assert (figure.kind, figure.runs) == ("measured", 5)
            assert 0 <= figure.low <= figure.value <= figure.high
    assert [codec.spec.split(":")[0] for codec in mode.codecs] == ["none", "slfac"]
    assert all(compute.gflops.value > 0 for compute in mode.compute)
    assert profile.hardware.memcpy_gbs.value > 0
    assert (mode.idle_w, mode.active_w, mode.phases, profile.sensors) == (None, None, (), ())
    record = read_record(tmp_path / "board.json")
    (first, second) = of_kind(record, "front")
    assert all("load" in one.seconds for one in (*first.repetitions, *second.repetitions))
    assert record.fronts[0].smashed_shapes == ((4, 4, 4),)
    assert len(record.fronts[0].peak_bytes) == 5
    drawn = importlib.util.find_spec("matplotlib") is not None
    assert (tmp_path / "board.html").exists() == (tmp_path / "board.png").exists() == drawn
    assert ("report: board.html" if drawn else "pip install 'slfac[report]'") in said.out
    assert "note: no sensor: times only" in said.out


@pytest.fixture
def metered(tmp_path):
    """A tree with a meter, read in real time; and the sensor that is found there."""
    board = pi4_ina226(tmp_path / "tree")
    (board.root / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text("0\n")
    board.host = dataclasses.replace(board.host, clock=time.monotonic_ns, wait=pause)
    return board, open_sensor(board.host, sensor_settings())


def measure(board, sensor, say=lambda _: None, **changes):
    short = {"idle_s": 1.5, "gap_s": 0.5, "warm_up": 1, "least_s": 0.3, "array_mib": 1, **changes}
    settings = profile_settings(bundles=[KEPT], codecs=["fp16"], batch_size=16, **short)
    subject = Subject(name_board(board.host), "slfac profile run")
    return run_profile(settings, host=board.host, sensor=sensor, subject=subject, say=say)


@pytest.fixture
def few_kernels(monkeypatch):
    monkeypatch.setattr(course, "kernels", lambda size: kernels(size)[:1])


@pytest.mark.usefixtures("few_kernels")
def test_with_a_sensor_a_profile_holds_watts_and_joules(metered, tmp_path):
    board, sensor = metered
    record = measure(board, sensor)
    (front,) = of_kind(record, "front")
    step = front.step.joules_per_step
    assert step.value == pytest.approx(METER_W * front.step.seconds_per_step, rel=1e-3)
    assert step.low <= step.value <= step.high
    assert {one.throttled for one in front.repetitions} == {False}
    write_profile(profile_of(record, board.host), tmp_path / "board.toml")
    profile = load_profile(tmp_path / "board.toml")
    assert profile.board.name == "pi-4b"
    (mode,) = profile.modes
    for power in (mode.idle_w, mode.compute[0].power_w):
        assert (power.value, power.scope, power.kind) == (METER_W, "board", "measured")
        assert power.source.startswith("slfac profile run: sensor ina2xx@1-0040, ")
    (described,) = profile.sensors
    assert (described.driver, described.scope) == ("ina2xx", "board")
    assert profile.provenance.throttled is False
    assert len(record.readings.t_s) > 50


@pytest.mark.usefixtures("few_kernels")
def test_a_sensor_that_vanishes_leaves_what_was_known_and_the_run_goes_on(metered):
    board, sensor = metered
    lines = []

    def say(line):
        lines.append(line)
        if "front cnn-8x8" in line and line.startswith("["):
            board.failing["_input"] = errno.ENODEV

    record = measure(board, sensor, say)
    assert len([line for line in lines if line.startswith("THE SENSOR IS LOST: ")]) == 1
    before, after = of_kind(record, "idle")
    assert watts(before).value == pytest.approx(METER_W)
    assert watts(after) is None
    (front,), (codec,) = of_kind(record, "front"), of_kind(record, "codec")
    assert len(counted(front)) == len(counted(codec)) == 5
    assert phase_ms(front, "forward") is not None
    assert codec.step.joules_per_step is None
    assert "the sensor gave nothing from second" in " ".join(record.notes)
    (mode,) = profile_of(record, board.host).modes
    assert mode.idle_w.value == pytest.approx(METER_W)
    assert mode.idle_w.runs == 5
    assert mode.fronts[0].forward_ms is not None


@pytest.mark.usefixtures("few_kernels")
def test_a_benchmark_whose_process_dies_is_unknown_and_the_run_goes_on(metered, monkeypatch):
    from slfac.device.profiling import kernels as products
    from slfac.wire.errors import RunError

    def die(*_, **__):
        raise RunError("its process was killed")

    monkeypatch.setattr(products, "run_worker", die)
    board, sensor = metered
    lines = []
    record = measure(board, sensor, lines.append, idle_s=0.0, least_s=0.05)
    assert "matrix product fp32, 1 thread was not measured: its process was killed" in lines
    (mode,) = profile_of(record, board.host).modes
    assert mode.compute[0].gflops is None
    assert mode.fronts[0].forward_ms is not None

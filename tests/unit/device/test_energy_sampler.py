"""The sampler: dithered readings, failures that it survives, bounds, and what it costs."""

import threading

import numpy as np
import pytest

from harness.boards import laptop, orin_nano, pi4
from slfac.device.energy.base import PowerSensor, Sample, SensorInfo
from slfac.device.energy.rhythm import Rhythm
from slfac.device.energy.sampler import Sampler
from slfac.device.energy.throttle import ThrottleWatch
from slfac.wire.errors import SensorError, SettingsError

pytestmark = pytest.mark.device

INFO = SensorInfo("scripted", "scripted", "board", "power", ("all",), ("all",), "a test")


class Scripted(PowerSensor):
    """Says what it is told, one entry a read, on a clock that each read moves on.

    Args:
        script: Watts, None for a read without power, or what is raised.
        info: What it is.
        read_s: How long a read takes.
    """

    def __init__(self, script, info=INFO, read_s=0.01):
        super().__init__(info)
        self._script = iter(script)
        self._read_ns = round(read_s * 1e9)
        self.now_ns = 1_000_000_000
        self.done = threading.Event()
        self.reads = 0

    def clock(self):
        return self.now_ns

    def read(self):
        entry = next(self._script, "end")
        if entry == "end":
            self.done.set()
            # Nothing new: the same instant again.
            return Sample(t0_ns=self.now_ns - self._read_ns, t1_ns=self.now_ns, power_w=99.0)
        self.reads += 1
        begin_ns = self.now_ns
        self.now_ns += self._read_ns
        if isinstance(entry, Exception):
            raise entry
        return Sample(t0_ns=begin_ns, t1_ns=self.now_ns, power_w=entry)


def record(sensor, **settings):
    """Everything that a sampler sees until the script ends."""
    with Sampler(sensor, clock=sensor.clock, **{"hz": 1000.0, **settings}) as sampler:
        assert sensor.done.wait(30)
    return sampler.take()


def test_readings_become_a_trace():
    recording = record(Scripted([3.0, None, 5.0]))
    assert recording.trace.watts.tolist() == [3.0, 5.0]
    assert recording.trace.t_s == pytest.approx([1.01, 1.03])
    assert recording.trace.window_s == pytest.approx([0.01, 0.01])
    assert not recording.trace.counted
    assert (recording.failures, recording.dropped, recording.lost_s) == (0, 0, None)
    assert recording.throttled is None


def test_windows_of_a_counter_hold_all_energy():
    info = SensorInfo("counter", "counter", "soc", "energy", ("all",), ("all",), "a test")
    assert record(Scripted([3.0], info)).trace.counted


def test_failures_are_counted_and_survived():
    broken = [SensorError("EIO"), OSError(5, "Input/output error"), ValueError("odd")]
    recording = record(Scripted([1.0, *broken, 2.0]))
    assert recording.trace.watts.tolist() == [1.0, 2.0]
    assert recording.failures == 3
    assert recording.error == "odd"
    assert recording.lost_s is None


def test_a_sensor_that_vanishes_is_unknown_from_then_on():
    sensor = Scripted([1.0, 2.0, *[SensorError("gone")] * 10])
    with Sampler(sensor, clock=sensor.clock, hz=1000.0) as sampler:
        while sensor.reads < 12:
            threading.Event().wait(0.001)
    recording = sampler.take()
    assert recording.trace.watts.tolist() == [1.0, 2.0]
    assert recording.lost_s == pytest.approx(1.02)
    assert recording.error == "gone"


def test_what_has_no_room_is_counted_and_the_next_buffer_is_empty():
    sensor = Scripted([1.0, 2.0, 3.0, 4.0])
    with Sampler(sensor, clock=sensor.clock, hz=1000.0, capacity=3) as sampler:
        assert sensor.done.wait(30)
        first, second = sampler.take(), sampler.take()
    assert first.trace.watts.tolist() == [1.0, 2.0, 3.0]
    assert first.dropped == 1
    assert len(second.trace) == second.dropped == 0


def test_the_cost_is_measured():
    cost = record(Scripted([1.0] * 5, read_s=0.02)).cost
    assert cost.reads >= 6
    assert cost.reading_s == pytest.approx(0.1)
    assert cost.running_s == pytest.approx(0.1)
    assert 0 < cost.cpu_s < 1


def test_intervals_are_dithered_around_the_period():
    rhythm, now_ns, waits = Rhythm(0, seed=3), 0, []
    for _ in range(2000):
        waits.append(rhythm.wait_s(now_ns, 0.1))
        now_ns += round(waits[-1] * 1e9)
    assert np.mean(waits) == pytest.approx(0.1, rel=0.01)
    assert 0.07 <= min(waits) < 0.072
    assert 0.128 < max(waits) <= 0.13


def test_instants_that_were_missed_are_not_made_up_for():
    rhythm = Rhythm(0, seed=3)
    assert rhythm.wait_s(10_000_000_000, 0.1) <= 0.03
    assert rhythm.wait_s(10_000_000_000, 0.1) >= 0.05


def test_the_time_that_reading_takes_is_part_of_the_interval():
    rhythm, now_ns, instants = Rhythm(0, seed=3), 0, []
    for _ in range(500):
        instants.append(now_ns)
        now_ns += 40_000_000
        now_ns += round(rhythm.wait_s(now_ns, 0.1) * 1e9)
    assert np.mean(np.diff(instants)) * 1e-9 == pytest.approx(0.1, rel=0.02)


def test_failures_with_readings_in_between_are_no_loss():
    nine = [SensorError("busy")] * 9
    recording = record(Scripted([1.0, *nine, 2.0, *nine, 3.0, *nine, 4.0]))
    assert recording.trace.watts.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert recording.failures == 27
    assert recording.lost_s is None


def test_throttled_time_is_marked():
    answers = iter([False, True, True, None, False, True])
    sensor = Scripted([1.0] * 7, read_s=1.0)
    recording = record(sensor, throttled=lambda: next(answers, False))
    assert recording.throttled.tolist() == pytest.approx(np.array([[2.0, 4.0], [6.0, 7.0]]))


def test_the_rate_is_the_sensors_unless_it_is_given():
    slow = SensorInfo("slow", "slow", "board", "power", (), (), "a test", max_hz=0.5)
    with pytest.raises(SettingsError, match="hz is 0"):
        Sampler(Scripted([], slow), hz=0.0)
    with pytest.raises(SettingsError, match="hz is 1e"):
        Sampler(Scripted([], slow), hz=1e6)
    sensor = Scripted([1.0, 2.0], slow)
    with Sampler(sensor, clock=sensor.clock) as sampler:
        while sensor.reads < 1:
            threading.Event().wait(0.001)
    # One read, and then a wait of two seconds, which stopping ends.
    assert len(sampler.take().trace) == 1


def test_a_raspberry_pi_tells_of_throttling_now_and_in_between(tmp_path):
    board = pi4(tmp_path)
    watch = ThrottleWatch(board.host)
    assert watch() is True  # 0x50005
    told = []
    for bits in ("50000", "50000", "70000", "70000", "70002", "70000"):
        board.write("sys/devices/platform/soc/soc:firmware", get_throttled=bits)
        told.append(watch())
    # 0x70000: it happened since, for the first time since boot, and is over.
    assert told == [False, False, True, False, True, False]


def test_a_jetson_tells_of_over_current_events(tmp_path):
    board = orin_nano(tmp_path)
    watch = ThrottleWatch(board.host)
    assert watch() is False
    (chip,) = (
        p for p in (tmp_path / "sys/class/hwmon").iterdir() if (p / "oc1_event_cnt").exists()
    )
    (chip / "oc2_event_cnt").write_text("3\n")
    assert [watch(), watch()] == [True, False]


def test_other_boards_do_not_tell(tmp_path):
    assert ThrottleWatch(laptop(tmp_path).host)() is None

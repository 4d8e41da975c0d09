"""What a stamp costs a training step: well under a thousandth of one."""

import pytest

from slfac.device.energy.phasemeter import PhaseMeter
from slfac.device.energy.phases import PHASES
from slfac.device.stopwatch import Stopwatch

pytestmark = pytest.mark.device


def test_a_phase_is_stamped_in_microseconds(benchmark):
    meter = PhaseMeter(capacity=1 << 22)
    forward = meter.phase("forward")

    def work():
        with forward:
            pass

    benchmark(work)
    assert meter.take().dropped == 0
    if benchmark.enabled:
        # Two stamps; the fastest of many, for other processes only add to it.
        assert benchmark.stats.stats.min < 10e-6


@pytest.mark.parametrize("measured", [False, True], ids=["off", "on"])
def test_a_step_of_eight_phases_is_timed_in_a_fraction_of_a_millisecond(benchmark, measured):
    meter = PhaseMeter(capacity=1 << 22) if measured else None

    def work():
        watch = Stopwatch(meter)
        for name in PHASES[:-1]:
            with watch.phase(name):
                pass
        watch.timings()

    benchmark(work)
    if benchmark.enabled:
        assert benchmark.stats.stats.min < 200e-6

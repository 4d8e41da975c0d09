"""What a stamp costs a training step: well under a thousandth of one."""

import pytest

from slfac.device.energy.phasemeter import PhaseMeter

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

"""What the kernel is asked to do for a link."""

import pytest

from slfac.testbed.emulate.kernel import queue_of
from slfac.testbed.emulate.plan import PlannedLink


def link(**values):
    plain = {"delay_s": 0.0, "jitter_s": 0.0, "loss": 0.0, "queue_s": 0.1}
    return PlannedLink(
        **{"device": "a", "up_bit_per_s": None, "down_bit_per_s": None, **plain, **values}
    )


@pytest.mark.parametrize(
    ("values", "rate", "expected"),
    [
        ({}, None, ""),
        ({}, 2e7, "tbf rate 20000000bit burst 3028 latency 100000us"),
        ({"queue_s": 0.05}, 1e9, "tbf rate 1000000000bit burst 125000 latency 50000us"),
        ({"delay_s": 0.02}, None, "netem limit 10000 delay 20000us"),
        ({"delay_s": 0.02}, 2e7, "netem limit 198 delay 20000us rate 20000000bit"),
        (
            {"delay_s": 0.02, "jitter_s": 0.005, "loss": 0.01},
            5e6,
            "netem limit 52 delay 20000us 5000us loss 1.000000% rate 5000000bit",
        ),
        ({"loss": 1.0}, 1e3, "netem limit 20 loss 100.000000% rate 1000bit"),
    ],
)
def test_a_link_becomes_a_queue(values, rate, expected):
    assert " ".join(queue_of(link(**values), rate)) == expected

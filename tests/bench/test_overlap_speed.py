"""Computing and sending overlap: a step in parts takes no longer than its busiest stage allows."""

import pytest

from slfac.testbed.bench.overlap import OverlapSettings, measure_overlap


@pytest.mark.benchmark(group="overlap")
@pytest.mark.parametrize("link", ["2Mbit", "5Mbit"])
def test_a_step_in_four_parts_meets_the_formula(link, benchmark, tmp_path):
    settings = OverlapSettings(links=(link,), parts=(4,), blocks=(), steps=12)
    found = benchmark.pedantic(
        lambda: list(measure_overlap(settings, tmp_path)), rounds=1, iterations=1
    )
    whole, parts = found
    benchmark.extra_info["step_ms"] = [whole.step_ms, parts.step_ms]
    assert parts.gain > 1
    # How near it comes to the formula is for a machine that does nothing else.
    if benchmark.enabled:
        assert parts.ratio <= 1.1
        assert parts.gain >= 1.3

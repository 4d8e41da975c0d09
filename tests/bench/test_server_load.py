"""What the trainer's thread does besides its codecs and its back half, under up to 64 devices."""

import sys

import pytest

from harness.load import CLIENTS, MODEL, make_bundle, measure, steps_for, table
from slfac.wire.bundle import open_bundle

pytestmark = pytest.mark.timeout(1800)

MOST_OVERHEAD = 0.10
MOST_BYTES = 100_000
# The allocator keeps some of what the first steps took.
MOST_GROWTH_MB = 16.0


def test_the_parts_make_up_the_whole(tmp_path, cnn_bundle):
    bundle = open_bundle(cnn_bundle)
    load = measure(tmp_path, bundle, clients=3, steps_per_round=5, rounds=3, seed=0)
    parts = load.waiting_ms, load.codec_ms, load.back_ms, load.rest_ms
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(load.group_ms, abs=0.05)
    busy_ms = load.group_ms - load.waiting_ms
    assert load.overhead == pytest.approx(load.rest_ms / busy_ms, rel=0.05)
    assert (load.clients, load.groups) == (3, 10)
    assert 0 < load.bytes_up < MOST_BYTES
    assert load.rss_last_mb - load.rss_first_mb < MOST_GROWTH_MB


def sweep(folder, counts, steps, bundle):
    """One run for each number of devices."""
    loads = []
    for clients in counts:
        own = folder / str(clients)
        own.mkdir()
        loads.append(
            measure(own, bundle, clients=clients, steps_per_round=steps(clients), rounds=3, seed=0)
        )
    return loads


@pytest.mark.benchmark(group="server")
def test_the_trainer_is_busy_with_its_back_half(tmp_path, cnn_bundle, benchmark, capsys):
    counts, steps, bundle = (2,), lambda _clients: 2, open_bundle(cnn_bundle)
    if benchmark.enabled:
        # A back half that takes some 30 ms a device.
        counts, steps, bundle = CLIENTS, steps_for, make_bundle(tmp_path, MODEL)
    loads = benchmark.pedantic(sweep, (tmp_path, counts, steps, bundle), rounds=1)
    assert [load.clients for load in loads] == [*counts]
    for load in loads:
        assert max(load.bytes_up, load.bytes_down) < MOST_BYTES
        assert load.rss_last_mb - load.rss_first_mb < MOST_GROWTH_MB
    if benchmark.enabled:
        with capsys.disabled():
            sys.stdout.write(f"\n{table(loads)}\n")
        assert max(load.overhead for load in loads) <= MOST_OVERHEAD

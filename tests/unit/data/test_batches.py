import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.data import BatchStream
from slfac.wire.errors import DataError, SettingsError

pytestmark = pytest.mark.device

GOLDEN = [[4, 2, 10, 8, 6, 7, 5, 0, 1, 3, 9, 11], [8, 1, 5, 6, 3, 7, 0, 11, 4, 10, 9, 2]]


@given(
    n=st.integers(2, 60),
    batch_size=st.integers(1, 70),
    seed=st.integers(0, 2**64),
    device=st.integers(0, 1000),
)
def test_an_epoch_visits_every_sample_but_a_lone_last_one(n, batch_size, seed, device):
    stream = BatchStream(n, batch_size, seed, device)
    for epoch in range(2):
        assert stream.epoch == epoch
        batches = [stream.next() for _ in range(stream.batches_per_epoch)]
        seen = np.concatenate(batches)
        lone = batch_size > 1 and n % batch_size == 1
        assert len(np.unique(seen)) == len(seen) == n - lone
        assert all(len(batch) == batch_size for batch in batches[:-1])
        assert len(batches[-1]) >= min(2, batch_size)


@given(n=st.integers(2, 40), batch_size=st.integers(1, 40), steps=st.integers(0, 50))
def test_a_restored_stream_goes_on_as_the_first(n, batch_size, steps):
    first, second = (BatchStream(n, batch_size, 3, 1) for _ in range(2))
    for _ in range(steps):
        first.next()
    second.restore(json.loads(json.dumps(first.state())))
    assert (second.epoch, second.position) == (first.epoch, first.position)
    for _ in range(5):
        np.testing.assert_array_equal(first.next(), second.next())


def test_order_depends_on_seed_device_and_epoch():
    orders = []
    for seed, device in [(0, 0), (1, 0), (0, 1)]:
        stream = BatchStream(100, 100, seed, device)
        orders += [stream.next().tolist(), stream.next().tolist()]
    assert len({tuple(order) for order in orders}) == 6


def test_same_on_every_numpy_release():
    stream = BatchStream(12, 12, 5, 2)
    assert stream.next().tolist() == GOLDEN[0]
    assert stream.next().tolist() == GOLDEN[1]


@pytest.mark.parametrize(("n", "batch_size"), [(0, 4), (1, 4), (0, 1)])
def test_too_few_samples(n, batch_size):
    with pytest.raises(DataError, match=f"{n} samples make no batch of {batch_size}"):
        BatchStream(n, batch_size, 0, 0)


@pytest.mark.parametrize("arguments", [(9, 0, 0, 0), (9, 2, -1, 0), (9, 2, 0, -1)])
def test_settings_out_of_range(arguments):
    with pytest.raises(SettingsError):
        BatchStream(*arguments)


@pytest.mark.parametrize(
    "state",
    [{}, {"epoch": 0}, {"epoch": -1, "position": 0}, {"epoch": 0, "position": 3}],
)
def test_state_of_another_stream_is_refused(state):
    with pytest.raises(DataError, match="does not fit 3 batches"):
        BatchStream(9, 3, 0, 0).restore(state)

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slfac.server.fronts import average_fronts

COUNTS = st.lists(st.integers(1, 10**6), min_size=1, max_size=5)
FINITE = st.floats(-(2.0**60), 2.0**60, width=32)


def states(draw, count):
    shape = draw(st.sampled_from([(), (3,), (2, 3), (0,)]))
    return [
        {
            "w": draw(arrays(np.float32, shape, elements=FINITE)),
            "count": np.array(draw(st.integers(0, 2**62)), np.int64),
        }
        for _ in range(count)
    ]


@given(st.data(), COUNTS)
def test_the_mean_is_weighted_by_samples_and_counters_take_the_largest(data, samples):
    fronts = states(data.draw, len(samples))
    mean = average_fronts(fronts, samples)
    expected = np.average(
        [front["w"].astype(np.float64) for front in fronts], axis=0, weights=samples
    )
    scale = max(float(np.abs(front["w"]).max(initial=0)) for front in fronts)
    assert mean["w"].shape == fronts[0]["w"].shape
    assert mean["w"].dtype == np.float32
    assert np.allclose(mean["w"], expected, rtol=1e-6, atol=1e-6 * scale + 1e-44)
    assert mean["count"] == max(int(front["count"]) for front in fronts)
    assert mean["count"].dtype == np.int64


@given(st.data(), COUNTS)
def test_the_same_order_gives_the_same_bits_and_inputs_stay_as_they_are(data, samples):
    fronts = states(data.draw, len(samples))
    before = [{k: v.copy() for k, v in front.items()} for front in fronts]
    first = average_fronts(fronts, samples)
    second = average_fronts(before, samples)
    assert {k: v.tobytes() for k, v in first.items()} == {k: v.tobytes() for k, v in second.items()}
    for front, copy in zip(fronts, before, strict=True):
        assert all(np.array_equal(front[name], copy[name]) for name in front)


@given(st.data(), st.integers(1, 10**9))
def test_one_front_comes_back_bit_for_bit(data, samples):
    (front,) = states(data.draw, 1)
    assert average_fronts([front], [samples])["w"].tobytes() == (front["w"] + 0.0).tobytes()


def test_running_statistics_are_averaged_as_parameters_are():
    fronts = [
        {"bn.running_var": np.full(3, 1.0, np.float32)},
        {"bn.running_var": np.full(3, 4.0, np.float32)},
    ]
    assert np.array_equal(average_fronts(fronts, [2, 1])["bn.running_var"], np.full(3, 2.0))


def test_a_counter_stays_an_array():
    fronts = [{"bn.num_batches_tracked": np.array(count)} for count in (3, 5)]
    averaged = average_fronts(fronts, [1, 1])["bn.num_batches_tracked"]
    assert isinstance(averaged, np.ndarray)
    assert (averaged.shape, averaged.dtype, int(averaged)) == ((), np.dtype(np.int64), 5)

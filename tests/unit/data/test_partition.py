import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.data import partition
from slfac.wire.errors import DataError, SettingsError

pytestmark = pytest.mark.device


GOLDEN_IID = [4, 28, 7, 1, 8]
GOLDEN_DIRICHLET = [8, 12, 36, 20, 0, 24, 37, 9, 29, 1, 33]


def parts_of(labels, count, scheme="dirichlet", *, beta=0.5, seed=0, min_samples=1):
    return [
        partition(
            labels,
            scheme=scheme,
            index=index,
            count=count,
            beta=beta,
            seed=seed,
            min_samples=min_samples,
        )
        for index in range(count)
    ]


@given(
    labels=st.lists(st.integers(0, 9), min_size=20, max_size=200).map(np.array),
    count=st.integers(1, 5),
    scheme=st.sampled_from(["iid", "dirichlet"]),
    options=st.fixed_dictionaries(
        {
            "beta": st.floats(0.3, 100),
            "seed": st.integers(0, 2**64),
            "min_samples": st.integers(0, 2),
        }
    ),
)
def test_parts_are_disjoint_cover_all_and_repeat(labels, count, scheme, options):
    try:
        parts = parts_of(labels, count, scheme, **options)
    except DataError:
        # Few samples of many classes may fit no draw; then every device has to find so.
        assert scheme == "dirichlet"
        assert len(labels) < 100
        for index in range(count):
            with pytest.raises(DataError, match="gave each of"):
                partition(labels, scheme=scheme, index=index, count=count, **options)
        return
    again = parts_of(labels, count, scheme, **options)
    for part, other in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part, other)
        assert part.dtype == np.int64
        assert len(part) >= max(options["min_samples"], 1)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))


@given(n=st.integers(5, 200), count=st.integers(1, 5))
def test_iid_parts_differ_by_at_most_one(n, count):
    sizes = [len(part) for part in parts_of(np.zeros(n, int), count, "iid")]
    assert max(sizes) - min(sizes) <= 1


def test_own_is_everything_whatever_the_rest():
    part = partition(
        np.zeros(7, int), scheme="own", index=2, count=3, beta=0.5, seed=0, min_samples=9
    )
    assert part.tolist() == list(range(7))


def test_seeds_differ_and_order_is_mixed():
    labels = np.repeat(np.arange(10), 100)
    first, second = (parts_of(labels, 5, "iid", seed=seed)[0] for seed in (0, 1))
    assert len(np.intersect1d(first, second)) < 100
    assert not (np.diff(first) > 0).all()


def test_small_beta_skews_and_large_beta_does_not():
    labels = np.repeat(np.arange(10), 500)

    def skew(beta):
        shares = [np.bincount(labels[part], minlength=10) / len(part)
                  for part in parts_of(labels, 5, beta=beta, min_samples=10)]  # fmt: skip
        return float(np.mean([share.max() for share in shares]))

    assert skew(0.1) > 0.4
    assert 0.1 <= skew(1000.0) < 0.2


def test_dirichlet_shares_have_the_right_mean_and_variance():
    labels = np.repeat(np.arange(200), 1000)
    beta, count = 0.5, 4
    part = parts_of(labels, count, beta=beta)[1]
    shares = np.bincount(labels[part], minlength=200) / 1000
    assert abs(shares.mean() - 1 / count) < 0.06
    variance = (1 / count) * (1 - 1 / count) / (count * beta + 1)
    assert 0.6 < shares.var() / variance < 1.4


def test_min_samples_is_reached_by_drawing_again():
    labels = np.repeat(np.arange(10), 40)
    sizes = [len(part) for part in parts_of(labels, 5, beta=0.1, min_samples=40)]
    assert min(sizes) >= 40
    fewest = min(len(p) for s in range(20) for p in parts_of(labels, 5, beta=0.1, seed=s))
    assert fewest < 40


def test_same_on_every_numpy_release():
    labels = np.arange(40) % 4
    iid = parts_of(labels, 8, "iid", seed=7)[3]
    skewed = parts_of(labels, 8, beta=0.5, seed=7)[3]
    assert iid.tolist() == GOLDEN_IID
    assert skewed.tolist() == GOLDEN_DIRICHLET


def test_impossible_demands_end_in_an_error():
    with pytest.raises(DataError, match="10 samples are too few for 3 devices of at least 4"):
        parts_of(np.zeros(10, int), 3, "iid", min_samples=4)
    with pytest.raises(DataError, match=r"no Dirichlet\(0.001\) split in 1000 draws"):
        parts_of(np.zeros(100, int), 5, beta=0.001, min_samples=20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scheme": "random"},
        {"index": 3},
        {"index": -1},
        {"count": 0},
        {"seed": -1},
        {"beta": 0.0},
        {"beta": float("nan")},
        {"beta": 1e308},
    ],
)
def test_settings_out_of_range(wrong):
    good = {"scheme": "dirichlet", "index": 0, "count": 3, "beta": 0.5, "seed": 0}
    with pytest.raises(SettingsError) as caught:
        partition(np.zeros(30, int), **{**good, **wrong}, min_samples=1)
    assert str(next(iter(wrong.values()))) in caught.value.what

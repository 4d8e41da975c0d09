"""SL-FAC's ablations: what magnitude and std choose, what it costs, and what comes back."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.codec import CodecError, decode, make_codec
from slfac.codec.container import Header, read_header, write_header
from slfac.codec.maps.dct import forward
from slfac.codec.maps.layout import choose_layout
from slfac.codec.rivals.arrangement import chosen_first, in_scan_order
from slfac.codec.rivals.chosen import read_body
from slfac.codec.rivals.magnitude import choose_largest
from slfac.codec.rivals.membership import read_membership, write_membership
from slfac.codec.rivals.std import choose_varying
from slfac.codec.sections import SectionReader
from slfac.codec.slfac.afd import split_maps
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

NAMES = ["magnitude", "std"]
SHAPES = [
    (4, 3, 8, 8),
    (3, 5, 7, 7),
    (2, 3, 28, 28),
    (1, 3, 5, 17),
    (2, 6, 1, 1),
    (3, 4, 50),
    (3, 6, 1),
    (6, 40),
    (1, 1),
]


def relu_maps(shape, seed=0):
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.standard_normal(shape), axis=-1) * 0.3 + 0.5
    x[rng.random(shape[:2]) < 0.2] = 0
    x.reshape(-1)[0] = 1
    return np.maximum(x, 0).astype(np.float32)


def gradients(shape, seed=0):
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-9, -5, (shape[0], *[1] * (len(shape) - 1)))
    return (rng.standard_normal(shape) * size).astype(np.float32)


def body_of(payload, name):
    header, data = read_header(payload, max_values=10**7)
    return read_body(data, header.shape, per_channel=name == "std")


@given(
    seed=st.integers(0, 999),
    maps=st.integers(1, 5),
    size=st.sampled_from([1, 2, 9, 64]),
    theta=st.sampled_from([1e-9, 0.5, 0.9, 1.0]),
    steps=st.sampled_from([0.5, 1e-4]),
)
def test_magnitude_chooses_the_largest_first(seed, maps, size, theta, steps):
    rng = np.random.default_rng(seed)
    # Few different magnitudes, so that equal ones are common.
    coefficients = (np.rint(rng.standard_normal((maps, size)) / steps) * steps).astype(np.float32)
    chosen, split = choose_largest(coefficients, theta)
    for row, mask, count in zip(coefficients, chosen, split.prefix.tolist(), strict=True):
        order = sorted(range(size), key=lambda i: (-abs(float(row[i])), i))
        assert set(np.flatnonzero(mask)) == set(order[:count])
        energies = [float(row[i]) ** 2 for i in order]
        total = sum(energies)
        assert (count == 0) == (total == 0)
        if total:
            assert sum(energies[:count]) >= theta * total * (1 - 1e-12)
            assert sum(energies[: count - 1]) < theta * total * (1 + 1e-12)
    np.testing.assert_array_equal(split.prefix, np.count_nonzero(chosen, axis=1))


@given(
    seed=st.integers(0, 999),
    batch=st.integers(2, 5),
    channels=st.integers(1, 4),
    size=st.sampled_from([1, 2, 9, 64]),
    theta=st.sampled_from([0.5, 0.9, 0.999]),
)
def test_std_chooses_what_varies_most_within_the_batch(seed, batch, channels, size, theta):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels, size)) * rng.random((channels, size)) + 100
    x = x.astype(np.float32)
    members = choose_varying(x.reshape(-1, size), channels, theta)
    variances = x.astype(np.float64).var(axis=0)
    for mask, variance in zip(members, variances, strict=True):
        order = np.argsort(-variance, kind="stable")
        count = np.count_nonzero(mask)
        assert set(np.flatnonzero(mask)) == set(order[:count].tolist())
        assert variance[order[:count]].sum() >= theta * variance.sum() * (1 - 1e-9)
        assert variance[order[: count - 1]].sum() < theta * variance.sum() * (1 + 1e-9)


def test_std_takes_all_of_a_channel_that_does_not_vary():
    x = np.zeros((4, 2, 5), np.float32)
    x[:, 0] = np.arange(5)
    x[2, 1, 3] = 1
    members = choose_varying(x.reshape(-1, 5), 2, 0.9)
    assert members.tolist() == [[True] * 5, [False, False, False, True, False]]
    assert choose_varying(x[:1].reshape(-1, 5), 2, 0.9).all()


@given(st.integers(0, 999), st.integers(1, 9), st.sampled_from([1, 2, 9, 300]))
def test_what_is_chosen_moves_to_the_front_and_back(seed, maps, size):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((maps, size)).astype(np.float32)
    chosen = rng.random((maps, size)) < rng.random((maps, 1))
    moved = chosen_first(rows, chosen)
    for row, mask, got in zip(rows, chosen, moved, strict=True):
        assert got.tolist() == [*row[mask].tolist(), *row[~mask].tolist()]
    np.testing.assert_array_equal(in_scan_order(moved, chosen), rows)


@pytest.mark.parametrize(
    ("density", "bits_per_place"),
    [(0.001, 0.05), (0.1, 0.49), (0.2, 0.76), (0.3, 1), (0.9, 1), (1.0, 1)],
)
def test_membership_takes_a_bit_a_place_or_little_more_than_the_entropy(density, bits_per_place):
    mask = np.random.default_rng(0).random((50, 400)) < density
    mask[:, 7] = True
    written = b"".join(write_membership(mask))
    assert len(written) <= 10 + mask.size / 8 * bits_per_place
    reader = SectionReader(memoryview(written))
    members = read_membership(reader, 50, 400)
    reader.finish()
    np.testing.assert_array_equal(members.mask(), mask)
    np.testing.assert_array_equal(members.counts, mask.sum(axis=1))


@pytest.mark.parametrize("make", [relu_maps, gradients])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "fields", ["rule=b", "rule=d", "rule=b,layout=btd", "bmin=1,bmax=5,theta=0.6"]
)
def test_coefficients_come_back_within_their_component(make, shape, name, fields):
    x = make(shape)
    codec = make_codec(f"{name}:{fields}")
    payload = codec.encode(x)
    y = decode(payload, max_values=x.size)
    assert y.shape == x.shape
    assert y.dtype == np.float32
    assert y.flags.writeable
    layout = choose_layout(shape, time_second=codec.layout == "btd")
    coefficients, got = forward(x, layout), forward(y, layout)
    body, parts = body_of(payload, name)
    scale = 2.0 ** math.floor(math.log2(np.abs(coefficients).max()))
    chosen = np.zeros((layout.maps, layout.size), bool)
    if name == "std":
        chosen = np.tile(body.members, (shape[0], 1)) & body.live[:, None]
    else:
        chosen[body.live] = body.members
    original = chosen_first(coefficients, chosen).reshape(-1)
    errors = np.abs(original - chosen_first(got, chosen).reshape(-1))
    start = 0
    for length, width in zip(parts.lengths.tolist(), body.levels.widths.tolist(), strict=True):
        values = original[start : start + length].astype(float)
        rounding = np.abs(values).max() * 2.0**-10 + 2.0**-24 * scale
        span = np.ptp(values)
        bound = (span + 2 * rounding) / (2**width - 1) / 2 if width else rounding
        assert errors[start : start + length].max() <= bound + 2.0**-19 * scale
        start += length


def test_with_the_whole_map_chosen_all_three_codecs_agree():
    x = gradients((4, 3, 8, 8))
    decoded = [
        decode(make_codec(f"{name}:theta=1.0,bmin=6,bmax=6").encode(x), max_values=x.size)
        for name in ("slfac", "magnitude")
    ]
    np.testing.assert_array_equal(*decoded)
    # A batch of one has no variance: std has no second component either.
    one = x[:1]
    payloads = [make_codec(f"{name}:theta=1.0,bmin=6,bmax=6").encode(one) for name in NAMES]
    y, z = (decode(payload, max_values=one.size) for payload in payloads)
    np.testing.assert_array_equal(y, z)


def test_the_largest_coefficients_are_fewer_than_a_prefix():
    x = gradients((4, 8, 14, 14))
    layout = choose_layout(x.shape, time_second=False)
    coefficients = forward(x, layout)
    largest = choose_largest(coefficients, 0.9)[1].prefix
    assert (largest <= split_maps(coefficients, 0.9).prefix).all()
    # For white noise: a bit less than half of the values hold nine tenths of the energy.
    assert 0.35 < largest.mean() / layout.size < 0.5


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 999), shape=st.sampled_from(SHAPES), shift=st.integers(-60, 60))
def test_a_power_of_two_changes_nothing_but_the_exponent(name, seed, shape, shift):
    x = relu_maps(shape, seed) + np.float32(0.1)
    codec = make_codec(name)
    plain = bytearray(codec.encode(x))
    scaled = bytearray(codec.encode(x * np.float32(2.0**shift)))
    at = 5 + len(shape)
    assert (scaled.pop(at) - plain.pop(at) - shift) % 256 == 0
    assert scaled == plain


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-4, 1e-30, 1e30])
def test_any_other_scale_gives_the_same_widths_and_quality(name, scale):
    x = relu_maps((16, 8, 14, 14))
    codec = make_codec(name)
    plain, scaled = codec.encode(x), codec.encode(x * np.float32(scale))
    assert abs(len(plain) - len(scaled)) <= len(plain) * 1e-3
    y = decode(plain, max_values=x.size)
    z = decode(scaled, max_values=x.size) / np.float32(scale)
    noise = float(((x - y) ** 2).sum())
    assert float(((x - z) ** 2).sum()) == pytest.approx(noise, rel=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_special_arrays_survive(name):
    codec = make_codec(name)
    zero = np.zeros((8, 4, 9, 9), np.float32)
    assert len(codec.encode(zero)) == 12
    assert not decode(codec.encode(zero), max_values=zero.size).any()
    constant = np.full((8, 4, 9, 9), 3, np.float32)
    back = decode(codec.encode(constant), max_values=constant.size)
    np.testing.assert_allclose(back, constant, rtol=1e-3)
    for value in (1e-45, 1e-40):
        tiny = np.full((2, 1, 8, 8), value, np.float32)
        back = decode(codec.encode(tiny), max_values=tiny.size)
        np.testing.assert_allclose(back, tiny, rtol=2e-3, atol=1e-44)
    dead = np.zeros((8, 4, 9, 9), np.float32)
    dead[3, 2] = relu_maps((1, 1, 9, 9))
    back = decode(codec.encode(dead), max_values=dead.size)
    assert back[3, 2].any()
    assert np.count_nonzero(back.any(axis=(2, 3))) == 1


@pytest.mark.parametrize("name", NAMES)
def test_any_strides_give_the_same_bytes(name):
    x = relu_maps((4, 3, 9, 10))
    codec = make_codec(name)
    expected = codec.encode(x)
    assert codec.encode(np.asfortranarray(x)) == expected
    assert codec.encode(x[:, ::-1][:, ::-1]) == expected


@given(
    name=st.sampled_from(NAMES),
    shape=st.one_of(
        st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(1, 12)] * 2),
        st.tuples(*[st.integers(1, 6)] * 3),
        st.tuples(*[st.integers(1, 30)] * 2),
    ),
    theta=st.floats(1e-6, 1.0),
    rule=st.sampled_from("bde"),
    layout=st.sampled_from(["bct", "btd"]),
    seed=st.integers(0, 999),
    sparsity=st.sampled_from([0.0, 0.5, 0.95]),
)
def test_any_array_round_trips(*, name, shape, theta, rule, layout, seed, sparsity):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 20)).astype(np.float32)
    x[rng.random(shape) < sparsity] = 0
    codec = make_codec(f"{name}:theta={theta!r},rule={rule},layout={layout}")
    y = decode(codec.encode(x), max_values=x.size)
    assert y.shape == x.shape
    size = choose_layout(shape, time_second=layout == "btd").size
    assert np.abs(y - x).max() <= 2.1 * size * np.abs(x).max() + 1e-44


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_those_of_slfac(name):
    assert make_codec(name).spec == f"{name}:theta=0.9,bmin=2,bmax=8,rule=b"
    with pytest.raises(SettingsError, match=f"{name}: field bmin is 5, above bmax, which is 4"):
        make_codec(f"{name}:bmin=5,bmax=4")


@pytest.mark.parametrize("name", NAMES)
def test_arrays_that_cannot_be_encoded_are_refused_by_name(name):
    codec = make_codec(name)
    with pytest.raises(CodecError, match=f"codec {name}:.* takes float32, not float64"):
        codec.encode(np.ones((2, 3)))
    with pytest.raises(CodecError, match=f"magnitude of 1e\\+32, {name} takes at most"):
        codec.encode(np.full((2, 3), 1e32, np.float32))
    x = np.ones((2, 3), np.float32)
    x[1, 2] = np.nan
    with pytest.raises(CodecError, match=r"first at index \(1, 2\)"):
        codec.encode(x)


# Behind shape (1, 2, 1, 8): the first map is live, four of its coefficients are chosen.
FIXED = bytes.fromhex("040082")
LIVE = b"\x01"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (FIXED, "live maps take 1 bytes, only 0"),
        (FIXED + LIVE, "form of the membership take 1 bytes"),
        (FIXED + LIVE + b"\x02", "membership of form 2"),
        (FIXED + LIVE + b"\x00", "membership bitmap take 1 bytes"),
        (FIXED + LIVE + b"\x00\x00", "nothing of row 0 is chosen"),
        (FIXED + LIVE + b"\x00\x0f\x00", "lowest levels take"),
        (FIXED + LIVE + b"\x01\x00", "fields of the gaps take 9 bytes"),
        (FIXED + LIVE + b"\x01\x00" + bytes(8), "0 gaps in 0 bytes"),
        (FIXED + LIVE + b"\x01\x00\x09\x00\x00\x00\x01\x00\x00\x00\x01", "9 gaps in 1 bytes"),
        (
            FIXED + LIVE + b"\x01\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x01",
            "a position is beyond",
        ),
        (b"\x80\x00\x82\x00", "1 bytes trail"),
        (b"\x72\x00\x82", "exponent is 114"),
    ],
)
@pytest.mark.parametrize(("name", "ident"), [("magnitude", 12), ("std", 13)])
def test_wrong_fields_are_named(name, ident, body, message):
    # std's table has a row for each of two channels; one channel makes both tables alike.
    shape = (2, 1, 1, 8) if name == "std" else (1, 2, 1, 8)
    header = write_header(Header(ident, np.dtype("<f4"), shape))
    with pytest.raises(CodecError, match=message):
        decode(header + body, max_values=16)
    other = write_header(Header(ident, np.dtype("<f2"), shape))
    with pytest.raises(CodecError, match=f"dtype float16 in {name}"):
        decode(other + body, max_values=16)

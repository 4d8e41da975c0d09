"""Payloads frozen when the format was: they decode to the same arrays forever.

A case is ``NAME.x.npy`` (the array), ``NAME.bin`` (its payload), ``NAME.y.npy`` (what the
payload decodes to) and, for SL-FAC, ``NAME.c.npy`` (the coefficients) and
``NAME.ints.npz`` (the payload's integers, unless the array is all zero). To freeze a new
case, add it to ``CASES`` and run this file with ``SLFAC_REGENERATE=1``; files that exist
are rewritten, so look at the difference before committing it.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from slfac.codec import decode, make_codec
from slfac.codec.container import read_header, write_header
from slfac.codec.maps.dct import forward
from slfac.codec.maps.layout import choose_layout
from slfac.codec.slfac.body import Body, read_body, write_body
from slfac.codec.slfac.components import Components
from slfac.codec.slfac.quantise import Levels

pytestmark = pytest.mark.device

FOLDER = Path(__file__).parent / "golden" / "v1" / "codec"


def _worked():
    """The example in docs/codec-format.md: one live map and one dead one."""
    live = [[9, 7, 6, 2], [8, 8, 5, 1]]
    return np.float32([[live, np.zeros((2, 4))]])


def _relu(*shape):
    rng = np.random.default_rng(sum(shape))
    x = np.cumsum(rng.standard_normal(shape), axis=-1) * 0.3 + 0.3
    x[:, ::4] = 0
    return np.maximum(x, 0).astype(np.float32)


def _gradient(*shape):
    rng = np.random.default_rng(sum(shape))
    size = 10.0 ** rng.uniform(-9, -5, (shape[0], *[1] * (len(shape) - 1)))
    return (rng.standard_normal(shape) * size).astype(np.float32)


def _integers(dtype):
    info = np.iinfo(dtype)
    return np.array([[info.min, -1 % info.max, 0], [1, 7, info.max]], dtype)


CASES = {
    "none-float32": ("none", lambda: _relu(2, 3, 4)),
    "none-float16": ("none", lambda: _relu(2, 5).astype(np.float16)),
    "none-int8": ("none", lambda: _integers(np.int8)),
    "none-uint8": ("none", lambda: _integers(np.uint8)),
    "none-int32": ("none", lambda: _integers(np.int32)),
    "none-int64": ("none", lambda: _integers(np.int64)),
    "none-bool": ("none", lambda: np.array([True, False, True])),
    "none-scalar": ("none", lambda: np.array(3, np.int64)),
    "fp16-gradient": ("fp16", lambda: _gradient(4, 130)),
    "fp16-zero": ("fp16", lambda: np.zeros((2, 2), np.float32)),
    "slfac-worked": ("slfac:rule=d", _worked),
    "slfac-zero": ("slfac:rule=d", lambda: np.zeros((130, 2, 3, 3), np.float32)),
    "slfac-relu-28": ("slfac:rule=d", lambda: _relu(2, 5, 28, 28)),
    "slfac-relu-8": ("slfac:rule=d", lambda: _relu(6, 8, 8, 8)),
    "slfac-gradient-7": ("slfac:rule=d", lambda: _gradient(6, 8, 7, 7)),
    "slfac-oblong": ("slfac:rule=d", lambda: _relu(2, 3, 5, 19)),
    "slfac-time-last": ("slfac:rule=d", lambda: _relu(3, 4, 40)),
    "slfac-time-second": ("slfac:layout=btd,rule=d", lambda: _relu(2, 40, 6)),
    "slfac-features": ("slfac:rule=d", lambda: _gradient(8, 33)),
    "slfac-pooled": ("slfac:rule=d", lambda: _relu(4, 20, 1, 1)),
    "slfac-long": ("slfac:rule=d", lambda: _relu(2, 2, 700)),
    "slfac-wide-range": ("slfac:theta=0.99,bmin=1,bmax=8,rule=d", lambda: _relu(3, 4, 12, 12)),
    "slfac-rule-b": ("slfac:rule=b", lambda: _gradient(8, 3, 9, 9)),
    "slfac-rule-e": ("slfac:rule=e,bmin=1,bmax=6", lambda: _relu(3, 4, 9, 10)),
    "slfac-one-width": ("slfac:theta=1.0,bmin=4,bmax=4,rule=d", lambda: _gradient(3, 4, 6, 6)),
}
SLFAC = [name for name in CASES if name.startswith("slfac")]
CODED = [name for name in SLFAC if name != "slfac-zero"]


def _layout(name, shape):
    return choose_layout(shape, time_second="btd" in CASES[name][0])


def _path(name, suffix):
    return FOLDER / f"{name}.{suffix}"


def _load(name, suffix):
    return np.load(_path(name, suffix), allow_pickle=False)


def _regenerate(name):
    spec, make = CASES[name]
    x = make()
    payload = bytes(make_codec(spec).encode(x))
    np.save(_path(name, "y.npy"), decode(payload, max_values=x.size))
    np.save(_path(name, "x.npy"), x)
    _path(name, "bin").write_bytes(payload)
    if name in SLFAC:
        np.save(_path(name, "c.npy"), forward(x, _layout(name, x.shape)))
    if name in CODED:
        np.savez_compressed(_path(name, "ints.npz"), **_integers_of(payload))


def _integers_of(payload):
    """Everything in an SL-FAC body, as integers."""
    header, data = read_header(payload, max_values=10**6)
    body, _ = read_body(data, header.shape)
    levels = body.levels
    return {
        "fixed": np.int64([levels.exponent, body.layout.axes, body.bmin, body.bmax]),
        "prefix": body.prefix,
        "widths": levels.widths,
        "low": levels.low.view(np.uint16),
        "high": levels.high.view(np.uint16),
        "codes": body.codes,
    }


@pytest.fixture(scope="module", autouse=True)
def _frozen():
    if os.environ.get("SLFAC_REGENERATE") == "1":
        for name in CASES:
            _regenerate(name)


@pytest.mark.parametrize("name", CASES)
def test_frozen_payloads_decode_as_they_did(name):
    expected = _load(name, "y.npy")
    got = decode(_path(name, "bin").read_bytes(), max_values=expected.size)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if CASES[name][0] in ("none", "fp16"):
        assert got.tobytes() == expected.tobytes()
    else:
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=bound)


@pytest.mark.parametrize("name", [name for name in CASES if name not in SLFAC])
def test_plain_codecs_still_write_the_frozen_bytes(name):
    payload = make_codec(CASES[name][0]).encode(_load(name, "x.npy"))
    assert payload == _path(name, "bin").read_bytes()


@pytest.mark.parametrize("name", SLFAC)
def test_the_frozen_coefficients_still_give_the_frozen_bytes(name):
    coefficients = _load(name, "c.npy")
    layout = _layout(name, _load(name, "x.npy").shape)
    payload = make_codec(CASES[name][0]).encode_coefficients(coefficients, layout)
    assert payload == _path(name, "bin").read_bytes()


@pytest.mark.parametrize("name", CODED)
def test_the_frozen_payloads_hold_exactly_the_frozen_integers(name):
    with np.load(_path(name, "ints.npz"), allow_pickle=False) as frozen:
        got = _integers_of(_path(name, "bin").read_bytes())
        assert set(got) == set(frozen)
        for key, values in got.items():
            assert values.dtype == frozen[key].dtype
            np.testing.assert_array_equal(values, frozen[key])


@pytest.mark.parametrize("name", CODED)
def test_the_frozen_integers_still_give_the_frozen_bytes(name):
    payload = _path(name, "bin").read_bytes()
    header, _ = read_header(payload, max_values=10**6)
    with np.load(_path(name, "ints.npz"), allow_pickle=False) as frozen:
        exponent, _, bmin, bmax = frozen["fixed"].tolist()
        low, high = (frozen[key].view(np.float16) for key in ("low", "high"))
        levels = Levels(exponent, frozen["widths"], low, high)
        layout, prefix = _layout(name, header.shape), frozen["prefix"]
        body = Body(layout, bmin, bmax, prefix, levels, frozen["codes"])
    sections = write_body(body, Components.from_splits(prefix, layout.size))
    assert b"".join((write_header(header), *sections)) == payload


@pytest.mark.parametrize("name", SLFAC)
def test_from_pixels_at_most_one_map_differs(name):
    # Another BLAS sums in another order; a coefficient on the edge between two codes, or an
    # energy on the edge between two splits, may then fall on the other side.
    x, coefficients = _load(name, "x.npy"), _load(name, "c.npy")
    layout = _layout(name, x.shape)
    peak = np.abs(coefficients).max()
    np.testing.assert_allclose(forward(x, layout), coefficients, rtol=0, atol=2e-6 * peak)
    fresh = decode(make_codec(CASES[name][0]).encode(x), max_values=x.size)
    frozen = _load(name, "y.npy")
    differs = np.abs(forward(fresh, layout) - forward(frozen, layout)) > 1e-5 * peak
    assert np.count_nonzero(differs.any(axis=1)) <= 1


def test_no_frozen_file_is_without_a_case():
    suffixes = {
        name: ["x.npy", "y.npy", "bin"]
        + ["c.npy"] * (name in SLFAC)
        + ["ints.npz"] * (name in CODED)
        for name in CASES
    }
    expected = {f"{name}.{suffix}" for name in CASES for suffix in suffixes[name]}
    assert {path.name for path in FOLDER.iterdir()} == expected

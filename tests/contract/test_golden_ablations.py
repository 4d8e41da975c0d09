"""Payloads of SL-FAC's ablations, frozen: the same floats, integers and bytes forever.

A case is ``NAME.x.npy`` (the array), ``NAME.c.npy`` (its coefficients), ``NAME.bin`` (the
payload), ``NAME.y.npy`` (what it decodes to) and ``NAME.ints.npz`` (its integers). To
freeze a new case, add it to ``CASES`` and run this file with ``SLFAC_REGENERATE=1``; files
that exist are rewritten, so look at the difference before committing it.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from slfac.codec import decode, make_codec
from slfac.codec.container import read_header, write_header
from slfac.codec.maps.dct import forward
from slfac.codec.maps.layout import choose_layout
from slfac.codec.rivals.arrangement import choice_of_maps
from slfac.codec.rivals.chosen import Body, read_body, write_body
from slfac.codec.slfac.components import Components
from slfac.codec.slfac.quantise import Levels

pytestmark = pytest.mark.device

ROOT = Path(__file__).parent / "golden" / "v1"
SUFFIXES = ("x.npy", "c.npy", "bin", "y.npy", "ints.npz")


def _relu(*shape):
    rng = np.random.default_rng(sum(shape))
    x = np.cumsum(rng.standard_normal(shape), axis=-1) * 0.3 + 0.3
    x[:, ::4] = 0
    return np.maximum(x, 0).astype(np.float32)


def _gradient(*shape):
    rng = np.random.default_rng(sum(shape))
    size = 10.0 ** rng.uniform(-9, -5, (shape[0], *[1] * (len(shape) - 1)))
    return (rng.standard_normal(shape) * size).astype(np.float32)


CASES = {
    "relu-14": (":rule=d", lambda: _relu(3, 5, 14, 14)),
    "gradient-7": (":rule=b", lambda: _gradient(4, 3, 7, 7)),
    "time-second": (":layout=btd,rule=e,bmin=1,bmax=6", lambda: _relu(3, 20, 4)),
    "features": (":theta=0.5,rule=d", lambda: _gradient(8, 33)),
}
FILES = [(codec, name) for codec in ("magnitude", "std") for name in CASES]


def _codec(codec, name):
    return make_codec((codec + CASES[name][0]).rstrip(":"))


def _path(codec, name, suffix):
    return ROOT / codec / f"{name}.{suffix}"


def _load(codec, name, suffix):
    return np.load(_path(codec, name, suffix), allow_pickle=False)


def _layout(codec, name, shape):
    return choose_layout(shape, time_second=_codec(codec, name).layout == "btd")


def _integers_of(payload, codec):
    header, data = read_header(payload, max_values=10**6)
    body, _ = read_body(data, header.shape, per_channel=codec == "std")
    levels = body.levels
    return {
        "fixed": np.int64([levels.exponent, body.layout.axes, body.bmin, body.bmax]),
        "live": body.live,
        "members": body.members,
        "widths": levels.widths,
        "low": levels.low.view(np.uint16),
        "high": levels.high.view(np.uint16),
        "codes": body.codes,
    }


def _regenerate(codec, name):
    x = CASES[name][1]()
    payload = bytes(_codec(codec, name).encode(x))
    (ROOT / codec).mkdir(exist_ok=True)
    np.save(_path(codec, name, "x.npy"), x)
    np.save(_path(codec, name, "c.npy"), forward(x, _layout(codec, name, x.shape)))
    np.save(_path(codec, name, "y.npy"), decode(payload, max_values=x.size))
    _path(codec, name, "bin").write_bytes(payload)
    np.savez_compressed(_path(codec, name, "ints.npz"), **_integers_of(payload, codec))


@pytest.fixture(scope="module", autouse=True)
def _frozen():
    if os.environ.get("SLFAC_REGENERATE") == "1":
        for codec, name in FILES:
            _regenerate(codec, name)


@pytest.mark.parametrize(("codec", "name"), FILES)
def test_frozen_payloads_decode_as_they_did(codec, name):
    expected = _load(codec, name, "y.npy")
    got = decode(_path(codec, name, "bin").read_bytes(), max_values=expected.size)
    assert got.dtype == expected.dtype
    bound = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=bound)


@pytest.mark.parametrize(("codec", "name"), FILES)
def test_frozen_payloads_hold_exactly_the_frozen_integers(codec, name):
    frozen = _load(codec, name, "ints.npz")
    got = _integers_of(_path(codec, name, "bin").read_bytes(), codec)
    assert set(got) == set(frozen)
    for key, values in got.items():
        assert values.dtype == frozen[key].dtype
        np.testing.assert_array_equal(values, frozen[key])
    frozen.close()


@pytest.mark.parametrize(("codec", "name"), FILES)
def test_the_frozen_integers_still_give_the_frozen_bytes(codec, name):
    payload = _path(codec, name, "bin").read_bytes()
    header, _ = read_header(payload, max_values=10**6)
    layout = _layout(codec, name, header.shape)
    frozen = dict(_load(codec, name, "ints.npz"))
    exponent, _, bmin, bmax = frozen["fixed"].tolist()
    low, high = (frozen[key].view(np.float16) for key in ("low", "high"))
    levels = Levels(exponent, frozen["widths"], low, high)
    live, members = frozen["live"], frozen["members"]
    chosen = choice_of_maps(layout, live, members, per_channel=codec == "std")
    parts = Components.from_splits(chosen.sum(axis=1), layout.size)
    body = Body(layout, bmin, bmax, live, members, levels, frozen["codes"])
    assert b"".join((write_header(header), *write_body(body, parts))) == payload


@pytest.mark.parametrize(("codec", "name"), FILES)
def test_the_frozen_coefficients_still_give_the_frozen_bytes(codec, name):
    layout = _layout(codec, name, _load(codec, name, "x.npy").shape)
    payload = _codec(codec, name).encode_coefficients(_load(codec, name, "c.npy"), layout)
    assert payload == _path(codec, name, "bin").read_bytes()


def test_the_example_in_the_docs_is_what_the_encoder_writes():
    page = (ROOT.parents[3] / "docs" / "codec-format-rivals.md").read_text("utf-8")
    (block,) = re.findall(r"```hex\n(53 46 01 0c.*?)```", page, re.DOTALL)
    octets = [re.match(r"(?:[0-9a-f]{2} )+(?= |\S)", line).group() for line in block.splitlines()]
    live = [[9, 7, 6, 2], [8, 8, 5, 1]]
    x = np.float32([[live, np.zeros((2, 4))]])
    assert bytes.fromhex("".join(octets)) == make_codec("magnitude:rule=d").encode(x)


@pytest.mark.parametrize("codec", ["magnitude", "std"])
def test_no_frozen_file_is_without_a_case(codec):
    expected = {f"{name}.{suffix}" for name in CASES for suffix in SUFFIXES}
    assert {path.name for path in (ROOT / codec).iterdir()} == expected

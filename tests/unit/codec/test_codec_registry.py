"""Codecs by name and by number."""

import itertools

import numpy as np
import pytest

from slfac.codec import CodecError, StreamKey, codec_names, decode, make_codec
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

# In every payload's header: a number keeps its codec forever.
NUMBERS = {
    "none": 1,
    "fp16": 2,
    "slfac": 3,
    "slfac-rd": 4,
    "uniform": 5,
    "topk": 6,
    "randtopk": 7,
    "powerquant": 8,
    "easyquant": 9,
    "splitfc": 10,
    "slacc": 11,
    "magnitude": 12,
    "std": 13,
}


def test_every_name_builds_a_codec_whose_payload_decodes():
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 4)).astype(np.float32)
    assert set(codec_names()) <= set(NUMBERS)
    for name in codec_names():
        codec = make_codec(name)
        payload = codec.encode(x, key=StreamKey(step=3))
        assert codec.name == name
        assert payload[3] == codec.ident == NUMBERS[name]
        assert decode(payload, max_values=x.size).shape == x.shape


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("none", "none"),
        ("fp16", "fp16"),
        ("slfac", "slfac:theta=0.9,bmin=2,bmax=8,rule=b"),
        ("slfac:bmax=4,theta=1,rule=b", "slfac:theta=1.0,bmin=2,bmax=4,rule=b"),
        ("slfac:layout=btd", "slfac:theta=0.9,bmin=2,bmax=8,rule=b,layout=btd"),
        ("slfac:layout=bct,theta=1e-5", "slfac:theta=1e-05,bmin=2,bmax=8,rule=b"),
    ],
)
def test_specs_have_one_canonical_form(spec, canonical):
    assert make_codec(spec).spec == canonical
    assert make_codec(canonical).spec == canonical


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zip", "codec is 'zip'; give one of none, fp16, slfac"),
        ("none:level=3", "none has no field level; it has none"),
        ("fp16:level=3", "fp16 has no field level; it has none"),
        ("slfac:thta=0.9", "no field thta; known fields: theta, bmin, bmax, rule, layout"),
        ("slfac:theta=0", "field theta is 0; give a number above 0 up to 1"),
        ("slfac:theta=nan", "field theta is nan"),
        ("slfac:bmin=0", "field bmin is 0"),
        ("slfac:bmax=9", "field bmax is 9"),
        ("slfac:bmin=5,bmax=4", "field bmin is 5, above bmax, which is 4"),
        ("slfac:rule=a", "field rule is a; give one of b, d, e"),
        ("slfac:layout=tbd", "field layout is tbd; give one of bct, btd"),
    ],
)
def test_wrong_settings_are_refused_by_name(spec, message):
    with pytest.raises(SettingsError, match=message):
        make_codec(spec)


def test_codecs_without_memory_say_so():
    codec = make_codec("slfac")
    assert codec.state() == {}
    codec.restore({})
    with pytest.raises(CodecError, match="keeps no state"):
        codec.restore({"step": 1.0})


def test_stream_keys_draw_the_same_numbers_again():
    key = StreamKey(seed=1, device=2, step=3)
    np.testing.assert_array_equal(key.rng().random(4), key.rng().random(4))
    other = StreamKey(seed=1, device=3, step=2)
    assert not np.array_equal(key.rng().random(4), other.rng().random(4))


def test_stream_keys_that_differ_in_anything_draw_other_numbers():
    numbers = itertools.product((0, 1, 2), (0, 1, 2**32 - 1), (0, 1), ("up", "down"))
    keys = [StreamKey(step=s, round=r, layer=n, direction=d) for s, r, n, d in numbers]
    keys += [StreamKey(seed=1), StreamKey(device=1), StreamKey(part=1)]
    assert len({key.rng().random() for key in keys}) == len(keys)


def test_upward_keys_of_the_first_round_draw_what_they_ever_drew():
    seeds = np.random.SeedSequence((5, 4, 3, 2, 0))
    expected = np.random.Generator(np.random.Philox(seeds)).random(4)
    key = StreamKey(seed=5, device=4, step=3, part=2)
    np.testing.assert_array_equal(key.rng().random(4), expected)

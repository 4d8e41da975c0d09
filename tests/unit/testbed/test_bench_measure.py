"""The figures of ``slfac bench codec`` against figures taken by hand."""

import math

import numpy as np
import pytest

from slfac.codec import decode, make_codec
from slfac.codec.container import read_header
from slfac.codec.rd.codec import read_rd
from slfac.testbed.bench.measure import measure, snr_db
from slfac.testbed.bench.tensors import NamedTensor
from slfac.wire.errors import CodecError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 16, 16, 16)).astype(np.float32)


def test_bytes_and_error_are_those_of_the_codec():
    turns = []
    specs = ["none", "fp16", "slfac:theta=0.5"]
    found = measure(
        specs,
        NamedTensor("noise", X),
        repeat=3,
        on_turn=lambda: turns.append(1),
    )
    assert len(turns) == 3
    assert [m.codec for m in found] == [make_codec(spec).spec for spec in specs]
    for m in found:
        payload = make_codec(m.codec).encode(X)
        assert m.tensor == "noise"
        assert m.bytes == len(payload)
        assert m.bits_per_value == pytest.approx(8 * len(payload) / X.size)
        assert m.ratio == pytest.approx(32 / m.bits_per_value)
        error = X.astype(np.float64) - decode(payload, max_values=X.size)
        power = np.vdot(error, error)
        assert m.exact == (m.codec == "none") == (power == 0)
        if power:
            assert m.snr_db == pytest.approx(
                10 * math.log10(np.square(X, dtype="f8").sum() / power)
            )
        else:
            assert m.snr_db is None


def test_times_and_memory_are_plausible_and_their_ratios_exact():
    none, fp16, slfac = measure(["none", "fp16", "slfac"], NamedTensor("noise", X), repeat=5)
    for m in (none, fp16, slfac):
        assert m.dct_ms == none.dct_ms > m.copy_ms == none.copy_ms > 0
        for way in ("encode", "decode"):
            own_ms = getattr(m, f"{way}_ms")
            assert getattr(m, f"{way}_per_dct") == own_ms / m.dct_ms
            assert getattr(m, f"{way}_per_copy") == own_ms / m.copy_ms
    # One pass over the values against a transform of them and ten more.
    assert none.encode_ms < slfac.encode_ms
    # The payload alone is as large as the tensor, and half of it.
    assert 1 <= none.encode_memory < 1.1
    assert 0.5 <= fp16.encode_memory < 3
    assert all(1 <= m.decode_memory < 20 for m in (none, fp16, slfac))


@pytest.mark.parametrize("shape", [(8, 24), (4, 3, 20), (4, 24, 1, 1)])
def test_other_ranks_are_compared_with_a_transform_of_their_own(shape):
    x = RNG.standard_normal(shape).astype(np.float32)
    (m,) = measure(["slfac"], NamedTensor("x", x), repeat=1)
    assert m.dct_ms > 0
    assert m.bytes == len(make_codec("slfac").encode(x))


def test_a_tensor_that_cannot_be_encoded_is_named():
    x = X.copy()
    x[1, 2, 3, 4] = np.nan
    with pytest.raises(CodecError, match=r"tensor bad: .*index \(1, 2, 3, 4\)") as refusal:
        measure(["none", "fp16"], NamedTensor("bad", x), repeat=1)
    assert refusal.value.remedy


def test_the_ratio_of_energies():
    x = np.array([3.0, 4.0], np.float32)
    assert snr_db(x, x + np.float32([0.5, 0])) == pytest.approx(20)
    assert snr_db(x, x) is None
    assert snr_db(0 * x, x) is None
    # float32 squares would all be zero.
    assert snr_db(x * np.float32(1e-30), x * np.float32(0.9e-30)) == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("coder", ["fast", "dense"])
def test_coded_bytes_are_compared_with_the_entropy_of_their_contexts(coder):
    (found,) = measure([f"slfac-rd:step=1,coder={coder}"], NamedTensor("noise", X), repeat=1)
    header, data = read_header(make_codec(found.codec).encode(X), max_values=X.size)
    body, contexts = read_rd(header, data)
    codes = np.zeros(int(contexts.sizes.sum()), int)
    codes[body.coded.places] = body.coded.codes
    bits = 0.0
    for part in np.split(codes, np.cumsum(contexts.sizes)[:-1]):
        counts = np.unique(part, return_counts=True)[1]
        bits -= (counts * np.log2(counts / counts.sum())).sum() if len(part) else 0
    # All but the fixed fields, the basis and the classes is coded.
    assert bits < 8 * found.bytes
    assert 1 < found.over_entropy < 8 * found.bytes / bits
    if coder == "dense":
        assert found.over_entropy < 1.03


def test_an_array_of_zeros_has_no_entropy_to_compare_with():
    zeros = NamedTensor("zeros", np.zeros((2, 3, 4, 4), np.float32))
    (found,) = measure(["slfac-rd"], zeros, repeat=1)
    assert found.over_entropy is None

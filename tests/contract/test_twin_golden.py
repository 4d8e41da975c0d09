"""The torch twins read and write the frozen payloads, as the NumPy codecs do."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.twins import DEVICES, decode, encode, twin
from slfac.codec import decode as numpy_decode
from slfac.codec.maps.dct import forward
from slfac.codec.maps.layout import choose_layout

FOLDER = Path(__file__).parent / "golden" / "v1" / "codec"
# As in test_codec_golden.py, where a spec is not the name's first word, or that with rule d.
SPECS = {
    "slfac-time-second": "slfac:layout=btd,rule=d",
    "slfac-wide-range": "slfac:theta=0.99,bmin=1,bmax=8,rule=d",
    "slfac-one-width": "slfac:theta=1.0,bmin=4,bmax=4,rule=d",
    "slfac-rule-b": "slfac:rule=b",
    "slfac-rule-e": "slfac:rule=e,bmin=1,bmax=6",
}
NAMES = sorted(path.stem for path in FOLDER.glob("*.bin"))
SLFAC = [name for name in NAMES if name.startswith("slfac")]


def spec(name):
    codec = name.split("-")[0]
    return SPECS.get(name, "slfac:rule=d" if codec == "slfac" else codec)


def load(name, suffix):
    return np.load(FOLDER / f"{name}.{suffix}", allow_pickle=False)


def frozen(name):
    return (FOLDER / f"{name}.bin").read_bytes()


def test_there_are_golden_payloads_of_each_codec():
    assert {name.split("-")[0] for name in NAMES} == {"none", "fp16", "slfac"}
    assert len(SLFAC) >= 13


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_twin_decodes_what_is_frozen(name, device):
    expected = load(name, "y.npy")
    codec = name.split("-")[0]
    (got,) = decode(codec, [frozen(name)], expected.size, device)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    if codec == "slfac":
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=bound)
    else:
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SLFAC])
def test_a_plain_twin_writes_the_frozen_bytes(name, device):
    assert bytes(encode(spec(name), [load(name, "x.npy")], device)[0]) == frozen(name)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", SLFAC)
def test_the_frozen_coefficients_give_the_frozen_bytes(name, device):
    coefficients = torch.from_numpy(load(name, "c.npy")).to(device)
    layout = choose_layout(load(name, "x.npy").shape, time_second="btd" in spec(name))
    (payload,) = twin(spec(name), device).encode_coefficients(coefficients, [layout])
    assert payload == frozen(name)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_frozen_payloads_decode_together_as_alone(device):
    sizes = [load(name, "y.npy").size for name in SLFAC]
    together = decode("slfac", [frozen(name) for name in SLFAC], max(sizes), device)
    for name, got in zip(SLFAC, together, strict=True):
        expected = load(name, "y.npy")
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=bound)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", SLFAC)
def test_from_pixels_at_most_one_map_differs(name, device):
    x, coefficients, y = (load(name, suffix) for suffix in ("x.npy", "c.npy", "y.npy"))
    layout = choose_layout(x.shape, time_second="btd" in spec(name))
    fresh = numpy_decode(encode(spec(name), [x], device)[0], max_values=x.size)
    bound = 1e-5 * np.abs(coefficients).max()
    differs = np.abs(forward(fresh, layout) - forward(y, layout)) > bound
    assert np.count_nonzero(differs.any(axis=1)) <= 1

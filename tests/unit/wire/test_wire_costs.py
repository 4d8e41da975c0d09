"""What a front costs, as a bundle has it: round trips, absence, and files that lie."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.wire.bundle import open_bundle, write_bundle
from slfac.wire.costs import (
    COSTS_FILE,
    Costs,
    Layer,
    costs_id,
    decode_costs,
    encode_costs,
    read_costs,
)
from slfac.wire.errors import BundleError

pytestmark = pytest.mark.device

KEPT = Path(__file__).parents[2] / "data" / "bundles" / "cnn-8x8"
counts = st.integers(0, 2**53)
layers = st.builds(
    Layer,
    name=st.text(max_size=20),
    kind=st.sampled_from(("conv", "depthwise", "matmul", "norm", "other")),
    forward_flop=counts,
    backward_flop=counts,
    forward_bytes=counts,
    backward_bytes=counts,
    weight_bytes=counts,
)
costs = st.builds(Costs, layers=st.lists(layers, max_size=4).map(tuple), residual_bytes=counts)
ONE = Costs(
    layers=(
        Layer(
            name="fc",
            kind="matmul",
            forward_flop=6,
            backward_flop=12,
            forward_bytes=20,
            backward_bytes=40,
            weight_bytes=24,
        ),
    ),
    residual_bytes=8,
)


def bundle_with(folder, data):
    kept = open_bundle(KEPT)
    files = {name: kept.file(name).read_bytes() for name in kept.manifest.files}
    return write_bundle(folder / "bundle", kept.manifest, {**files, COSTS_FILE: data})


@given(costs)
def test_what_is_written_reads_back(value):
    raw = encode_costs(value)
    assert decode_costs(raw) == value
    assert costs_id(value) == hashlib.sha256(raw).hexdigest()


def test_weights_add_up():
    (layer,) = ONE.layers
    assert msgspec.structs.replace(ONE, layers=(layer, layer)).weight_bytes == 48


def test_a_bundle_gives_its_costs(tmp_path):
    bundle = bundle_with(tmp_path, encode_costs(ONE))
    assert read_costs(bundle) == ONE
    assert COSTS_FILE in bundle.contents()


def test_a_device_does_not_ask_for_them(tmp_path):
    bundle = bundle_with(tmp_path, encode_costs(ONE))
    assert COSTS_FILE not in bundle.contents("device")
    (bundle.path / COSTS_FILE).unlink()
    assert read_costs(open_bundle(bundle.path, "device")) is None


def test_an_older_bundle_has_none():
    assert read_costs(open_bundle(KEPT)) is None


def test_a_file_changed_afterwards_is_refused(tmp_path):
    bundle = bundle_with(tmp_path, encode_costs(ONE))
    (bundle.path / COSTS_FILE).write_bytes(b"{}")
    with pytest.raises(BundleError, match=r"costs\.json does not match its hash"):
        read_costs(bundle)


def test_a_folder_in_its_place_is_refused(tmp_path):
    bundle = bundle_with(tmp_path, encode_costs(ONE))
    (bundle.path / COSTS_FILE).unlink()
    (bundle.path / COSTS_FILE).mkdir()
    with pytest.raises(BundleError, match=r"cannot read .*costs\.json"):
        read_costs(bundle)


def changed(**fields):
    document = msgspec.to_builtins(ONE)
    document["layers"][0].update(fields.pop("layer", {}))
    return json.dumps({**document, **fields}).encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no valid costs"),
        (b"\xff", "no valid costs"),
        (b"[" * 100_000, "no valid costs"),
        (changed(schema=2), "schema is 2, this release reads 1"),
        (changed(residual_bytes=-1), "residual_bytes"),
        (changed(residual_bytes=2**54), "residual_bytes"),
        (changed(layer={"forward_flop": 1.5}), "forward_flop"),
        (changed(layer={"kind": "sparse"}), "kind"),
        (changed(layer={"more": 1}), "more"),
        (changed(layer={"name": "x" * 257}), "name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nonsense_is_refused(data, said):
    with pytest.raises(BundleError, match=said):
        decode_costs(data)

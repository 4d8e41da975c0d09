"""Bundles from a broken disk or a hostile server end in BundleError, which names the file."""

import contextlib
import copy
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.wire.bundle import (
    MAX_MANIFEST_BYTES,
    install_bundle,
    open_bundle,
    pack_state,
    parse_manifest,
    unpack_state,
)
from slfac.wire.errors import BundleError
from slfac.wire.onnx_scan import external_locations
from slfac.wire.runtime import open_infer_session, open_session

pytestmark = pytest.mark.device

KEPT = Path(__file__).parents[1] / "data" / "bundles" / "cnn-8x8"
FILES = sorted(json.loads((KEPT / "manifest.json").read_text())["files"])
MANIFEST = json.loads((KEPT / "manifest.json").read_text())


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(KEPT, tmp_path / "bundle"))


def rewrite(folder, name, data):
    """Replace a file and make the manifest agree, as a hostile server would."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "length_bytes": len(data),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def changed(path, value):
    """The manifest's bytes with one field, at a dotted path, changed."""
    manifest = copy.deepcopy(MANIFEST)
    *parents, last = path.split("/")
    target = manifest
    for key in parents:
        target = target[int(key)] if isinstance(target, list) else target[key]
    target[last] = value
    return json.dumps(manifest).encode()


def test_the_kept_bundle_opens():
    bundle = open_bundle(KEPT)
    assert bundle.smashed_values == 4 * 4 * 4
    assert set(bundle.contents()) == {"manifest.json", *FILES}


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        open_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_named(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} does not match its hash"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_a_truncated_file_is_named(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match=name):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_a_file_that_grew_is_not_read_whole(folder, name):
    with (folder / name).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(BundleError, match=name):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_a_pipe_does_not_hang(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BundleError, match=f"{name} is not a regular file"):
        open_bundle(folder)


def test_a_folder_in_a_files_place_is_named(folder):
    (folder / "forward.onnx").unlink()
    (folder / "forward.onnx").mkdir()
    with pytest.raises(BundleError, match=r"forward\.onnx"):
        open_bundle(folder)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(BundleError, match="nowhere"):
        open_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe\x00",
        b"{}",
        b'{"schema_version": 2}',
        b"[" * 100_000,
        b'{"schema_version": 2, "back": ' + b'{"a":' * 100_000,
        b'{"schema_version": 2, "x": "' + b"a" * MAX_MANIFEST_BYTES + b'"}',
        b"\x80\x04\x95",
    ],
    ids=[
        "empty", "cut", "null", "list", "bytes", "no fields", "few fields", "deep lists",
        "deep objects", "long", "pickle",
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(folder, raw):
    (folder / "manifest.json").write_bytes(raw)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(folder)


def test_deep_values_within_a_manifest_are_refused_or_kept():
    kwargs = 0
    for _ in range(500):
        kwargs = {"a": kwargs}
    manifest = parse_manifest(changed("back/kwargs", kwargs), Path("manifest.json"))
    assert manifest.back.kwargs == kwargs


@pytest.mark.parametrize("version", [0, 1, 3, 10**30, -1])
def test_another_schema_version_is_told(version):
    with pytest.raises(BundleError, match=r"manifest\.json"):
        parse_manifest(changed("schema_version", version), Path("manifest.json"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input/shape", [0, 8, 8]),
        ("input/shape", [-1]),
        ("input/shape", [2**60]),
        ("input/shape", [1] * 9),
        ("input/shape", [1.5]),
        ("input/shape", "1x8x8"),
        ("input/dtype", "object"),
        ("input/name", ""),
        ("input/name", "x" * 10_000),
        ("smashed", []),
        ("smashed/0/shape", [10**100]),
        ("num_outputs", 0),
        ("num_outputs", 10**12),
        ("loss", "slfac.evil:loss"),
        ("graphs/forward/file", "../../etc/passwd"),
        ("graphs/forward/file", "/etc/passwd"),
        ("graphs/forward/file", ".hidden"),
        ("graphs/forward/file", "forward.onnx\n"),
        ("graphs/forward/file", "forward.onnx\0"),
        ("graphs/forward/file", "a/b"),
        ("back/factory", "os.system"),
        ("back/factory", "os:system('ls')"),
        ("back/factory", "../os:system"),
        ("preprocessing/std", [0.0]),
        ("preprocessing/mean", ["a"]),
        ("parameters/0/dtype", "float64"),
        ("files/forward.onnx", {"sha256": "00", "length_bytes": 1}),
        ("files/forward.onnx", {"sha256": "0" * 64, "length_bytes": -1}),
        ("files/forward.onnx", {"sha256": "0" * 64, "length_bytes": 2**40}),
        ("files/manifest.json", {"sha256": "0" * 64, "length_bytes": 1}),
        ("files/..", {"sha256": "0" * 64, "length_bytes": 1}),
        ("files/a\\b", {"sha256": "0" * 64, "length_bytes": 1}),
        ("files", {f"f{i}": {"sha256": "0" * 64, "length_bytes": 1} for i in range(17)}),
        ("files", {}),
        ("extra", 1),
    ],
)
def test_a_field_out_of_bounds_is_refused(folder, path, value):
    (folder / "manifest.json").write_bytes(changed(path, value))
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("smashed/0/name", "odd", "smashed"),
        ("smashed/0/name", "x", "smashed"),
        ("smashed", MANIFEST["smashed"] * 2, "smashed"),
        ("input/name", "odd", r"graphs\.forward\.inputs"),
        ("parameters/0/name", "odd", r"graphs\.forward\.inputs"),
        ("parameters/0/name", "x", "parameters"),
        ("parameters", MANIFEST["parameters"] * 2, "parameters"),
        ("graphs/forward/inputs", ["odd"], r"graphs\.forward\.inputs"),
        ("graphs/forward/outputs", [], "smashed"),
        ("graphs/forward/outputs", MANIFEST["graphs"]["forward"]["outputs"][:1], "backward"),
        ("graphs/backward/inputs", ["odd"], r"graphs\."),
        ("graphs/backward/inputs", [], r"graphs\.smashed_gradients"),
        ("graphs/backward/outputs", [], r"graphs\.gradients"),
        ("graphs/smashed_gradients", {}, r"graphs\.smashed_gradients"),
        ("graphs/smashed_gradients", {"smashed": "odd"}, r"graphs\.smashed_gradients"),
        ("graphs/smashed_gradients", {"smashed": "x"}, r"graphs\.smashed_gradients"),
        ("graphs/gradients/conv1.bias", "odd", r"graphs\.gradients"),
        ("graphs/gradients/odd", "gradient.conv1.bias", r"graphs\.gradients"),
        ("graphs/infer/inputs", [], r"graphs\.infer\.inputs"),
        ("graphs/infer/outputs", ["odd"], r"graphs\.infer\.outputs"),
        (
            "buffers",
            [{"tensor": {"name": "b", "shape": [1]}, "update": "graph", "output": "odd"}],
            "buffers",
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(path, value, said):
    with pytest.raises(BundleError, match=rf"manifest\.json: .*{said}"):
        parse_manifest(changed(path, value), Path("manifest.json"))


def test_a_name_that_climbs_out_is_never_written(tmp_path):
    contents = {name: (KEPT / name).read_bytes() for name in ("manifest.json", *FILES)}
    contents["../escaped"] = b"x"
    with pytest.raises(BundleError, match="not those its manifest lists"):
        install_bundle(tmp_path / "in" / "bundle", contents)
    assert not list(tmp_path.rglob("escaped"))


def test_an_absurd_shape_allocates_nothing(folder):
    raw = changed("smashed/0/shape", [2**24] * 8)
    manifest = parse_manifest(raw, Path("manifest.json"))
    (folder / "manifest.json").write_bytes(raw)
    assert open_bundle(folder).smashed_values == 2 ** (24 * 8)
    assert manifest.smashed[0].shape == (2**24,) * 8


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"\xff" * 8,
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (1000).to_bytes(8, "little") + b"[" * 1000,
    ],
)
def test_a_front_that_is_no_safetensors_is_refused(folder, data):
    rewrite(folder, "front.safetensors", data)
    with pytest.raises(BundleError, match="front state"):
        open_bundle(folder).front_state()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("conv1.bias"),
        lambda state: state.update(more=np.zeros(1, np.float32)),
        lambda state: state.update({"conv1.bias": np.zeros(5, np.float32)}),
        lambda state: state.update({"conv1.bias": np.zeros(4, np.float64)}),
    ],
    ids=["missing", "unknown", "shape", "dtype"],
)
def test_a_front_that_does_not_fit_is_refused(folder, change):
    state = open_bundle(folder).front_state()
    change(state)
    rewrite(folder, "front.safetensors", pack_state(state))
    with pytest.raises(BundleError, match=r"conv1\.bias|more"):
        open_bundle(folder).front_state()


def test_a_scalar_survives_packing():
    packed = pack_state({"n": np.array(3, np.int64)})
    assert b'"shape":[]' in packed


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x08\x0a" * 1000])
def test_an_infer_graph_that_is_none_is_refused(folder, data):
    rewrite(folder, "infer.onnx", data)
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=r"infer\.onnx"):
        open_infer_session(bundle, bundle.front_state())


def field(number, value):
    """A protobuf field: bytes with their length, or a small integer."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    tag = number << 3 | 2
    head = [tag] if tag < 128 else [tag & 127 | 128, tag >> 7]
    length = len(value)
    return bytes([*head, length & 127 | 128, length >> 7 & 127 | 128, length >> 14]) + value


def outside(location, name=b"w"):
    """A TensorProto whose values are said to lie elsewhere."""
    entry = field(13, field(1, b"location") + field(2, location))
    return field(1, 1) + field(2, 1) + field(8, name) + entry + field(14, 1)


WAYS = {
    "initializer": lambda tensor: field(7, field(5, tensor)),
    "sparse": lambda tensor: field(7, field(15, field(1, tensor))),
    "constant": lambda tensor: field(7, field(1, field(5, field(5, tensor)))),
    "tensors": lambda tensor: field(7, field(1, field(5, field(10, tensor)))),
    "branch": lambda tensor: field(7, field(1, field(5, field(6, field(5, tensor))))),
    "function": lambda tensor: field(25, field(7, field(5, field(5, tensor)))),
    "training": lambda tensor: field(20, field(1, field(5, tensor))),
}


@pytest.mark.parametrize("location", [b"../../secret.bin", b"/etc/shadow", b"*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize("way", WAYS)
def test_a_graph_that_reads_other_files_is_refused(folder, way, location):
    # Fields that come twice are merged: so this adds to what the graph holds.
    planted = WAYS[way](outside(location))
    for name in ("forward.onnx", "backward.onnx", "infer.onnx"):
        rewrite(folder, name, (folder / name).read_bytes() + planted)
    bundle = open_bundle(folder)
    graphs = bundle.manifest.graphs
    for graph in (graphs.forward, graphs.backward):
        with pytest.raises(BundleError, match=f"{graph.file} takes values from"):
            open_session(bundle, graph, bundle.front_state(), threads=1)
    with pytest.raises(BundleError, match=r"infer\.onnx takes values from"):
        open_infer_session(bundle, bundle.front_state())


def test_a_tensor_that_is_marked_as_outside_alone_is_refused(folder):
    planted = field(7, field(5, field(8, b"w") + field(14, 1)))
    rewrite(folder, "forward.onnx", (folder / "forward.onnx").read_bytes() + planted)
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=r"forward\.onnx takes values from ''"):
        open_session(bundle, bundle.manifest.graphs.forward, {}, threads=1)


def test_the_kept_graphs_take_from_outside_what_is_injected_alone():
    found = {
        name: external_locations((KEPT / name).read_bytes()) for name in FILES if "onnx" in name
    }
    assert found == {
        "forward.onnx": set(), "backward.onnx": set(), "infer.onnx": {"injected-at-load"},
    }  # fmt: skip


def test_a_graph_that_is_nested_too_deep_is_refused(folder):
    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    rewrite(folder, "forward.onnx", field(7, graph))
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=r"forward\.onnx cannot be opened: .*too deep"):
        open_session(bundle, bundle.manifest.graphs.forward, {}, threads=1)


@given(st.binary(max_size=200))
def test_random_bytes_are_searched_or_refused(data):
    with contextlib.suppress(ValueError):
        external_locations(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_manifest_and_no_front(data):
    with pytest.raises(BundleError):
        parse_manifest(data, Path("manifest.json"))
    with pytest.raises(BundleError):
        unpack_state(open_bundle(KEPT).manifest, data)


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_in_a_manifest_never_crashes(position, mask):
    raw = bytearray((KEPT / "manifest.json").read_bytes())
    raw[position % len(raw)] ^= mask
    with contextlib.suppress(BundleError):
        parse_manifest(bytes(raw), Path("manifest.json"))

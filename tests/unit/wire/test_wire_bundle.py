"""Bundles on disk: written whole or not at all, known by their hash, never at another's cost."""

import hashlib
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from slfac.wire.bundle import Bundle, install_bundle, open_bundle, write_bundle
from slfac.wire.errors import BundleError
from slfac.wire.frame import decode_header
from slfac.wire.manifest import MANIFEST_NAME, MAX_FILES, TensorSpec
from slfac.wire.messages import Reply, Request, Timings
from slfac.wire.transfer import Part, cut_transfer

pytestmark = pytest.mark.device

KEPT = Path(__file__).parents[2] / "data" / "bundles" / "cnn-8x8"


@pytest.fixture(scope="module")
def kept():
    return open_bundle(KEPT)


@pytest.fixture
def contents(kept):
    return kept.contents()


def renamed(bundle, model):
    """The files of a bundle that differs only in its manifest, and so in its id."""
    return msgspec.structs.replace(bundle.manifest, model=model), {
        name: bundle.file(name).read_bytes() for name in bundle.manifest.files
    }


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bundle_is_known_by_the_hash_of_its_manifest(kept):
    raw = (KEPT / MANIFEST_NAME).read_bytes()
    assert kept.id == hashlib.sha256(raw).hexdigest()


def test_what_is_installed_is_what_was_given(kept, contents, tmp_path):
    bundle = install_bundle(tmp_path / "deep" / "er" / "bundle", contents)
    assert isinstance(bundle, Bundle)
    assert bundle.id == kept.id
    assert bundle.manifest == kept.manifest
    assert tree(bundle.path) == contents
    assert [path.name for path in bundle.path.parent.iterdir()] == ["bundle"]
    assert stat.S_IMODE(bundle.path.stat().st_mode) & 0o700 == 0o700


def test_contents_begin_with_the_manifest(contents, kept):
    assert next(iter(contents)) == MANIFEST_NAME
    assert set(contents) == {MANIFEST_NAME, *kept.manifest.files}


def test_writing_twice_gives_the_same_bytes_and_the_same_id(kept, tmp_path):
    manifest, files = renamed(kept, "other")
    first = write_bundle(tmp_path / "a", manifest, files)
    second = write_bundle(tmp_path / "b", manifest, dict(reversed(files.items())))
    assert first.id == second.id != kept.id
    assert tree(first.path) == tree(second.path)


def test_the_largest_bundle_fits_into_one_message(kept, tmp_path):
    manifest, files = renamed(kept, "x")
    more = {f"{i:x}" * 64: b"" for i in range(MAX_FILES - len(files))}
    bundle = write_bundle(tmp_path / "a", manifest, files | more)
    parts = [Part("bundle", name, data) for name, data in bundle.contents().items()]
    reply = Reply(1, 1, "bundle", 0, "train", 0.0, 0.0, 0.0, 0.0, ())
    header = decode_header(cut_transfer(reply, parts)[0][0])
    assert len(header.sections) == MAX_FILES + 1
    with pytest.raises(BundleError, match="files"):
        write_bundle(tmp_path / "b", manifest, files | more | {"one_more": b""})


def test_a_tensor_with_the_longest_name_fits_into_a_message():
    name = TensorSpec(name="n" * 256, shape=(1,)).name
    request = Request(1, 1, "r", "step", 0, 0, 1, Timings(), ())
    frames = cut_transfer(request, [Part("smashed", name, b"")])
    assert decode_header(frames[0][0]).sections[0].name == name


def test_the_manifest_written_lists_the_files_given(kept, tmp_path):
    manifest, files = renamed(kept, "x")
    bundle = write_bundle(tmp_path / "a", msgspec.structs.replace(manifest, files={}), files)
    for name, data in files.items():
        entry = bundle.manifest.files[name]
        assert (entry.sha256, entry.length_bytes) == (hashlib.sha256(data).hexdigest(), len(data))


def test_a_front_has_the_tensors_that_the_manifest_names(kept):
    state = kept.front_state()
    specs = [*kept.manifest.parameters, *(buffer.tensor for buffer in kept.manifest.buffers)]
    assert {name: (x.shape, str(x.dtype)) for name, x in state.items()} == {
        spec.name: (spec.shape, spec.dtype) for spec in specs
    }
    assert all(np.isfinite(x).all() for x in state.values())


def test_a_file_that_is_not_listed_is_not_given(kept):
    with pytest.raises(BundleError, match=r"lists no file '\.\./etc/passwd'"):
        kept.file("../etc/passwd")


def test_smashed_values_count_one_sample(kept):
    assert kept.smashed_values == sum(int(np.prod(s.shape)) for s in kept.manifest.smashed)


def test_an_older_bundle_is_replaced_whole(kept, contents, tmp_path):
    target = tmp_path / "bundle"
    manifest, files = renamed(kept, "old")
    old = write_bundle(target, manifest, {**files, "notes.txt": b"listed in the old manifest"})
    assert (target / "notes.txt").exists()
    new = install_bundle(target, contents)
    assert new.id == kept.id != old.id
    assert tree(target) == contents
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("damage", ["graph", "manifest", "missing file"])
def test_a_damaged_bundle_is_replaced(damage, contents, tmp_path):
    target = tmp_path / "bundle"
    install_bundle(target, contents)
    if damage == "graph":
        (target / "forward.onnx").write_bytes(b"")
    elif damage == "manifest":
        (target / MANIFEST_NAME).write_bytes(b"{")
    else:
        (target / "forward.onnx").unlink()
    install_bundle(target, contents)
    assert tree(target) == contents


def test_an_empty_folder_is_taken(contents, tmp_path):
    (tmp_path / "bundle").mkdir()
    assert tree(install_bundle(tmp_path / "bundle", contents).path) == contents


def extension(folder):
    """A browser extension has a manifest.json as well."""
    (folder / MANIFEST_NAME).write_text('{"manifest_version": 3, "name": "mine"}')
    (folder / "background.js").write_text("mine")


def notes_in_a_bundle(folder):
    shutil.copytree(KEPT, folder, dirs_exist_ok=True)
    (folder / "notes.txt").write_text("mine")


def data_set(folder):
    (folder / "train").mkdir()
    (folder / "train" / "a.png").write_bytes(b"mine")


@pytest.mark.parametrize("make", [extension, notes_in_a_bundle, data_set])
def test_a_folder_that_is_more_than_a_bundle_is_never_touched(make, kept, contents, tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    make(target)
    before = sorted((path, path.is_file() and path.read_bytes()) for path in target.rglob("*"))
    for attempt in (
        lambda: install_bundle(target, contents),
        lambda: write_bundle(target, *renamed(kept, "x")),
    ):
        with pytest.raises(BundleError, match=r"exists and is not a bundle.*choose another folder"):
            attempt()
    after = sorted((path, path.is_file() and path.read_bytes()) for path in target.rglob("*"))
    assert after == before
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_in_the_folders_place_is_left_alone(contents, tmp_path):
    (tmp_path / "bundle").write_text("mine")
    with pytest.raises(BundleError, match="exists and is no folder; choose another folder"):
        install_bundle(tmp_path / "bundle", contents)
    with pytest.raises(BundleError, match="cannot write"):
        install_bundle(tmp_path / "bundle" / "in", contents)
    assert (tmp_path / "bundle").read_text() == "mine"


def spoil_nothing_but_a_hash(contents):
    return {**contents, "forward.onnx": contents["forward.onnx"][:-1] + b"\0"}


def leave_a_file_out(contents):
    return {name: data for name, data in contents.items() if name != "forward.onnx"}


def add_a_file(contents):
    return {**contents, "extra.bin": b""}


@pytest.mark.parametrize("change", [spoil_nothing_but_a_hash, leave_a_file_out, add_a_file])
def test_contents_that_do_not_verify_leave_the_old_bundle(change, kept, contents, tmp_path):
    target = tmp_path / "bundle"
    old = write_bundle(target, *renamed(kept, "old"))
    with pytest.raises(BundleError):
        install_bundle(target, change(contents))
    assert open_bundle(target).id == old.id
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_that_fails_half_way_leaves_the_old_bundle(kept, contents, tmp_path, monkeypatch):
    target = tmp_path / "bundle"
    old = write_bundle(target, *renamed(kept, "old"))
    calls = []

    def full_disk(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(BundleError, match=r"cannot write .*: No space left on device"):
        install_bundle(target, contents)
    assert open_bundle(target).id == old.id
    assert list(tmp_path.iterdir()) == [target]


def test_devices_that_share_a_cache_do_not_hurt_one_another(contents, kept, tmp_path):
    target = tmp_path / "bundle"

    def install(_):
        return install_bundle(target, contents).id

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(install, range(100))) == {kept.id}
    assert tree(target) == contents
    assert list(tmp_path.iterdir()) == [target]

"""A bundle on disk: written once by ``export``, verified by everyone who opens it."""

from __future__ import annotations

import hashlib
import math
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import safetensors
import safetensors.numpy

from slfac.wire.errors import BundleError
from slfac.wire.manifest import (
    HEAD_SCHEMA_VERSION,
    MANIFEST_NAME,
    MAX_FILES,
    SCHEMA_VERSION,
    FileEntry,
    Graph,
    Manifest,
    encode_manifest,
)
from slfac.wire.names import check_names

FRONT_FILE = "front.safetensors"
BACK_FILE = "back.safetensors"
MAX_MANIFEST_BYTES = 1 << 20
_FETCH_AGAIN = "export it again, or delete the folder so that it is fetched from the server"

State = dict[str, np.ndarray]
Part = Literal["whole", "device"]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file matched its hash when it was opened.

    Attributes:
        path: Its folder.
        id: sha256 of its manifest, as hex.
        manifest: The manifest.
    """

    path: Path
    id: str
    manifest: Manifest

    def file(self, name: str) -> Path:
        """Path of one of its files.

        Args:
            name: A name the manifest lists.

        Raises:
            BundleError: The manifest does not list it.
        """
        if name not in self.manifest.files:
            raise BundleError(f"bundle {self.path} lists no file {name!r}", _FETCH_AGAIN)
        return self.path / name

    def front_state(self) -> State:
        """Initial parameters and buffers of the front, by name.

        Raises:
            BundleError: The file cannot be read, or a tensor is missing, or has another
                shape or dtype.
        """
        path = self.file(FRONT_FILE)
        return unpack_state(
            self.manifest, _read(path, _FETCH_AGAIN, self.manifest.files[FRONT_FILE].length_bytes)
        )

    def contents(self, part: Part = "whole") -> dict[str, bytes]:
        """Files with their bytes, manifest first.

        Args:
            part: All of them, or those that a device needs.
        """
        names = [MANIFEST_NAME, *_files_of(self.manifest, part)]
        return {name: (self.path / name).read_bytes() for name in names}

    @property
    def smashed_values(self) -> int:
        """Values that cross the network for one sample, each way."""
        return sum(math.prod(spec.shape) for spec in self.manifest.smashed)


def open_bundle(path: Path, part: Part = "whole") -> Bundle:
    """Open a bundle and verify its files against the manifest.

    Args:
        path: The bundle's folder.
        part: Which files must be there: all, or those that a device needs (which never
            gets the back half).

    Returns:
        The bundle.

    Raises:
        BundleError: The folder or a file is missing, unreadable, does not match its
            hash, or has another schema version; the message names the file.
    """
    remedy = "is this a bundle? `slfac export` writes one"
    raw = _read(path / MANIFEST_NAME, remedy, MAX_MANIFEST_BYTES)
    manifest = parse_manifest(raw, path / MANIFEST_NAME)
    graphs = (*_device_graphs(manifest), manifest.graphs.infer)
    for name in (FRONT_FILE, *(graph.file for graph in graphs)):
        if name not in manifest.files:
            raise BundleError(f"{path / MANIFEST_NAME}: file {name!r} is not listed")
    for name in _files_of(manifest, part):
        entry = manifest.files[name]
        data = _read(path / name, _FETCH_AGAIN, entry.length_bytes)
        _check_file(path / name, data, entry)
    return Bundle(path=path, id=hashlib.sha256(raw).hexdigest(), manifest=manifest)


def write_bundle(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle whole or not at all, and open it again.

    The folder is made beside ``path`` and renamed into place; one that stands there
    already is replaced only if it holds a bundle and nothing else, so nobody's folder
    is lost.

    Args:
        path: The bundle's folder.
        manifest: Its manifest; the field ``files`` is filled in from ``files``.
        files: File name -> bytes.

    Returns:
        The verified bundle.

    Raises:
        BundleError: The folder exists and is not a bundle, or cannot be written.
    """
    entries = {
        name: FileEntry(sha256=hashlib.sha256(data).hexdigest(), length_bytes=len(data))
        for name, data in files.items()
    }
    raw = encode_manifest(msgspec.structs.replace(manifest, files=entries))
    return install_bundle(path, {MANIFEST_NAME: raw, **files})


def install_bundle(path: Path, contents: Mapping[str, bytes], part: Part | None = None) -> Bundle:
    """Put the files of a bundle into a folder, verified before they take its name.

    Args:
        path: The bundle's folder.
        contents: File name -> bytes, as :meth:`Bundle.contents` gives them.
        part: Which files they have to be; None takes the whole and a device's part.

    Returns:
        The verified bundle.

    Raises:
        BundleError: The contents do not match their manifest, or the folder exists and
            is more than a bundle, or cannot be written.
    """
    raw = contents.get(MANIFEST_NAME, b"")
    manifest = parse_manifest(raw, Path(MANIFEST_NAME))
    names = {MANIFEST_NAME, *manifest.files}
    if part is None:
        part = "whole" if set(contents) == names else "device"
    if set(contents) != {MANIFEST_NAME, *_files_of(manifest, part)}:
        raise BundleError("a bundle's files are not those its manifest lists", _FETCH_AGAIN)
    bundle_id = hashlib.sha256(raw).hexdigest()
    try:
        _check_replaceable(path, names)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as name:
            fresh = Path(name) / "bundle"
            fresh.mkdir()
            for file_name, data in contents.items():
                _write_synced(fresh / file_name, data)
            open_bundle(fresh, part)
            if not _holds(path, bundle_id, part):
                _take_name(fresh, path)
    except OSError as error:
        # Another process may have put the same bundle there in the meantime.
        if not _holds(path, bundle_id, part):
            raise BundleError(f"cannot write {path}: {error.strerror}") from error
    return open_bundle(path, part)


def parse_manifest(raw: bytes, path: Path) -> Manifest:
    """Parse and validate the bytes of a manifest.

    Args:
        raw: The file's bytes, from disk or from the network.
        path: What to call it in an error.

    Returns:
        The manifest.

    Raises:
        BundleError: It is not JSON, of another schema version, or a field is wrong or
            does not fit the others.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path} has {len(raw)} bytes, more than a manifest may")
    try:
        version = msgspec.json.decode(raw, type=_Versioned).schema_version
        if version not in {SCHEMA_VERSION, HEAD_SCHEMA_VERSION}:
            raise BundleError(
                f"{path}: schema_version is {version}, this release reads {SCHEMA_VERSION} and "
                f"{HEAD_SCHEMA_VERSION}",
                "install the slfac release that wrote it, or export it again",
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not a valid manifest: {error}", _FETCH_AGAIN) from error
    if len(manifest.files) > MAX_FILES or MANIFEST_NAME in manifest.files:
        raise BundleError(f"{path}: field files is out of bounds", _FETCH_AGAIN)
    if bool(manifest.head) != (manifest.schema_version == HEAD_SCHEMA_VERSION):
        raise BundleError(
            f"{path}: schema_version {HEAD_SCHEMA_VERSION} and a head go together", _FETCH_AGAIN
        )
    check_names(manifest, path)
    return manifest


def check_front_state(manifest: Manifest, state: Mapping[str, np.ndarray]) -> None:
    """Check that a front's state has every tensor, in shape and dtype, and no other.

    Args:
        manifest: The bundle's manifest.
        state: Tensors by name.

    Raises:
        BundleError: Something differs; the message names the tensor.
    """
    specs = [*manifest.parameters, *(buffer.tensor for buffer in manifest.buffers)]
    names = {spec.name for spec in specs}
    if names != set(state):
        odd = min(names ^ set(state))
        raise BundleError(f"front state: tensor {odd!r} is missing or unknown", _FETCH_AGAIN)
    for spec in specs:
        found = state[spec.name]
        if found.shape != spec.shape or found.dtype != np.dtype(spec.dtype):
            raise BundleError(
                f"front state: {spec.name!r} is {found.shape} {found.dtype}, "
                f"the manifest says {spec.shape} {spec.dtype}",
                _FETCH_AGAIN,
            )


def pack_state(state: Mapping[str, np.ndarray]) -> bytes:
    """Front state to safetensors bytes, tensors in the order of their names."""
    return safetensors.numpy.save({k: np.asarray(state[k], order="C") for k in sorted(state)})


def unpack_state(manifest: Manifest, data: bytes) -> State:
    """Front state from safetensors bytes.

    Args:
        manifest: The bundle's manifest, which the state must fit.
        data: Bytes from the network or a file.

    Returns:
        Tensors by name.

    Raises:
        BundleError: The bytes are no safetensors, or do not fit the manifest.
    """
    try:
        state: State = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"front state cannot be read: {error}") from error
    check_front_state(manifest, state)
    return state


class _Versioned(msgspec.Struct):
    schema_version: int


def _read(path: Path, remedy: str, max_bytes: int) -> bytes:
    try:
        # A pipe would block for ever, and a longer file need not be read to be wrong.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is not a regular file", remedy)
        if status.st_size > max_bytes:
            raise BundleError(f"{path} has {status.st_size} bytes, more than {max_bytes}", remedy)
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror}", remedy) from error


def _check_replaceable(path: Path, names: set[str]) -> None:
    """Refuse a folder with files that are neither the old bundle's nor the new one's."""
    if path.exists() and not path.is_dir():
        raise BundleError(f"{path} exists and is no folder", "choose another folder")
    found = {entry.name for entry in path.iterdir()} if path.exists() else set()
    if not found:
        return
    try:
        raw = _read(path / MANIFEST_NAME, "", MAX_MANIFEST_BYTES)
        names = {*names, *parse_manifest(raw, path).files}
    except BundleError:
        pass  # a damaged manifest may be replaced if everything beside it fits
    odd = found - names
    if MANIFEST_NAME not in found or odd:
        beside = f": it holds {min(odd)!r}" if odd else ""
        raise BundleError(f"{path} exists and is not a bundle{beside}", "choose another folder")


def _files_of(manifest: Manifest, part: Part) -> list[str]:
    if part == "whole":
        return sorted(manifest.files)
    files = {graph.file for graph in _device_graphs(manifest)}
    if manifest.head:
        # What a head is worth only its device can tell, with the front's evaluation.
        files.add(manifest.graphs.infer.file)
    return sorted(files | {FRONT_FILE})


def _device_graphs(manifest: Manifest) -> list[Graph]:
    """The graphs that a device trains and, where it has a head, evaluates that with."""
    graphs = [manifest.graphs.forward, manifest.graphs.backward]
    return [*graphs, manifest.head.step, manifest.head.infer] if manifest.head else graphs


def _holds(path: Path, bundle_id: str, part: Part) -> bool:
    try:
        return open_bundle(path, part).id == bundle_id
    except BundleError:
        return False


def _take_name(fresh: Path, path: Path) -> None:
    """Give a folder its name; the one that had it is moved aside first, then deleted."""
    if path.exists():
        path.rename(fresh.with_name("old"))
    fresh.rename(path)


def _check_file(path: Path, data: bytes, entry: FileEntry) -> None:
    if len(data) != entry.length_bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BundleError(f"{path} does not match its hash in the manifest", _FETCH_AGAIN)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

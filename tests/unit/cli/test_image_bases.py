"""Images from others' systems on the command line: what is refused, and how."""

import hashlib
import json
import sys

import pytest

from harness.raspios import make_raspios, root_files
from harness.tegra import make_tegra
from slfac.cli import main
from slfac.device.image import programs

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
        ("--base", "missing.img.xz"): (80, "missing.img.xz: No such file or directory; check"),
        ("--base", "notes.img"): (80, "notes.img is no Raspberry Pi OS: there is no partition"),
        ("--base", "notes.img", "--out", "notes.img"): (2, "'notes.img', which cannot be written"),
        ("--base", "old.img"): (
            80,
            "image: old.img has no cloud-init that reads its boot partition",
        ),
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
    for folder, said in ((tmp_path / "none", "none is no folder; name"), (tmp_path, "holds no")):
        (tmp_path / "a.img.zst").unlink(missing_ok=True)
        code, text = run(capsys, "imager", folder)
        assert (code, said in text) == (80, True), text


def test_what_a_base_needs_is_asked_for_all_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        patch.setattr(programs, "SYSTEM_PATHS", "/nowhere")
        code, text = run(capsys, "build", "--base", "missing.img")
    assert (code, "sudo apt install e2fsprogs mtools" in text) == (3, True), text
    for name in ("backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    code, text = run(capsys, "build", "--base", "missing.img")
    assert (code, "pip install 'slfac[image]'" in text) == (3, True), text


NO_WHEEL = (2, "'notes.txt', which is no wheel; name a .whl file")
NO_FOLDER = (2, "'notes.txt', which cannot be written to: it is no folder; name another folder")
A_FOLDER = (2, "'folder', a folder; name a file in it")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("build", "--board", "qemu", "--wheel", "notes.txt"), NO_WHEEL),
        (("build", "--board", "qemu", "--json", "folder"), A_FOLDER),
        (("deb", "--abi", "cp313", "--wheel", "notes.txt"), NO_WHEEL),
        (("deb", "--abi", "cp313", "--out", "notes.txt"), NO_FOLDER),
        (("jetson", "--installer", "a.run", "--wheel", "notes.txt"), NO_WHEEL),
        (("jetson", "--installer", "folder"), A_FOLDER),
        (("verify", "notes.txt", "--json", "folder"), A_FOLDER),
        (("verify", "notes.txt", "--work", "notes.txt"), NO_FOLDER),
        (("verify", "notes.txt", "--work", "."), (2, "'.', which is not empty")),
        (("verify", "notes.txt", "--limit-s", "nan"), (2, "--limit-s is nan; give 1 to")),
        (("verify", "notes.txt", "--limit-s", "-1"), (2, "--limit-s is -1; give 1 to")),
        (("verify", "notes.txt", "--steps", "0"), (2, "--steps is 0; give 1 to")),
    ],
)
def test_wrong_options_are_refused_before_anything_is_done(
    tmp_path, capsys, monkeypatch, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "folder").mkdir()
    code, text = run(capsys, *arguments)
    assert (code, expected[1] in text) == (expected[0], True), text
    assert len(text.splitlines()) == 1


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

"""``slfac update`` and ``slfac image deb`` on the command line."""

import pytest

from harness.versions import VersionedBoard, version_tree
from slfac.cli import main
from slfac.device.image.update import apply, versions
from slfac.device.image.update.versions import install

pytestmark = pytest.mark.device


@pytest.fixture
def board(tmp_path, monkeypatch):
    board = VersionedBoard(tmp_path / "root")
    install(board, board.unpacked(version_tree()))
    install(board, board.unpacked(version_tree("0.2.0")))
    monkeypatch.setattr(versions, "Board", lambda: board)
    monkeypatch.setattr(apply, "require_administrator", lambda: None)
    return board


@pytest.mark.usefixtures("board")
def test_versions_are_listed(capsys):
    capsys.readouterr()
    assert main(["update", "--list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["version", "release"],
        ["previous", "0.1.0-test", "0.1.0"],
        ["current", "0.2.0-test", "0.2.0"],
    ]


def test_going_back(board, capsys):
    assert main(["update", "--rollback"]) == 0
    assert capsys.readouterr().err == "slfac update: 0.1.0-test runs\n"
    assert board.release() == "0.1.0"


@pytest.mark.usefixtures("board")
def test_a_file_that_is_no_package(tmp_path, capsys):
    (tmp_path / "x.deb").write_text("x")
    assert main(["update", str(tmp_path / "x.deb")]) == 82
    (line,) = capsys.readouterr().err.splitlines()
    assert "is no Debian package" in line


def test_a_machine_that_is_no_board(tmp_path, monkeypatch, capsys):
    elsewhere = versions.Board(tmp_path)
    monkeypatch.setattr(versions, "Board", lambda: elsewhere)
    assert main(["update", "--list"]) == 2
    assert "this is no image of slfac" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--list", "--rollback"], ["a.deb", "--list"]])
def test_one_thing_at_a_time(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["update", *arguments])
    capsys.readouterr()


def test_a_package_is_written_for_each_python(tmp_path, monkeypatch, capsys):
    from slfac.device.image.deb import package

    monkeypatch.setattr(package, "version_tree", lambda *_: version_tree())
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1760000000")
    wanted = ["--abi", "cp311", "--abi", "cp313", "--abi", "cp311"]
    for folder in ("a", "b"):
        assert main(["image", "deb", *wanted, "--out", str(tmp_path / folder)]) == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [f"slfac-device_0.1.0+{abi}-1_arm64.deb" for abi in ("cp311", "cp313")]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "sha256" in capsys.readouterr().err


def test_a_wheel_that_is_none_is_refused(tmp_path, capsys):
    arguments = ["image", "deb", "--abi", "cp313", "--wheel", str(tmp_path / "none.whl")]
    assert main(arguments) == 2
    assert "which is no file" in capsys.readouterr().err

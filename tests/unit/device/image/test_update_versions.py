"""Versions on a board: put in whole, tried, switched to at one instant, and gone back from."""

import ast
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.versions import GOOD, PYTHON, VersionedBoard, version_tree
from slfac.device.image.update import versions
from slfac.device.image.update.versions import (
    MANIFEST,
    VersionError,
    alone,
    install,
    parse_manifest,
    read_manifest,
    require_fit,
    require_whole,
    roll_back,
)

pytestmark = pytest.mark.device

SOURCE = Path(versions.__file__)


@pytest.fixture
def board(tmp_path):
    return VersionedBoard(tmp_path / "root")


def put_in(board, release="0.1.0", **changes):
    return install(board, board.unpacked(version_tree(release, **changes)))


def failing(name="inference", found="it crashed"):
    return [*GOOD[:1], {"level": "failed", "name": name, "found": found}]


def folders(board):
    return sorted(path.name for path in board.versions.iterdir())


def is_whole(board):
    """Whether something whole would run now."""
    version = board.linked("current")
    require_whole(version, read_manifest(version))
    return os.access(version / "bin/slfac", os.X_OK)


def test_the_first_version_is_put_in_and_started(board, capsys):
    version = put_in(board)
    assert board.linked("current") == version == board.versions / "0.1.0-test"
    assert (board.home / "current").readlink() == Path("versions/0.1.0-test")
    assert board.up == "0.1.0"
    assert board.linked("previous") is None
    assert "0.1.0-test is the current version" in capsys.readouterr().out


def test_two_versions_are_kept(board):
    for release in ("0.1.0", "0.2.0", "0.3.0"):
        bytecode = board.root / f"var/lib/slfac/pycache/opt/slfac/versions/{release}-test"
        bytecode.mkdir(parents=True)
        put_in(board, release)
    assert (board.release(), board.release("previous"), board.up) == ("0.3.0", "0.2.0", "0.3.0")
    assert folders(board) == ["0.2.0-test", "0.3.0-test"]
    kept = board.root / "var/lib/slfac/pycache/opt/slfac/versions"
    assert sorted(path.name for path in kept.iterdir()) == ["0.2.0-test", "0.3.0-test"]


def test_files_are_there_once_and_outlive_what_dpkg_removes(board):
    source = board.unpacked(version_tree())
    version = install(board, source)
    assert (version / "lib/other/data.bin").samefile(source / "lib/other/data.bin")
    shutil.rmtree(source)
    assert is_whole(board)


def test_on_another_file_system_they_are_copied(board, monkeypatch):
    def refuse(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    source = board.unpacked(version_tree())
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        install(board, source)
    assert is_whole(board)
    assert not (board.linked("current") / MANIFEST).samefile(source / MANIFEST)


def test_the_same_version_once_more_changes_nothing(board):
    put_in(board)
    put_in(board, "0.2.0")
    inode = board.linked("current").stat().st_ino
    put_in(board, "0.2.0")
    assert board.linked("current").stat().st_ino == inode
    assert board.release("previous") == "0.1.0"


def test_another_build_of_a_release_does_not_replace_the_one_that_runs(board):
    put_in(board)
    put_in(board, more="# another build\n")
    assert folders(board) == ["0.1.0-test", "0.1.0-test.1"]
    assert board.linked("current").name == "0.1.0-test.1"
    assert board.linked("previous").name == "0.1.0-test"


def test_a_version_that_is_damaged_on_the_board_is_put_in_again(board):
    version = put_in(board)
    (version / "lib/other/data.bin").unlink()
    (version / "lib/other/data.bin").write_bytes(b"rot")
    put_in(board)
    assert is_whole(board)
    assert board.linked("current") != version


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"findings": failing()}, "inference: it crashed"),
        ({"findings": failing("device key", "is readable by others")}, "device key: is readable"),
        ({"findings": []}, "encryption: not tried, inference: not tried"),
        ({"says": "Segmentation fault", "code": 139}, "ended with 139: Segmentation fault"),
        ({"says": "[]"}, "ended with 0"),
        ({"says": '{"slfac": "0.0.9", "findings": []}'}, "it is release 0.0.9, not 0.2.0"),
    ],
)
def test_a_version_that_fails_its_trial_never_runs(board, changes, why):
    put_in(board)
    ran = len(board.ran)
    with pytest.raises(VersionError, match=why):
        put_in(board, "0.2.0", **changes)
    assert (board.release(), board.release("previous"), board.up) == ("0.1.0", None, "0.1.0")
    assert folders(board) == ["0.1.0-test"]
    assert not [command for command in board.ran[ran:] if command[0] == "deb-systemd-invoke"]


def test_what_says_nothing_of_the_version_does_not_stop_it(board):
    hot = {"level": "failed", "name": "memory", "found": "20 MB"}
    put_in(board, findings=[*GOOD, hot], code=1)
    assert board.release() == "0.1.0"


def test_its_trial_looks_at_the_boards_own_keys(board):
    put_in(board)
    assert "--keys" not in board.ran[0]
    keys = board.root / "etc/slfac/keys"
    keys.mkdir(parents=True)
    (keys / "device.key_secret").write_text("")
    put_in(board, "0.2.0")
    doctor = next(command for command in reversed(board.ran) if "doctor" in command)
    assert doctor[doctor.index("--keys") + 1] == str(keys)


def test_a_service_that_does_not_start_brings_the_version_before_back(board):
    put_in(board)
    put_in(board, "0.2.0")
    board.stuck = {"0.3.0"}
    with pytest.raises(VersionError, match=r"did not start with 0\.3\.0-test; 0\.2\.0-test runs"):
        put_in(board, "0.3.0")
    assert (board.release(), board.release("previous"), board.up) == ("0.2.0", "0.1.0", "0.2.0")
    assert folders(board) == ["0.1.0-test", "0.2.0-test"]


def test_a_service_that_was_down_before_is_no_fault_of_the_new_version(board):
    put_in(board)
    board.up, board.stuck = "", {"0.2.0"}
    put_in(board, "0.2.0")
    assert board.release() == "0.2.0"


def test_without_systemd_nothing_is_started(tmp_path):
    board = VersionedBoard(tmp_path / "root", systemd=False)
    put_in(board)
    assert board.release() == "0.1.0"
    assert {command[0] for command in board.ran} == {"env"}


def test_without_debians_tools_systemd_is_asked_itself(board):
    put_in(board)
    debian = board.run
    board.run = lambda command: (127, "") if "deb" in command[0] else debian(command)
    put_in(board, "0.2.0")
    assert ["systemctl", "restart", "slfac-device.service"] in board.ran


def test_going_back_and_forth(board):
    put_in(board)
    with pytest.raises(VersionError, match="no version before the current one"):
        roll_back(board)
    put_in(board, "0.2.0")
    roll_back(board)
    assert (board.release(), board.release("previous"), board.up) == ("0.1.0", "0.2.0", "0.1.0")
    roll_back(board)
    assert (board.release(), board.release("previous")) == ("0.2.0", "0.1.0")


def test_going_back_to_what_is_damaged_is_refused(board):
    before = put_in(board)
    put_in(board, "0.2.0")
    (before / "lib/other/data.bin").unlink()
    with pytest.raises(VersionError, match="No such file"):
        roll_back(board)
    assert board.release() == "0.2.0"


def test_one_update_at_a_time(board):
    source = board.unpacked(version_tree())
    with alone(board), pytest.raises(VersionError, match="another update is under way"):
        install(board, source)
    install(board, source)


# What is refused before anything changes.


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"python": "3.9"}, r"for Python 3\.9, and this system has"),
        ({"machine": "riscv64"}, "it is for riscv64, and this board is"),
        ({"version": "../../etc"}, "version cannot be right"),
        ({"version": ".new"}, "version cannot be right"),
        ({"slfac": 1}, "slfac cannot be right"),
        ({"schema": 2}, "is not of schema 1"),
        ({"files": {}}, "files cannot be right"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "passwd' cannot be right"),
        ({"files": {"/etc/passwd": "0" * 64}}, "passwd' cannot be right"),
        ({"files": {"lib/../../x": "0" * 64}}, "x' cannot be right"),
        ({"files": {"lib//x": "0" * 64}}, "x' cannot be right"),
        ({"files": {"lib": "0" * 64}}, "lib"),
        ({"files": {"a\0b": "0" * 64}}, "cannot be right"),
        ({"files": {"bin/slfac": "0" * 63}}, "cannot be right"),
        ({"files": {"bin/slfac": "0" * 64}}, "bin/slfac is damaged"),
        ({"files": {"bin/none": "0" * 64}}, "No such file"),
        ({"files": []}, "files cannot be right"),
    ],
)
def test_a_version_that_is_not_what_it_says_changes_nothing(board, changes, why):
    put_in(board)
    ran = len(board.ran)
    with pytest.raises(VersionError, match=why):
        put_in(board, "0.2.0", **changes)
    assert (board.release(), board.ran[ran:]) == ("0.1.0", [])
    assert folders(board) == ["0.1.0-test"]


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"null", b"[" * 90_000, b" " * (5 << 20)])
def test_a_manifest_that_is_none_is_refused(board, data):
    source = board.unpacked(version_tree())
    (source / MANIFEST).write_bytes(data)
    with pytest.raises(VersionError, match=MANIFEST):
        install(board, source)
    assert not board.home.exists()


def test_links_do_not_lead_out_of_a_version(board, tmp_path):
    source = board.unpacked(version_tree())
    secret = tmp_path / "secret"
    secret.write_bytes((source / "bin/slfac").read_bytes())
    (source / "bin/slfac").unlink()
    (source / "bin/slfac").symlink_to(secret)
    with pytest.raises(VersionError, match="Too many levels"):
        install(board, source)
    assert folders(board) == []


def test_a_file_that_nobody_names_is_left_out(board):
    source = board.unpacked(version_tree())
    (source / "lib/more.pth").write_text("import os")
    assert not (install(board, source) / "lib/more.pth").exists()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
FIELDS = ("schema", "version", "slfac", "python", "machine", "files")


@given(st.dictionaries(st.sampled_from(FIELDS), values), st.booleans())
def test_a_manifest_is_understood_or_refused(fields, right):
    start = {"schema": 1} if right else {}
    with contextlib.suppress(VersionError):
        parse_manifest(json.dumps({**start, **fields}).encode())


def test_it_fits_the_board_it_was_made_for():
    manifest = {"python": "3.11", "machine": "aarch64"}
    require_fit(manifest, python="3.11", machine="aarch64")
    with pytest.raises(VersionError, match="whose version has cp313 in it"):
        require_fit(manifest, python="3.13", machine="aarch64")


# Power.


class PowerLoss(BaseException):
    """The plug was pulled."""


WRITES = (
    *((os, "link"), (os, "fsync"), (os, "sync"), (os, "open"), (os, "unlink"), (os, "rmdir")),
    *((Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (Path, "symlink_to")),
)


def lose_power(monkeypatch, after):
    """Let power go at a system call that changes the disk: none comes after it."""
    calls = []

    def watch(name, real):
        def call(*arguments, **keywords):
            calls.append(name)
            if after and len(calls) >= after:
                raise PowerLoss
            return real(*arguments, **keywords)

        return call

    for owner, name in WRITES:
        monkeypatch.setattr(owner, name, watch(name, getattr(owner, name)))
    return calls


def two_versions(root, stuck=()):
    board = VersionedBoard(root)
    put_in(board)
    put_in(board, "0.2.0")
    board.stuck = set(stuck)
    return board


@pytest.mark.parametrize("stuck", [(), ("0.3.0",)], ids=["works", "is taken back"])
@pytest.mark.parametrize("action", ["install", "roll back"])
def test_power_may_go_at_any_time(tmp_path, monkeypatch, action, stuck):
    def act(board):
        if action == "roll back":
            roll_back(board)
        else:
            with contextlib.suppress(VersionError):
                put_in(board, "0.3.0")

    whole = two_versions(tmp_path / "whole", stuck)
    with monkeypatch.context() as patch:
        calls = lose_power(patch, after=0)
        act(whole)
    expected = whole.release(), whole.release("previous")
    assert len(calls) > (5 if action == "roll back" else 25)
    for after in range(1, len(calls) + 1):
        board = two_versions(tmp_path / f"{after}", stuck)
        with monkeypatch.context() as patch:
            lose_power(patch, after)
            with contextlib.suppress(PowerLoss):
                act(board)
        assert is_whole(board), calls[after - 1]
        if action == "install":
            board.up = "" if board.release() in stuck else board.release()
            act(board)
            found = board.release(), board.release("previous")
            # One that does not start may be the current one, with the way back open.
            assert found == expected or (stuck and "0.2.0" in found), calls[after - 1]
            assert len(folders(board)) <= 2


# It runs before anything of slfac can be trusted to run.


def start(*arguments):
    return subprocess.run(
        [sys.executable, "-I", "-S", str(SOURCE), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_needs_nothing_but_python():
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
        for node in ast.walk(ast.parse(SOURCE.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported <= set(sys.stdlib_module_names)
    assert start("--help").returncode == 0


def test_the_packages_script_runs_it_as_a_program(tmp_path):
    board = VersionedBoard(tmp_path / "root", systemd=False)
    done = start(board.unpacked(version_tree()), "--root", board.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert board.release() == "0.1.0"
    done = start(board.unpacked(version_tree("0.2.0", python="2.7")), "--root", board.root)
    assert done.returncode == 1
    assert done.stderr.startswith(f"slfac: it is for Python 2.7, and this system has {PYTHON}")
    assert len(done.stderr.splitlines()) == 1
    assert board.release() == "0.1.0"

"""What a board takes out of a package, and what it refuses before anything changes."""

import contextlib
import io
import lzma
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.versions import VersionedBoard, version_tree
from slfac.device.image.deb.archive import pack_deb
from slfac.device.image.deb.package import make_package
from slfac.device.image.layer.tree import Entry, Tree
from slfac.device.image.update import apply
from slfac.device.image.update.apply import list_versions, require_administrator, roll_back, update
from slfac.device.image.update.package import require_device_package, unpack_version
from slfac.device.image.update.versions import install, read_manifest, require_whole
from slfac.wire.errors import UpdateError

pytestmark = pytest.mark.device

PAYLOAD = "usr/lib/slfac/layer"
FIELDS = {"Package": "slfac-device", "Version": "1", "Architecture": "arm64"}


def made(path, tree, **fields):
    path.write_bytes(pack_deb({**FIELDS, **fields}, {}, tree, time_s=0))
    return path


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "slfac-device.deb"
    path.write_bytes(make_package("cp313", version_tree("0.2.0"), time_s=0).data)
    return path


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A board with one version, whose dpkg does what the package's script would."""
    board = VersionedBoard(tmp_path / "root")
    install(board, board.unpacked(version_tree()))
    board.dpkg_code = 0
    real = board.run

    def run(command):
        if command[0] != "dpkg":
            return real(command)
        board.ran.append(list(command))
        folder = board.root / "usr/lib/slfac/unpacked"
        folder.parent.mkdir(parents=True, exist_ok=True)
        unpack_version(type(folder)(command[-1]), folder)
        install(board, folder)
        return board.dpkg_code, "dpkg: error processing archive"

    board.run = run
    monkeypatch.setattr(apply, "require_administrator", lambda: None)
    return board


def test_a_version_comes_out_as_it_went_in(package, tmp_path):
    assert require_device_package(package) == "0.2.0+cp313-1"
    unpack_version(package, tmp_path / "out")
    require_whole(tmp_path / "out", read_manifest(tmp_path / "out"))
    assert (tmp_path / "out/bin/slfac").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/manifest.json").stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / "out/usr").exists()


def test_a_board_is_updated_and_goes_back(board, package):
    assert update(board, package) == "0.2.0-test"
    assert [tuple(one) for one in list_versions(board)] == [
        ("0.1.0-test", "0.1.0", "previous"),
        ("0.2.0-test", "0.2.0", "current"),
    ]
    assert roll_back(board) == "0.1.0-test"
    assert [one.role for one in list_versions(board)] == ["current", "previous"]


def test_what_says_nothing_of_itself_is_listed_too(board):
    (board.versions / "by-hand").mkdir()
    assert list_versions(board)[-1] == ("by-hand", "", "")


def unchanged(board, ran):
    names = sorted(path.name for path in board.versions.iterdir())
    commands = [command[0] for command in board.ran[ran:]]
    return board.release() == "0.1.0" and names == ["0.1.0-test"] and "dpkg" not in commands


def test_a_version_that_fails_its_trial_never_reaches_dpkg(board, tmp_path):
    path = tmp_path / "bad.deb"
    tree = version_tree("0.2.0", says="Illegal instruction", code=132)
    path.write_bytes(make_package("cp313", tree, time_s=0).data)
    ran = len(board.ran)
    with pytest.raises(UpdateError, match="ended with 132: Illegal instruction; the version that"):
        update(board, path)
    assert unchanged(board, ran)


def test_what_dpkg_says_is_said(board, package):
    board.dpkg_code = 1
    with pytest.raises(UpdateError, match="dpkg ended with 1: dpkg: error processing archive"):
        update(board, package)


def test_going_back_without_a_version_before(board):
    with pytest.raises(UpdateError, match="no version before the current one"):
        roll_back(board)


def test_only_root_may():
    require_administrator(lambda: 0)
    with pytest.raises(UpdateError, match="only root may change which version runs; run it with"):
        require_administrator(lambda: 1000)


# What is refused.


def test_a_package_that_is_cut_short_anywhere_is_refused(board, package, tmp_path):
    data, cut = package.read_bytes(), tmp_path / "cut.deb"
    ran = len(board.ran)
    for length in (*range(0, 300, 7), *range(300, len(data), len(data) // 40), len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(UpdateError):
            update(board, cut)
    assert unchanged(board, ran)


def test_a_package_with_a_bad_byte_is_refused_or_the_same(board, package, tmp_path):
    data, bad = package.read_bytes(), tmp_path / "bad.deb"
    for place in range(0, len(data), len(data) // 120):
        bad.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        folder = tmp_path / "out"
        with contextlib.suppress(UpdateError):
            require_device_package(bad)
            unpack_version(bad, folder)
            require_whole(folder, read_manifest(folder))
        apply.shutil.rmtree(folder, ignore_errors=True)
    assert board.release() == "0.1.0"


def raw(path, members):
    """A package with a data archive that no tool of ours would make."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for told, data in members:
            told.size = len(data)
            archive.addfile(told, io.BytesIO(data))
    whole = made(path, Tree()).read_bytes()
    start = whole.index(b"data.tar.xz")
    body = lzma.compress(stream.getvalue())
    head = whole[start : start + 48] + f"{len(body):<10}`\n".encode()
    path.write_bytes(whole[:start] + head + body + b"\n" * (len(body) % 2))
    return path


def told(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(f"./{PAYLOAD}/{name}")
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "members",
    [
        [(told("../../../../etc/passwd"), b"x")],
        [(told("/etc/passwd"), b"x")],
        [(told("a", tarfile.SYMTYPE, "/etc"), b""), (told("a/passwd"), b"x")],
        [(told("a", tarfile.LNKTYPE, "/etc/passwd"), b"")],
        [(told("a", tarfile.CHRTYPE), b"")],
        [(told("a", tarfile.FIFOTYPE), b"")],
        [(told("a"), b"x"), (told("a"), b"y")],
        [(told("a"), b"x"), (told("a/b"), b"y")],
        [],
    ],
    ids=["up", "absolute", "link", "hard link", "device", "pipe", "twice", "below", "empty"],
)
def test_what_would_leave_the_folder_is_refused(board, tmp_path, members):
    path = raw(tmp_path / "evil.deb", members)
    ran = len(board.ran)
    with pytest.raises(UpdateError):
        update(board, path)
    assert unchanged(board, ran)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"Package": "bash"}, "is a package of 'bash', not slfac-device"),
        ({"Architecture": "amd64"}, "is for 'amd64', not arm64"),
    ],
)
def test_another_package_is_refused(board, tmp_path, fields, why):
    path = made(tmp_path / "a.deb", version_tree("0.2.0").below(PAYLOAD), **fields)
    with pytest.raises(UpdateError, match=why):
        update(board, path)


def test_another_python_is_refused(board, tmp_path):
    path = made(tmp_path / "a.deb", version_tree("0.2.0", python="3.9").below(PAYLOAD))
    ran = len(board.ran)
    with pytest.raises(UpdateError, match=r"for Python 3\.9"):
        update(board, path)
    assert unchanged(board, ran)
    assert board.ran[ran:] == []


def test_a_package_that_holds_too_much_is_refused(package, tmp_path, monkeypatch):
    from slfac.device.image.update import package as reader

    monkeypatch.setattr(reader, "_MOST_FILES", 2)
    with pytest.raises(UpdateError, match="more than a version can"):
        unpack_version(package, tmp_path / "out")


def test_a_file_that_is_none(board, tmp_path):
    with pytest.raises(UpdateError, match=r"cannot read .*no\.deb"):
        update(board, tmp_path / "no.deb")
    with pytest.raises(UpdateError, match="cannot read"):
        update(board, tmp_path)
    (tmp_path / "text").write_text("Package: slfac-device\n")
    with pytest.raises(UpdateError, match="is no Debian package"):
        update(board, tmp_path / "text")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_package_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "a.deb"
    for start in (b"", b"!<arch>\n"):
        path.write_bytes(start + data)
        with pytest.raises(UpdateError):
            require_device_package(path)


def test_a_link_in_a_tree_is_no_file_of_a_version(tmp_path):
    tree = version_tree()
    tree.entries["lib/evil"] = Entry("link", 0o777, target="/etc/shadow")
    with pytest.raises(UpdateError, match="lib/evil' cannot be right"):
        unpack_version(made(tmp_path / "a.deb", tree.below(PAYLOAD)), tmp_path / "out")

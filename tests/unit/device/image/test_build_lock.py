"""Packages by their lock: what archives do wrong, and what locks may say, ends in one line.

Where each bad input of a device image is tried:

==================================  ==========================================================
no space                            here (packages), test_image_flash (target),
                                    test_image_inject (a full boot partition, a full data
                                    partition), test_image_build (for the image)
interrupted download                here
mirror without a package            here
wrong architecture wheel            test_build_wheels
image file cut short, wrong hash    test_flash_source, test_image_flash
drive pulled out in mid-write       test_flash_loop, test_flash_write
drive smaller than the image        test_flash_drives, test_flash_write, test_flash_loop
bad hostname, URL, key in settings  test_image_settings, test_image_inject_cli
power lost in the first boot        test_board_firstboot, test_board_growroot
Ctrl-C in mid-build                 test_image_build
==================================  ==========================================================
"""

import resource
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.mirror import lock_of, make_deb, mirror
from slfac.cli import main
from slfac.device.image.build.debs import fetch_debs
from slfac.device.image.build.lock import read_lock, wheels_sha256
from slfac.device.image.build.recipe import Recipe, trixie
from slfac.device.image.build.repository import make_repository
from slfac.device.image.build.resolve import resolve
from slfac.wire.errors import ImageError

pytestmark = pytest.mark.device
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def archive(tmp_path):
    """An archive with two packages, one of them of a version with an epoch."""
    with mirror() as served:
        served.add(make_deb(tmp_path, "hello", "1:2.0-3+deb13u1"))
        served.add(make_deb(tmp_path, "large", size=2 << 20))
        yield served


def fetch(archive, folder, *names, snapshot=NOWHERE):
    said = []
    lock = lock_of(*(archive.package(name) for name in names))
    places = fetch_debs(lock, folder, on_status=said.append, snapshot=snapshot)
    return places, said


def recipe(archive, *packages):
    return Recipe(
        suite="trixie",
        abi="cp313",
        sources=(f"deb [trusted=yes] {archive.url} ./",),
        packages=packages,
        options=(),
        variant="extract",
    )


def test_packages_are_fetched_once_and_kept(archive, tmp_path):
    places, said = fetch(archive, tmp_path / "kept", "hello", "large")
    assert said[0] == "fetching 2 of 2 packages, 2 MB"
    assert said[-1] == "fetched 2 of 2 MB"
    for package, path in places:
        assert path.read_bytes() == archive.files[f"/{package.path}"]
    archive.asked.clear()
    assert fetch(archive, tmp_path / "kept", "hello", "large") == (places, [])
    assert archive.asked == []
    # One that was damaged meanwhile is fetched again.
    places[0][1].write_bytes(b"damaged")
    fetch(archive, tmp_path / "kept", "hello", "large")
    assert len(archive.asked) == 1


def test_a_download_that_is_cut_is_tried_again(archive, tmp_path):
    path = f"/{archive.package('large').path}"
    archive.cut[path] = 1
    ((_, deb),), _ = fetch(archive, tmp_path / "kept", "large")
    assert deb.read_bytes() == archive.files[path]
    assert archive.asked == [path, path]


def test_an_interrupted_download_is_named_and_leaves_nothing_half(archive, tmp_path):
    large = archive.package("large")
    archive.cut[f"/{large.path}"] = 99
    with pytest.raises(ImageError) as caught:
        fetch(archive, tmp_path / "kept", "large", "hello")
    assert "the package large 1.0 (arm64) cannot be had" in caught.value.what
    assert f"it ended {large.size_bytes - large.size_bytes // 2} bytes short" in caught.value.what
    assert caught.value.exit_code == 80
    assert {path.suffix for path in (tmp_path / "kept").iterdir()} <= {".deb"}
    # The next try goes on with what is missing.
    archive.cut.clear()
    fetch(archive, tmp_path / "kept", "large", "hello")


def test_what_an_archive_has_no_more_is_remembered_elsewhere(archive, tmp_path):
    lock = lock_of(archive.package("hello"))
    with mirror() as snapshot:
        snapshot.remember("hello", archive)
        data = archive.files.pop(f"/{lock.packages[0].path}")
        ((_, deb),) = fetch_debs(lock, tmp_path, on_status=print, snapshot=snapshot.url)
        assert deb.read_bytes() == data
        assert "/mr/binary/hello/1%3A2.0-3%2Bdeb13u1/binfiles?fileinfo=1" in snapshot.asked


@pytest.mark.parametrize(
    "about", [b"{}", b"[]", b'{"result": [{"hash": 3}]}', b'{"result": []}', b"<html>"]
)
def test_a_package_that_nobody_has_is_named(archive, tmp_path, about):
    lock = lock_of(archive.package("hello"))
    del archive.files[f"/{lock.packages[0].path}"]
    with mirror() as snapshot:
        where = "/mr/binary/hello/1:2.0-3+deb13u1/binfiles?fileinfo=1"
        snapshot.files[where] = about
        with pytest.raises(ImageError) as caught:
            fetch_debs(lock, tmp_path, on_status=print, snapshot=snapshot.url)
    said = caught.value.what
    assert said.startswith("the package hello 1:2.0-3+deb13u1 (arm64) cannot be had: http://")
    assert ".deb: 404 Not Found; http://" in said
    assert "needs a new lock: build without --lock" in caught.value.remedy


def test_another_file_under_its_name_is_refused(archive, tmp_path):
    lock = lock_of(archive.package("hello"))
    path = f"/{lock.packages[0].path}"
    archive.files[path] = bytes(len(archive.files[path]))
    with pytest.raises(ImageError, match="it is another file than the lock says"):
        fetch_debs(lock, tmp_path / "kept", on_status=print, snapshot=NOWHERE)
    assert list((tmp_path / "kept").iterdir()) == []


def test_no_network_is_said(archive, tmp_path):
    package = msgspec.structs.replace(archive.package("hello"), url=NOWHERE)
    with pytest.raises(ImageError, match=r"127.0.0.1:9/.*: .*[Rr]efused.*; check the network"):
        fetch_debs(lock_of(package), tmp_path / "kept", on_status=print, snapshot=NOWHERE)


def test_no_space_for_packages_is_said(archive, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(ImageError, match=r"no space is left for packages in .*; free some"):
            fetch(archive, tmp_path / "kept", "large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_archives_say_which_packages_there_are(archive):
    lock = resolve(recipe(archive, "hello"), 5)
    (found,) = lock.packages
    known = archive.package("hello")
    assert unquote(found.path) == known.path
    assert msgspec.structs.replace(found, path=known.path) == known
    assert (lock.suite, lock.time_s) == ("trixie", 5)
    assert [(a.url, a.suite) for a in lock.archives] == [(archive.url, "./")]


def test_a_mirror_without_a_package_is_named(archive):
    with pytest.raises(ImageError, match="Unable to locate package missing") as caught:
        resolve(recipe(archive, "hello", "missing"), 5)
    assert caught.value.exit_code == 80
    archive.files.clear()
    with pytest.raises(ImageError, match="apt-get update failed"):
        resolve(recipe(archive, "hello"), 5)


def test_an_archive_of_the_packages_is_made_for_the_base(archive, tmp_path):
    places, _ = fetch(archive, tmp_path / "kept", "hello", "large")
    lock = lock_of(*(package for package, _ in places))
    lines = make_repository(lock, places, tmp_path / "one")
    assert lines == [f"deb [trusted=yes] copy://{tmp_path}/one ./"]
    make_repository(lock, places, tmp_path / "two")
    for name in ("Packages", "Release"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    told = (tmp_path / "one" / "Packages").read_text()
    assert told.count("\nFilename: ./") == 2
    assert "Version: 1:2.0-3+deb13u1\n" in told


def test_a_package_that_calls_itself_otherwise_is_refused(archive, tmp_path):
    places, _ = fetch(archive, tmp_path / "kept", "hello")
    package = msgspec.structs.replace(places[0][0], version="9")
    with pytest.raises(ImageError, match="calls itself"):
        make_repository(lock_of(package), [(package, places[0][1])], tmp_path / "a")
    places[0][1].write_bytes(b"no package")
    with pytest.raises(ImageError, match="is no package: dpkg-deb: error"):
        make_repository(lock_of(places[0][0]), places, tmp_path / "b")


def test_a_lock_comes_back_from_its_file(archive, tmp_path):
    lock = lock_of(archive.package("hello"), archive.package("large"))
    (tmp_path / "a.lock.json").write_bytes(lock.text())
    assert read_lock(tmp_path / "a.lock.json") == lock
    other = msgspec.structs.replace(lock, time_s=lock.time_s + 1)
    moved = tuple(msgspec.structs.replace(p, url=NOWHERE) for p in lock.packages)
    assert other.digest != lock.digest
    assert msgspec.structs.replace(lock, packages=moved).digest == lock.digest


def test_a_lock_for_something_else_is_refused(archive, tmp_path, capsys):
    (tmp_path / "a.lock.json").write_bytes(lock_of(archive.package("hello")).text())
    command = ["image", "build", "--board", "qemu", "--lock"]
    assert main([*command, str(tmp_path / "a.lock.json")]) == 80
    assert "build with that release, or without --lock" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "none.json")]) == 80
    assert "No such file or directory; check the path" in capsys.readouterr().err
    (tmp_path / "b.lock.json").write_text("{}")
    assert main([*command, str(tmp_path / "b.lock.json")]) == 80
    assert "is no lock of an image: Object missing required field" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../../etc/passwd"},
        {"path": "/etc/passwd"},
        {"path": "pool/a b.deb"},
        {"url": "file:///etc"},
        {"url": "http://a/?b"},
        {"name": "../a"},
        {"name": "-o"},
        {"version": "1\n2"},
        {"sha256": "../../a"},
        {"size_bytes": -1},
        {"size_bytes": 1 << 40},
    ],
)
def test_a_lock_leads_nowhere_else(archive, tmp_path, changes):
    lock = msgspec.json.decode(lock_of(archive.package("hello")).text())
    lock["packages"][0].update(changes)
    (tmp_path / "a.lock.json").write_bytes(msgspec.json.encode(lock))
    with pytest.raises(ImageError, match="is no lock of an image"):
        read_lock(tmp_path / "a.lock.json")


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(msgspec.json.encode)
)
@settings(max_examples=60)
def test_no_file_ends_in_anything_but_a_lock_or_a_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("lock") / "a.json"
    path.write_bytes(data)
    with pytest.raises(ImageError):
        read_lock(path)


def test_the_present_is_that_of_the_lock(archive, monkeypatch, tmp_path, capsys):
    lock = msgspec.structs.replace(
        lock_of(archive.package("hello")),
        recipe=trixie().digest,
        wheels_sha256=wheels_sha256(trixie()),
    )
    (tmp_path / "a.lock.json").write_bytes(lock.text())
    command = ["image", "build", "--board", "qemu", "--lock", str(tmp_path / "a.lock.json")]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1764000001")
    assert main(command) == 2
    said = "SOURCE_DATE_EPOCH is 1764000001, the lock's is 1764000000; unset SOURCE_DATE_EPOCH"
    assert said in capsys.readouterr().err
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert main(command) == 2
    assert "SOURCE_DATE_EPOCH is 'yesterday'; give seconds since 1970" in capsys.readouterr().err

"""``slfac image flash`` on drives that the kernel has: loop devices, as root."""

import subprocess

import pytest

from harness.images import CHUNK, block_map, describe, disk_image, packed
from harness.loops import loop_device, need_loops, small_disk
from slfac.cli import main

pytestmark = pytest.mark.device
DATA = disk_image(4)
OLD = b"\xa5" * (CHUNK * 6)


@pytest.fixture
def image(tmp_path):
    need_loops()
    path = tmp_path / "small.img.zst"
    path.write_bytes(packed(DATA, ".zst"))
    describe(path, DATA)
    (tmp_path / "small.img.bmap").write_bytes(block_map(DATA))
    return path


@pytest.fixture
def medium(tmp_path):
    path = tmp_path / "medium"
    path.write_bytes(OLD)
    return path


def flash(image, drive, *more):
    return main(["image", "flash", str(image), str(drive), "--confirm", drive.name, *more])


def test_every_byte_arrives_on_a_drive(image, medium, capsys):
    with loop_device(medium) as drive:
        assert flash(image, drive, "--dry-run") == 0
        assert medium.read_bytes() == OLD
        assert flash(image, drive) == 0
    assert medium.read_bytes()[: len(DATA)] == DATA
    assert f"{drive} holds the image: every byte was read back" in capsys.readouterr().err


def test_another_name_is_no_confirmation(image, medium, capsys):
    with loop_device(medium) as drive:
        command = ["image", "flash", str(image), str(drive)]
        assert main([*command, "--confirm", "sdz"]) == 2
        assert "nothing was written" in capsys.readouterr().err
    assert medium.read_bytes() == OLD


def test_a_drive_smaller_than_the_image_is_refused(image, medium, capsys):
    small = medium.with_name("small")
    small.write_bytes(OLD[: len(DATA) - 512])
    with loop_device(small) as drive:
        assert flash(image, drive) == 81
        assert "is refused: " in capsys.readouterr().err
    assert small.read_bytes() == OLD[: len(DATA) - 512]


def test_a_drive_that_may_not_be_written_is_refused(image, medium, capsys):
    with loop_device(medium, "--read-only") as drive:
        assert flash(image, drive) == 81
        assert "read-only" in capsys.readouterr().err
    assert medium.read_bytes() == OLD


def test_a_drive_that_is_mounted_is_refused(image, medium, tmp_path, capsys):
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", str(medium)], check=True, capture_output=True
    )
    before = medium.read_bytes()
    with loop_device(medium) as drive:
        (tmp_path / "at").mkdir()
        where = [str(drive), str(tmp_path / "at")]
        if subprocess.run(["mount", "-o", "ro", *where], check=False).returncode:
            pytest.skip("this machine lets nobody mount")
        try:
            assert flash(image, drive) == 81
            assert f"{drive} is mounted at {tmp_path}/at" in capsys.readouterr().err
        finally:
            subprocess.run(["umount", where[1]], check=True)
    assert medium.read_bytes() == before


def test_a_drive_that_somebody_holds_is_refused(image, medium, capsys):
    from slfac.device.image.flash.target import open_target

    with loop_device(medium) as drive:
        with open_target(drive, len(DATA)):
            assert flash(image, drive) == 81
        assert f"{drive} is in use; unmount it" in capsys.readouterr().err
    assert medium.read_bytes() == OLD


def test_a_medium_that_fails_in_mid_write_starts_no_board(image, tmp_path, capsys):
    with small_disk(tmp_path / "disk", 9 << 20) as folder:
        medium = folder / "medium"
        with medium.open("wb") as stream:
            # A table of partitions that was there before.
            stream.write(OLD[:CHUNK])
            # More than there is room for: the kernel tells the drive's reader of an error.
            stream.truncate(len(OLD))
        with loop_device(medium) as drive:
            assert flash(image, drive) == 81
            said = capsys.readouterr().err
            assert f"{drive} failed or was pulled out: Input/output error" in said
            assert "is not complete and starts no board; write it again" in said
        assert not any(medium.read_bytes()[:CHUNK])

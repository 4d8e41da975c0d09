"""Which drives may be written: those whose loss nobody would regret."""

from pathlib import Path

import pytest

from harness.images import laptop, lsblk, node
from slfac.device.image.flash.disks import list_disks
from slfac.device.image.flash.guard import (
    candidates,
    check_disk,
    find_disk,
    objections,
    root_number,
)
from slfac.wire.errors import DriveError

pytestmark = pytest.mark.device
NEED = 2_000_000_000
ROOT = "252:1"


def disks(nodes=None):
    return list_disks(lambda: lsblk(laptop() if nodes is None else nodes))


def why(name):
    (disk,) = (d for d in disks() if d.name == name)
    return "; ".join(objections(disk, need_bytes=NEED, root=ROOT))


def test_only_what_can_be_taken_out_and_is_not_used_is_offered():
    found = candidates(disks(), need_bytes=NEED, root=ROOT)
    assert [disk.path for disk in found] == ["/dev/sdb", "/dev/sdh", "/dev/mmcblk0"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nvme0n1", "/dev/nvme0n1p1 is mounted at /boot/efi"),
        ("nvme0n1", "/dev/mapper/cryptroot is in use by crypt"),
        ("nvme0n1", "/dev/vg-root is mounted at /"),
        ("nvme0n1", "/dev/vg-swap is swap space in use"),
        ("nvme0n1", "this system runs from it"),
        ("nvme0n1", "is built into this machine"),
        ("sda", "is built into this machine"),
        ("sdc", "/dev/sdc1 is mounted at /media/me/PHOTOS"),
        ("sdd", "has no medium in it"),
        ("sde", "is read-only"),
        ("sdf", "/dev/sdf1 is part of a ZFS pool"),
        ("sdg", "/dev/md127 is in use by raid1"),
        ("sdi", "holds 5.0 TB, more than any card"),
        ("sdc1", "is no whole drive (part)"),
        ("mmcblk1boot0", "is no whole drive (firmware)"),
        ("sr0", "is no whole drive (rom)"),
        ("loop0", "/dev/loop0 is mounted at /snap/core"),
    ],
)
def test_others_are_refused_and_every_reason_is_named(name, reason):
    assert reason in why(name)


def test_a_loop_device_may_be_written_if_it_is_named():
    assert why("loop1") == ""


def test_a_drive_smaller_than_the_image_is_refused_and_one_of_its_size_is_not():
    (stick,) = disks([node("sdb", rm=True, size=1000)])
    assert objections(stick, need_bytes=1000, root=ROOT) == []
    with pytest.raises(
        DriveError, match=r"sdb \(no name\) is refused: holds 1000 bytes, the image"
    ):
        check_disk(stick, need_bytes=1001, root=ROOT)


def test_older_releases_of_lsblk_write_texts_and_one_mount_point():
    old = {
        "name": "sdb",
        "type": "disk",
        "size": "8000000000",
        "ro": "0",
        "rm": "1",
        "mountpoint": None,
        "children": [{"name": "sdb1", "type": "part", "ro": "0", "mountpoint": "/mnt"}],
    }
    stick, part = disks([old])
    assert (stick.path, stick.size_bytes, stick.read_only, stick.pluggable) == (
        *("/dev/sdb", 8_000_000_000),
        *(False, True),
    )
    assert [held.how for held in stick.held] == ["mounted at /mnt"]
    assert part.kind == "part"


def test_what_drives_say_of_themselves_cannot_speak_to_the_terminal():
    (stick,) = (d for d in disks() if d.name == "sdb")
    assert stick.title == "SanDisk Ultra [31m serial 4C530001"


def test_a_link_leads_to_its_drive(tmp_path):
    drive, link = tmp_path / "sdz", tmp_path / "usb-SanDisk"
    drive.touch()
    link.symlink_to(drive)
    found = disks([node("sdz", path=str(drive), rm=True)])
    assert find_disk(found, link).name == "sdz"
    with pytest.raises(DriveError, match="is no drive of this machine; `slfac image flash IMAGE`"):
        find_disk(found, tmp_path / "other")


@pytest.mark.parametrize(
    "printed",
    [
        b"",
        b"[]",
        b"{}",
        b'{"blockdevices": 3}',
        b'{"blockdevices": [{}]}',
        b"\xff",
        b"[" * 100_000,
        b'{"blockdevices": [{"name": "a", "size": "many"}]}',
    ],
)
def test_what_cannot_be_read_is_refused(printed):
    with pytest.raises(DriveError, match="lsblk"):
        list_disks(lambda: printed)


def test_this_machine_is_told_apart():
    major, minor = root_number().split(":")
    assert int(major) >= 0
    assert int(minor) >= 0
    assert Path("/").stat().st_dev

"""The root partition takes the whole card, once, whatever the power does."""

import contextlib
import os
import struct

import pytest

from harness.cards import MIB, SECTOR, gpt, mbr
from slfac.device.image.board import growroot
from slfac.device.image.partitions import read_partitions

pytestmark = pytest.mark.device

BUILT = 66 * MIB // SECTOR
CARD = 200 * MIB // SECTOR
#: Boot, data, and the root last.
LAYOUT = ((1, 0x0C, 1, 40), (2, 0x83, 41, 8), (3, 0x83, 49, 16))


class Machine:
    """A machine that runs from a card: what its kernel tells, and its disk.

    Args:
        root: Where to make it.
        table: The disk's first sectors.
        layout: Its partitions, as the kernel knows them.
        own: Number of the one that it runs from.
    """

    def __init__(self, root, table, layout=LAYOUT, own=3):
        self.root, self.layout = root, layout
        self.ran = []
        self.code = 0
        self.disk = root / "dev" / "mmcblk0"
        self.disk.parent.mkdir(parents=True)
        self.disk.write_bytes(table)
        os.truncate(self.disk, CARD * SECTOR)
        self.put(
            "proc/self/mountinfo", "21 1 0:5 / /dev rw\n22 1 179:3 / / rw - ext4 /dev/root rw\n"
        )
        place = self.put("sys/devices/mmc/block/mmcblk0/size", str(CARD)).parent
        for number, _, start, size in layout:
            for name, value in (
                ("partition", number),
                ("start", start * MIB // SECTOR),
                ("size", size * MIB // SECTOR),
            ):
                self.put(f"sys/devices/mmc/block/mmcblk0/mmcblk0p{number}/{name}", f"{value}\n")
        link = root / "sys/dev/block/179:3"
        link.parent.mkdir(parents=True)
        link.symlink_to(place / f"mmcblk0p{own}")
        self.put("usr/sbin/resize2fs", "")

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, command):
        self.ran.append([part.replace(str(self.root), "") for part in command])
        return self.code

    def grow(self):
        return growroot.grow_root(self.root, self.run)

    def partitions(self):
        handle = os.open(self.disk, os.O_RDONLY)
        try:
            return read_partitions(handle, CARD * SECTOR)
        finally:
            os.close(handle)


TABLES = {"mbr": mbr(LAYOUT), "gpt": gpt(LAYOUT, BUILT)}
GROWN = [
    ["partx", "--update", "--nr", "3", "/dev/mmcblk0"],
    ["resize2fs", "/dev/mmcblk0p3"],
]


@pytest.fixture(params=TABLES)
def machine(tmp_path, request):
    return Machine(tmp_path / "root", TABLES[request.param])


def test_the_last_partition_takes_the_rest_of_the_card(machine):
    before = machine.partitions()
    assert machine.grow() == "the root partition has 0.2 GB now"
    after = machine.partitions()
    assert after[:2] == before[:2]
    assert after[2].start_bytes == before[2].start_bytes
    left = CARD * SECTOR - after[2].start_bytes - after[2].size_bytes
    assert 0 <= left <= MIB
    assert (after[2].start_bytes + after[2].size_bytes) % MIB == 0
    assert machine.ran == GROWN
    # Once.
    assert machine.grow() == ""
    assert machine.ran == GROWN


def test_a_gpt_ends_with_its_copy(tmp_path):
    machine = Machine(tmp_path / "root", TABLES["gpt"])
    machine.grow()
    disk = machine.disk.read_bytes()
    first, copy = disk[SECTOR : 2 * SECTOR], disk[-SECTOR:]
    assert copy[:8] == b"EFI PART"
    assert struct.unpack_from("<QQ", first, 24) == (1, CARD - 1)
    assert struct.unpack_from("<QQ", copy, 24) == (CARD - 1, 1)
    (table,) = struct.unpack_from("<Q", copy, 72)
    assert disk[table * SECTOR : -SECTOR] == disk[2 * SECTOR : 34 * SECTOR]
    assert struct.unpack_from("<I", first, 88) == struct.unpack_from("<I", copy, 88)
    last_usable = struct.unpack_from("<Q", first, 48)[0]
    assert machine.partitions()[2].size_bytes <= (last_usable + 1) * SECTOR


def test_a_card_that_was_copied_to_a_larger_one_grows_again(machine):
    machine.grow()
    machine.put("sys/devices/mmc/block/mmcblk0/size", str(CARD + 100 * MIB // SECTOR))
    os.truncate(machine.disk, CARD * SECTOR + 100 * MIB)
    size = machine.partitions()[2].size_bytes
    assert machine.grow().startswith("the root partition has 0.")
    handle = os.open(machine.disk, os.O_RDONLY)
    grown = read_partitions(handle, CARD * SECTOR + 100 * MIB)[2].size_bytes
    os.close(handle)
    assert grown == size + 100 * MIB


def test_a_partition_that_is_not_the_last_stays_as_it_is(tmp_path):
    layout = ((1, 0x0C, 1, 40), (3, 0x83, 41, 8), (2, 0x83, 49, 16))
    machine = Machine(tmp_path / "root", mbr(layout), layout)
    before = machine.disk.read_bytes()
    assert machine.grow() == ""
    assert machine.disk.read_bytes() == before
    assert machine.ran == []


def test_one_that_is_large_already_only_has_its_file_system_grown(tmp_path):
    # A power loss between the table and the file system.
    layout = (*LAYOUT[:2], (3, 0x83, 49, 151))
    machine = Machine(tmp_path / "root", mbr(layout), layout)
    assert machine.grow() == ""
    assert machine.ran == [GROWN[1]]


def test_without_resize2fs_systemd_does_it(machine):
    (machine.root / "usr/sbin/resize2fs").unlink()
    machine.grow()
    assert machine.ran[-1] == ["/usr/lib/systemd/systemd-growfs", "/"]


def test_a_root_that_is_no_partition_stays_as_it_is(machine):
    machine.put("proc/self/mountinfo", "22 1 0:25 / / rw - overlay overlay rw\n")
    assert machine.grow() == ""
    machine.put("proc/self/mountinfo", "")
    assert machine.grow() == ""
    assert machine.ran == []


@pytest.mark.parametrize(
    ("at", "piece"),
    [
        (510, b"\0\0"),
        (446 + 32 + 8, b"\1"),
        (SECTOR, b"X"),
        (SECTOR + 84, b"\xff\xff"),
        (SECTOR + 72, b"\xff"),
        (2 * SECTOR + 2 * 128 + 32, b"\1"),
    ],
)
def test_a_table_that_cannot_be_right_is_left_alone(tmp_path, at, piece):
    kind = "mbr" if 446 <= at < 500 else "gpt"
    machine = Machine(tmp_path / "root", TABLES[kind])
    with machine.disk.open("r+b") as stream:
        stream.seek(at)
        stream.write(piece)
    before = machine.disk.read_bytes()
    with pytest.raises(growroot.GrowError):
        machine.grow()
    assert machine.disk.read_bytes() == before
    assert machine.ran == []


def test_a_program_that_fails_is_tried_again_at_the_next_boot(machine):
    machine.code = 1
    with pytest.raises(growroot.GrowError, match=r"`partx .* ended with 1"):
        machine.grow()
    machine.code = 0
    machine.grow()
    assert GROWN[1] in machine.ran


class PowerLoss(BaseException):
    """The plug was pulled."""


@pytest.mark.parametrize("kind", TABLES)
def test_power_may_go_at_any_write(tmp_path, monkeypatch, kind):
    whole = Machine(tmp_path / "whole", TABLES[kind])
    whole.grow()
    expected = whole.partitions()
    real = os.pwrite
    for after in range(1, 5):
        machine = Machine(tmp_path / f"{after}", TABLES[kind])
        calls = []

        def write(*arguments, calls=calls, after=after):
            calls.append(0)
            if len(calls) == after:
                raise PowerLoss
            return real(*arguments)

        with monkeypatch.context() as patch, contextlib.suppress(PowerLoss):
            patch.setattr(os, "pwrite", write)
            machine.grow()
        # The kernel finds a table at the beginning, or else the copy at the end.
        if kind == "gpt":
            handle = os.open(machine.disk, os.O_RDONLY)
            with contextlib.suppress(growroot.GrowError):
                growroot.read_gpt(handle, 1)
                calls.clear()
            if calls:
                growroot.read_gpt(handle, CARD - 1)
            os.close(handle)
        machine.grow()
        assert machine.partitions() == expected


def test_as_a_program_it_never_ends_in_a_traceback(machine, capsys):
    assert growroot.main(["--root", str(machine.root / "nowhere")]) == 1
    assert "the root partition cannot grow: " in capsys.readouterr().out
    machine.put("proc/self/mountinfo", "")
    assert growroot.main(["--root", str(machine.root)]) == 0
    assert capsys.readouterr().out == ""

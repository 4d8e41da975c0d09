"""Settings and data into real images, and back; images that are none."""

import dataclasses
import json
import os
import stat
from pathlib import Path

import pytest

from harness.cards import LAYOUT, MIB, boot_file, fill, gpt, make_card, mbr, mtool
from harness.images import packed
from slfac.device.image.flash.disks import Disk, Held
from slfac.device.image.inject import inject, injected, room_for
from slfac.device.image.mark import MARK, Mark, pack_mark, unpack_mark
from slfac.device.image.opened import open_image, refuse_used
from slfac.device.image.programs import run_program
from slfac.device.image.settings import Document, Wifi
from slfac.wire.errors import (
    DataError,
    DriveError,
    ImageError,
    MissingExtraError,
    SettingsError,
    SlfacError,
)

pytestmark = pytest.mark.device

PSK = "5ec2e7" * 10 + "beef"
SECRET = Document(hostname="pi-1", wifi=Wifi(ssid=b"lab".hex(), psk=PSK, country="DE"))
PLAIN = Document(hostname="pi-2")


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    """A card as it was built."""
    return make_card(tmp_path_factory.mktemp("blank") / "blank.img").read_bytes()


@pytest.fixture
def card(tmp_path, blank):
    path = tmp_path / "my card: (1).img"
    path.write_bytes(blank)
    return path


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "A.png").write_bytes(b"capital")
    (folder / "train" / "a.png").write_bytes(b"small")
    (folder / "labels.txt").write_bytes(b"x" * 100_000)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def test_settings_are_written_read_back_and_replaced(card):
    opened = open_image(card)
    assert opened.mark.board == "qemu"
    assert injected(opened) is None
    inject(opened, SECRET)
    assert json.loads(boot_file(card, "slfac/device.json"))["hostname"] == "pi-1"
    assert injected(open_image(card)) == SECRET
    inject(opened, PLAIN)
    assert injected(open_image(card)) == PLAIN


def test_nothing_else_on_the_card_changes(card, blank):
    inject(open_image(card), SECRET)
    changed = card.read_bytes()
    start, size = LAYOUT[0][2] * MIB, LAYOUT[0][3] * MIB
    assert changed[:start] == blank[:start]
    assert changed[start + size :] == blank[start + size :]
    assert unpack_mark(boot_file(card, MARK)) == Mark(
        board="qemu", version="0.1.0", data_partition=3
    )


def test_what_was_injected_before_is_nowhere_on_the_card_any_more(card):
    inject(open_image(card), SECRET)
    assert card.read_bytes().count(PSK.encode()) == 1
    inject(open_image(card), PLAIN)
    assert PSK.encode() not in card.read_bytes()


def test_pieces_of_a_file_in_several_places_are_all_wiped(card):
    where = f"{card}@@{MIB}"
    names = [f"::/{number}" for number in range(40)]
    for name in names:
        mtool("mcopy", "-i", where, "-", name, given=b"x" * 512)
    fill(card)
    for name in names[::2]:
        mtool("mdel", "-i", where, name)
    pieces = b"".join(b"secret-%05d!" % number for number in range(700))
    mtool("mcopy", "-i", where, "-", "::/slfac/device.json", given=pieces)
    assert mtool("mshowfat", "-i", where, "::/slfac/device.json").count(b"<") > 10
    assert card.read_bytes().count(b"secret-") > 600
    open_image(card).boot.erase("slfac/device.json")
    assert b"secret-" not in card.read_bytes()


def test_a_card_with_secrets_is_its_owners_alone(card):
    card.chmod(0o664)
    inject(open_image(card), PLAIN)
    assert stat.S_IMODE(card.stat().st_mode) == 0o664
    inject(open_image(card), SECRET)
    assert stat.S_IMODE(card.stat().st_mode) == 0o600


def test_a_table_of_either_kind_will_do(tmp_path):
    card = make_card(tmp_path / "gpt.img", table=gpt())
    inject(open_image(card), PLAIN)
    assert injected(open_image(card)) == PLAIN


def test_data_fills_its_partition_and_nothing_else(card, blank, data):
    # Somebody's bytes before and behind it, not holes.
    full = bytearray(blank)
    full[41 * MIB :] = b"somebody's bytes" * ((len(blank) - 41 * MIB) // 16)
    blank = bytes(full)
    card.write_bytes(blank)
    opened = open_image(card)
    partition, contents = room_for(opened, data)
    assert (partition.number, contents.files) == (3, 3)
    inject(opened, PLAIN, data=data)
    changed = card.read_bytes()
    root = slice(LAYOUT[1][2] * MIB, (LAYOUT[1][2] + LAYOUT[1][3]) * MIB)
    assert changed[root] == blank[root]
    assert changed[65 * MIB :] == blank[65 * MIB :]
    where = f"{card}?offset={57 * MIB}"
    for name, expected in (("train/A.png", b"capital"), ("train/a.png", b"small")):
        assert run_program(["debugfs", "-R", f"cat /{name}", where]).output == expected
    listing = run_program(["debugfs", "-R", "ls -l /train", where]).output.decode()
    assert "100644" in listing
    # A second time, in its place.
    (data / "train" / "a.png").write_bytes(b"new")
    inject(opened, PLAIN, data=data)
    assert run_program(["debugfs", "-R", "cat /train/a.png", where]).output == b"new"


def test_one_file_is_told_from_a_folder_of_them(card, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "mnist.npz").write_bytes(b"x")
    assert room_for(open_image(card), folder)[1].only == "mnist.npz"


def test_data_that_cannot_go_there_is_refused_before_anything_is_written(card, blank, tmp_path):
    opened = open_image(card)

    def refused(folder):
        with pytest.raises(DataError) as caught:
            inject(opened, SECRET, data=folder)
        assert card.read_bytes() == blank
        return str(caught.value)

    folder = tmp_path / "d"
    assert "is no folder" in refused(folder)
    folder.mkdir()
    assert "is empty" in refused(folder)
    (folder / "big").write_bytes(bytes(9 * MIB))
    assert "--data-at LABEL/FOLDER" in refused(folder)
    (folder / "big").write_bytes(b"")
    (folder / "link").symlink_to("/etc/passwd")
    assert "neither a file nor a folder" in refused(folder)
    (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    assert "neither a file nor a folder" in refused(folder)
    (folder / "pipe").unlink()
    (folder / "big").chmod(0o600)
    assert "chmod -R a+rX" in refused(folder)


def test_data_that_does_not_fit_after_all_says_so(card, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(3000):
        (folder / str(number)).touch()
    # Every file takes an inode, whatever it holds.
    with pytest.raises(SlfacError, match=r"partition 3|partition for data"):
        inject(open_image(card), PLAIN, data=folder)


def test_an_image_without_such_a_partition_says_what_to_do(tmp_path, data):
    card = make_card(tmp_path / "c.img", mark=Mark(board="rpi", version="1"))
    with pytest.raises(DataError, match=r"no partition for data; .*--data-at LABEL/FOLDER"):
        inject(open_image(card), PLAIN, data=data)
    card = make_card(tmp_path / "c.img", mark=Mark(board="rpi", version="1", data_partition=4))
    with pytest.raises(ImageError, match=r"has no partition 4, though its slfac/image\.json says"):
        inject(open_image(card), PLAIN, data=data)


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        (b"", "is damaged"),
        (b"{", "is damaged"),
        (b"[" * 50_000, "is damaged"),
        (b'{"schema": 1}', "is damaged"),
        (b'{"schema": 1, "board": "rpi", "version": "1", "data_partition": 0}', "is damaged"),
        (b'{"schema": 2}', "is of schema 2, this release reads 1"),
        (b" " * 70_000, "has more than 65536 bytes"),
    ],
)
def test_a_mark_that_is_none_is_refused(tmp_path, mark, said):
    card = make_card(tmp_path / "card.img", mark=mark)
    with pytest.raises(ImageError, match=said):
        open_image(card)


def test_a_mark_may_say_more_one_day():
    mark = Mark(board="rpi", version="1")
    grown = json.loads(pack_mark(mark)) | {"kernel": "6.12"}
    assert unpack_mark(json.dumps(grown).encode()) == mark


@pytest.mark.parametrize("suffix", [".zst", ".xz", ".gz"])
def test_a_compressed_image_is_told_to_be_written_first(tmp_path, blank, suffix):
    path = tmp_path / f"card.img{suffix}"
    path.write_bytes(packed(blank[: 1 << 16], suffix))
    with pytest.raises(ImageError, match=r"is compressed by \w+; .*slfac image flash"):
        open_image(path)


def test_what_is_no_image_is_refused(tmp_path, card, blank):
    def refused(path):
        with pytest.raises(ImageError) as caught:
            open_image(path)
        return str(caught.value)

    assert "No such file" in refused(tmp_path / "nowhere")
    assert "name an image's file, or a drive" in refused(tmp_path)
    assert "is no image" in refused("/dev/null")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is no image" in refused(pipe)
    card.write_bytes(b"")
    assert "no partition table" in refused(card)
    card.write_bytes(blank[: 50 * MIB])
    assert "was cut short" in refused(card)
    card.write_bytes(mbr([(1, 0x83, 1, 40)]) + bytes(45 * MIB))
    assert "no FAT partition of it holds slfac/image.json" in refused(card)
    card.write_bytes(mbr() + bytes(65 * MIB))
    assert "no FAT partition of it holds slfac/image.json" in refused(card)


def test_somebody_elses_card_is_not_ours(card):
    mtool("mdel", "-i", f"{card}@@{MIB}", f"::/{MARK}")
    before = card.read_bytes()
    with pytest.raises(ImageError, match="is no image of slfac"):
        open_image(card)
    assert card.read_bytes() == before


def test_a_file_that_a_loop_device_stands_on_is_in_use(card, tmp_path):
    backing = tmp_path / "sys" / "block" / "loop7" / "loop" / "backing_file"
    backing.parent.mkdir(parents=True)
    backing.write_text(f"{card}\n")
    with pytest.raises(DriveError, match=r"/dev/loop7 is attached to it; unmount or close"):
        open_image(card, system=tmp_path / "sys")
    backing.write_text("/another\n")
    open_image(card, system=tmp_path / "sys")


def test_a_drive_that_is_mounted_is_in_use():
    disk = Disk(
        *("/dev/null", "null", "disk", 1 << 30, False, True, "", "", "", ()),
        held=(Held("/dev/sdb1", "mounted at /media/me"),),
        numbers=frozenset(),
    )
    path, system = Path("/dev/null"), Path("/sys")
    with pytest.raises(DriveError, match=r"/dev/sdb1 is mounted at /media/me; unmount"):
        refuse_used(path, is_file=False, disks=lambda: [disk], system=system)
    free = dataclasses.replace(disk, held=())
    refuse_used(path, is_file=False, disks=lambda: [free], system=system)
    with pytest.raises(DriveError, match="is no drive of this machine"):
        refuse_used(path, is_file=False, disks=list, system=system)


def test_paths_that_programs_take_apart_are_refused(tmp_path, blank):
    for name in ("a@@1.img", "a?b.img"):
        path = tmp_path / name
        path.write_bytes(blank)
        with pytest.raises(SettingsError, match="give it another name"):
            open_image(path)


def test_a_full_boot_partition_says_so(card):
    fill(card)
    with pytest.raises(ImageError, match="the boot partition is full"):
        inject(open_image(card), Document(ssh_keys=("x" * 60_000,)))


def test_a_missing_program_is_named_with_its_package(card, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"mshowfat is not .*; install the package mtools"):
        open_image(card)


def test_a_file_system_that_leads_in_circles_ends(card):
    """A hostile card: the chain of device.json's clusters never ends."""
    where = f"{card}@@{MIB}"
    mtool("mcopy", "-i", where, "-", "::/slfac/device.json", given=b"x" * 4000)
    runs = mtool("mshowfat", "-i", where, "::/slfac/device.json").decode()
    first = int(runs.split("<")[1].split("-")[0])
    raw = bytearray(card.read_bytes())
    reserved = int.from_bytes(raw[MIB + 14 : MIB + 16], "little") * 512
    fat_bytes = int.from_bytes(raw[MIB + 36 : MIB + 40], "little") * 512
    for copy in range(2):
        at = MIB + reserved + copy * fat_bytes + 4 * (first + 2)
        raw[at : at + 4] = first.to_bytes(4, "little")
    card.write_bytes(raw)
    with pytest.raises(SlfacError):
        injected(open_image(card))

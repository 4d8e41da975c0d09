"""Disks of images, made of real file systems and read back by what reads such disks."""

import json
import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cards import mtool, with_tools
from harness.images import quiet
from slfac.device.image.build.bill import bill_of_materials
from slfac.device.image.build.blockmap import block_map
from slfac.device.image.build.boards import BOARDS
from slfac.device.image.build.disk import make_fat, used_ranges, write_disk
from slfac.device.image.build.layout import ALIGN_BYTES, BOOT, DATA, ROOT, lay_out, partuuid
from slfac.device.image.flash.bmap import read_block_map
from slfac.device.image.flash.source import examine
from slfac.device.image.needs import require_tools
from slfac.device.image.partitions import read_partitions
from slfac.wire.errors import ImageError

pytestmark = pytest.mark.device
MIB = 1 << 20
TIME_S = 1_764_000_000


def make_root(path, folder, size_mib=24):
    """A root partition's file system, with a folder in it."""
    with path.open("wb") as stream:
        stream.truncate(size_mib * MIB)
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(folder), "-b", "4096", str(path)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A disk, its layout, and the file systems on it."""
    with_tools()
    folder = tmp_path_factory.mktemp("disk")
    boot = folder / "files"
    (boot / "overlays").mkdir(parents=True)
    (boot / "config.txt").write_text("arm_64bit=1\n")
    (boot / "overlays" / "a.dtbo").write_bytes(bytes(range(256)) * 40)
    make_fat(folder / "boot.fat", 40 * MIB, boot, number=0xC0FFEE01, time_s=TIME_S)
    root = folder / "tree"
    root.mkdir()
    (root / "zeros").write_bytes(bytes(3 * MIB))
    (root / "text").write_text("hello\n" * 1000)
    make_root(folder / "root.ext4", root)
    layout = lay_out(
        boot_bytes=40 * MIB, data_bytes=8 * MIB, root_bytes=24 * MIB, signature=0xC0FFEE01
    )
    image = folder / "small.img"
    write_disk(image, layout, boot=folder / "boot.fat", root=folder / "root.ext4")
    return image, layout, folder


def test_the_partitions_are_where_the_table_says(disk):
    image, layout, _ = disk
    with image.open("rb") as stream:
        found = read_partitions(stream.fileno(), image.stat().st_size)
    assert [(p.number, p.start_bytes, p.size_bytes, p.may_be_fat) for p in found] == [
        (BOOT, layout.boot.begin, 40 * MIB, True),
        (DATA, layout.data.begin, 8 * MIB, False),
        (ROOT, layout.root.begin, 24 * MIB, False),
    ]
    assert found[-1].start_bytes + found[-1].size_bytes == layout.size_bytes
    assert partuuid(layout.signature, ROOT) == "c0ffee01-03"
    assert image.read_bytes()[440:444] == bytes.fromhex("01eeffc0")


def test_the_boot_partition_holds_the_files(disk):
    image, layout, folder = disk
    where = f"{image}@@{layout.boot.begin}"
    assert mtool("mtype", "-i", where, "::/config.txt") == b"arm_64bit=1\n"
    assert mtool("mtype", "-i", where, "::/overlays/a.dtbo") == bytes(range(256)) * 40
    assert b"C0FF-EE01" in mtool("mdir", "-i", where, "::/").replace(b" ", b"-")
    again = folder / "again.fat"
    make_fat(again, 40 * MIB, folder / "files", number=0xC0FFEE01, time_s=TIME_S)
    assert again.read_bytes() == (folder / "boot.fat").read_bytes()


def test_the_root_partition_is_whole(disk):
    image, layout, _ = disk
    data = image.read_bytes()
    assert data[layout.root.begin :] == (disk[2] / "root.ext4").read_bytes()
    assert not any(data[layout.data.begin : layout.data.end])


def test_a_file_system_that_is_too_large_is_refused(disk, tmp_path):
    _, _, folder = disk
    small = lay_out(boot_bytes=40 * MIB, data_bytes=0, root_bytes=20 * MIB, signature=1)
    with pytest.raises(ImageError, match=r"root.ext4 is larger than its partition"):
        write_disk(tmp_path / "a.img", small, boot=folder / "boot.fat", root=folder / "root.ext4")


def test_files_that_do_not_fit_the_boot_partition_are_refused(tmp_path):
    with_tools()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "large").write_bytes(bytes(41 * MIB))
    with pytest.raises(ImageError, match="mcopy failed"):
        make_fat(tmp_path / "boot.fat", 40 * MIB, tmp_path / "files", number=1, time_s=TIME_S)


def test_a_card_that_held_something_else_gets_every_byte_that_matters(disk, tmp_path):
    image, layout, folder = disk
    used = used_ranges(layout, boot=folder / "boot.fat", root=folder / "root.ext4")
    (tmp_path / "small.img.bmap").write_bytes(block_map(image, used))
    shutil.copyfile(image, tmp_path / "small.img")
    known = examine(tmp_path / "small.img", quiet)
    card = bytearray(b"\xa5" * layout.size_bytes)
    data = image.read_bytes()
    for extent in known.block_map.extents:
        card[extent.begin : extent.end] = data[extent.begin : extent.end]
    assert sum(e.end - e.begin for e in known.block_map.extents) < 0.6 * layout.size_bytes
    (tmp_path / "root").write_bytes(card[layout.root.begin :])
    done = subprocess.run(
        ["e2fsck", "-f", "-n", str(tmp_path / "root")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    # A file of zeros is zeros on a card that was full of something else.
    dump = ["debugfs", "-R", f"dump /zeros {tmp_path / 'zeros'}", str(tmp_path / "root")]
    subprocess.run(dump, check=True, capture_output=True)
    assert (tmp_path / "zeros").read_bytes() == bytes(3 * MIB)
    (tmp_path / "card.img").write_bytes(card)
    where = f"{tmp_path / 'card.img'}@@{layout.boot.begin}"
    assert mtool("mtype", "-i", where, "::/overlays/a.dtbo") == bytes(range(256)) * 40
    mtool("mcopy", "-i", where, "-", "::/more", given=b"more")
    assert mtool("mtype", "-i", where, "::/more") == b"more"


@given(
    spans=st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 30_000)), max_size=8),
    size=st.integers(1, 300_000),
)
@settings(max_examples=60)
def test_every_block_map_reads_back(tmp_path_factory, spans, size):
    folder = tmp_path_factory.mktemp("map")
    data = bytes(i % 251 for i in range(size))
    (folder / "a.img").write_bytes(data)
    used, at = [], 0
    for gap, length in spans:
        begin = at + gap
        if begin >= size:
            break
        used.append((begin, min(begin + length, size)))
        at = used[-1][1]
    (folder / "a.img.bmap").write_bytes(block_map(folder / "a.img", used))
    found = read_block_map(folder / "a.img.bmap")
    assert found.size_bytes == size
    for begin, end in used:
        assert any(e.begin <= begin and end <= e.end for e in found.extents)
    for one in found.extents:
        assert one.begin % 4096 == 0


@given(st.integers(1, 1 << 31), st.integers(0, 1 << 31), st.integers(1, 1 << 33))
def test_partitions_begin_where_cards_erase(boot, data, root):
    layout = lay_out(boot_bytes=boot, data_bytes=data, root_bytes=root, signature=1)
    for extent, size in ((layout.boot, boot), (layout.data, data), (layout.root, root)):
        assert extent.begin % ALIGN_BYTES == 0
        assert extent.size_bytes >= size
    assert layout.boot.begin >= ALIGN_BYTES
    assert layout.boot.end == layout.data.begin
    assert layout.data.end == layout.root.begin


def test_the_kernel_of_each_board_finds_its_root():
    for board in BOARDS.values():
        line = board.command_line("c0ffee01-03").split()
        assert "root=PARTUUID=c0ffee01-03" in line
        assert "rootwait" in line
    assert "kernel=vmlinuz" in BOARDS["rpi"].files["config.txt"]
    assert "cma=" not in BOARDS["rpi"].files["config.txt"]


def test_the_bill_names_each_package_and_wheel():
    bill = json.loads(
        bill_of_materials(
            name="a.img",
            packages="libc6\t2.41-12+deb13u1\tarm64\tglibc\t2.41-12+deb13u1\n",
            lock="numpy==2.4.6 \\\n    --hash=sha256:00\nonnxruntime==1.31.1 \\\n",
            suite="trixie",
            time_s=TIME_S,
            sha256="ab" * 32,
        )
    )
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    purls = [one["purl"] for one in bill["components"]]
    assert purls[0] == "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=arm64&distro=trixie"
    assert [p.split("@")[0] for p in purls[1:]] == [
        "pkg:pypi/slfac",
        "pkg:pypi/numpy",
        "pkg:pypi/onnxruntime",
    ]
    assert bill["metadata"]["timestamp"] == "2025-11-24T16:00:00+00:00"


def test_what_a_machine_lacks_is_said_all_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("slfac.device.image.programs.SYSTEM_PATHS", str(tmp_path))
    with pytest.raises(ImageError) as caught:
        require_tools(tmp_path)
    assert "mmdebstrap, apt-get, arch-test, dpkg-deb, depmod, mke2fs" in caught.value.what
    packages = "apt arch-test dpkg e2fsprogs dosfstools kmod mmdebstrap mtools tar"
    for package in (*packages.split(), "debian-archive-keyring"):
        assert package in caught.value.remedy.partition("; ")[0].split()
    assert "pip install uv" in caught.value.remedy
    if os.geteuid():
        assert "--add-subuids 100000-165535" in caught.value.remedy

"""What can be told of an image without starting it, and how it would be started."""

import json
import subprocess

import pytest

from harness.cards import with_tools
from slfac.cli import main
from slfac.device.image.build.boards import BOARDS
from slfac.device.image.build.disk import make_fat, write_disk
from slfac.device.image.build.layout import DATA, lay_out
from slfac.device.image.mark import MARK, Mark, pack_mark
from slfac.device.image.opened import open_image
from slfac.device.image.programs import run_program
from slfac.device.image.verify.contents import check_contents, take_boot_files, unpack
from slfac.device.image.verify.machine import MACHINES, started
from slfac.wire.errors import ImageError, MissingExtraError

pytestmark = pytest.mark.device
MIB = 1 << 20
LINE = BOARDS["rpi"].command_line("c0ffee01-03")
FILES = {
    **BOARDS["rpi"].files,
    "vmlinuz": "kernel",
    "initrd.img": "ram disk",
    "cmdline.txt": f"{LINE}\n",
}


def make_image(folder, *, board="rpi", without=""):
    """A small image that starts nothing, with everything where it belongs."""
    with_tools()
    boot = folder / "boot"
    (boot / MARK).parent.mkdir(parents=True)
    (boot / MARK).write_bytes(pack_mark(Mark(board=board, version="0.1.0", data_partition=DATA)))
    for name, text in FILES.items():
        if name != without:
            (boot / name).write_text(text)
    make_fat(folder / "boot.fat", 40 * MIB, boot, number=1, time_s=1_764_000_000)
    root = folder / "root.ext4"
    with root.open("wb") as stream:
        stream.truncate(8 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", str(root)], check=True)
    layout = lay_out(boot_bytes=40 * MIB, data_bytes=MIB, root_bytes=8 * MIB, signature=1)
    image = folder / "small.img"
    write_disk(image, layout, boot=folder / "boot.fat", root=root)
    return image, layout


def test_an_image_in_order_is_said_to_be(tmp_path, capsys):
    image, _ = make_image(tmp_path)
    lines = list(check_contents(open_image(image)))
    assert lines[0] == "Raspberry Pi 3, 4, 5 and Zero 2 W, slfac 0.1.0, 3 partitions"
    assert lines[-1] == "root file system of 8 MB, without a fault"
    assert main(["image", "verify", str(image), "--no-boot"]) == 0
    assert "nothing lies beside it that it could be held against" in capsys.readouterr().err


def test_what_is_found_is_written_for_other_programs(tmp_path, capsys):
    image, _ = make_image(tmp_path)
    report = tmp_path / "new" / "found.json"
    command = ["image", "verify", str(image), "--no-boot", "--json"]
    assert main([*command, str(report)]) == 0
    told = json.loads(report.read_text())
    assert told["command"] == "slfac image verify"
    assert told["size_bytes"] == image.stat().st_size
    assert told["contents"][-1] == "root file system of 8 MB, without a fault"
    assert told["started"] is None
    assert main([*command, str(tmp_path)]) == 2
    assert "a folder; name a file in it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["vmlinuz", "initrd.img", "cmdline.txt", "config.txt"])
def test_a_missing_file_is_named(tmp_path, name):
    image, _ = make_image(tmp_path, without=name)
    with pytest.raises(ImageError, match=f"the boot partition has no {name}"):
        list(check_contents(open_image(image)))


def test_a_damaged_root_is_found(tmp_path, capsys):
    image, layout = make_image(tmp_path)
    with image.open("r+b") as stream:
        stream.seek(layout.root.begin + 4096)
        stream.write(b"\xff" * 8192)
    assert main(["image", "verify", str(image), "--no-boot"]) == 80
    assert "the root partition is damaged" in capsys.readouterr().err


def test_an_image_for_an_unknown_board_is_refused(tmp_path):
    image, _ = make_image(tmp_path, board="toaster")
    with pytest.raises(ImageError, match="is for 'toaster'"):
        list(check_contents(open_image(image)))


def test_a_machine_gets_what_it_starts_from(tmp_path):
    image, _ = make_image(tmp_path)
    files = tmp_path / "files"
    files.mkdir()
    assert take_boot_files(open_image(image), MACHINES["virt"].files, files) == LINE
    assert (files / "vmlinuz").read_text() == "kernel"
    with pytest.raises(ImageError, match=r"no bcm2837-rpi-3-b.dtb; an image for another board"):
        take_boot_files(open_image(image), MACHINES["raspi3b"].files, files)


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_qemu_writes_the_console_into_a_file_and_nothing_into_the_image(tmp_path, name):
    console = tmp_path / "console.txt"
    command = MACHINES[name].command(
        files=tmp_path, disk=tmp_path / "disk.qcow2", line=LINE, console=console
    )
    append = command[command.index("-append") + 1].split()
    assert append[0] == f"console={MACHINES[name].console}"
    assert sum(word.startswith("console=") for word in append) == 1
    assert "root=PARTUUID=c0ffee01-03" in append
    assert f"file:{console}" in command
    assert any(f"format=qcow2,file={tmp_path}/disk.qcow2" in word for word in command)
    assert "-no-reboot" in command


def test_qemu_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("slfac.device.image.programs.SYSTEM_PATHS", str(tmp_path))
    with (
        pytest.raises(MissingExtraError, match="sudo apt install qemu-system-arm qemu-utils"),
        started(MACHINES["virt"], image=tmp_path / "a", files=tmp_path, line="", work=tmp_path),
    ):
        pass


def test_a_copy_has_the_same_bytes_and_holes(tmp_path):
    data = b"x" * 4096 + bytes(9 * MIB) + b"y"
    (tmp_path / "a.img").write_bytes(data)
    unpack(tmp_path / "a.img", tmp_path / "b.img")
    assert (tmp_path / "b.img").read_bytes() == data


def test_arguments_out_of_range_are_refused(tmp_path, capsys):
    assert main(["image", "verify", "a.img", "--steps", "0"]) == 2
    assert "--steps is 0; give 1 to 100000" in capsys.readouterr().err
    image, _ = make_image(tmp_path)
    assert main(["image", "verify", str(image), "--work", str(tmp_path)]) == 2
    assert "which is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "package"), [("qemu-img", "qemu-utils"), ("depmod", "kmod"), ("tar", "tar")]
)
def test_a_missing_program_is_named_by_its_package(tmp_path, monkeypatch, name, package):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("slfac.device.image.programs.SYSTEM_PATHS", str(tmp_path))
    with pytest.raises(MissingExtraError, match=f"sudo apt install {package}$"):
        run_program([name, "--version"])

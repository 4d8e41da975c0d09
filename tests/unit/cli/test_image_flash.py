"""``slfac image flash`` on the command line, with a machine's drives made up."""

import json
import os
import resource
import subprocess
import sys

import pytest

from harness.cards import boot_file, make_card
from harness.images import block_map, describe, disk_image, laptop, lsblk, node, packed
from slfac.cli import main

pytestmark = pytest.mark.device
DATA = disk_image(2)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "small.img.zst"
    path.write_bytes(packed(DATA, ".zst"))
    describe(path, DATA)
    (tmp_path / "small.img.bmap").write_bytes(block_map(DATA))
    return path


@pytest.fixture
def drives(tmp_path, monkeypatch):
    """Has lsblk print what it is given."""
    tools = tmp_path / "bin"
    tools.mkdir()

    def show(nodes):
        (tmp_path / "drives.json").write_bytes(lsblk(nodes))
        program = tools / "lsblk"
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/drives.json\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return show


def test_without_a_drive_it_lists_them(image, drives, capsys):
    drives(laptop())
    assert main(["image", "flash", str(image)]) == 0
    out = capsys.readouterr().out
    assert "/dev/sdb      32.00 GB  SanDisk Ultra [31m serial 4C530001" in out
    assert "/dev/sdh      32.00 GB  Old                                 boot" in out
    assert "passed over /dev/sdc (Data, 32.00 GB): /dev/sdc1 is mounted at /media/me/PHOTOS" in out
    assert out.endswith("3 drives can be written\n")
    drives([node("sda")])
    assert main(["image", "flash", str(image)]) == 0
    assert capsys.readouterr().out.endswith("no drive can be written\n")


def test_a_file_is_written_and_read_back(image, tmp_path, capsys):
    assert main(["image", "flash", str(image), str(tmp_path / "card.img")]) == 0
    assert (tmp_path / "card.img").read_bytes() == DATA
    said = capsys.readouterr().err
    assert "writing: 100% of 4 MB" in said
    assert "comparing: 100% of 4 MB" in said
    assert said.endswith("card.img holds the image: every byte was read back\n")


def test_a_dry_run_writes_nothing(image, tmp_path, capsys):
    assert main(["image", "flash", str(image), str(tmp_path / "card.img"), "--dry-run"]) == 0
    assert not (tmp_path / "card.img").exists()
    assert "card.img would be written: nothing was" in capsys.readouterr().err


def test_what_is_there_is_written_over_only_if_its_name_was_given(image, tmp_path, capsys):
    card = tmp_path / "card.img"
    card.write_bytes(b"precious")
    assert main(["image", "flash", str(image), str(card)]) == 2
    assert "pass --confirm card.img" in capsys.readouterr().err
    assert main(["image", "flash", str(image), str(card), "--confirm", "sdb"]) == 2
    assert "'sdb' is not 'card.img': nothing was written" in capsys.readouterr().err
    assert card.read_bytes() == b"precious"
    assert main(["image", "flash", str(image), str(card), "--confirm", "card.img"]) == 0
    assert card.read_bytes() == DATA


def test_the_image_itself_is_no_target(tmp_path, capsys):
    image = tmp_path / "small.img"
    image.write_bytes(DATA)
    assert main(["image", "flash", str(image), str(image), "--confirm", "small.img"]) == 2
    assert "is the image itself" in capsys.readouterr().err
    assert image.read_bytes() == DATA


def test_a_drive_that_is_not_there_is_no_file_to_be_made(image, drives, capsys):
    drives(laptop())
    assert main(["image", "flash", str(image), "/dev/sdz"]) == 81
    assert "/dev/sdz is no drive of this machine" in capsys.readouterr().err
    # On this machine there is none of this name; what is told of it decides before it is opened.
    assert main(["image", "flash", str(image), "/dev/sdc"]) == 81
    assert "is refused: /dev/sdc1 is mounted" in capsys.readouterr().err


def test_a_damaged_image_is_refused_before_anything_is_written(image, tmp_path, capsys):
    image.write_bytes(image.read_bytes()[:-9])
    assert main(["image", "flash", str(image), str(tmp_path / "card.img")]) == 80
    assert "small.img.zst is cut short; fetch or build it again" in capsys.readouterr().err
    assert not (tmp_path / "card.img").exists()


def test_a_target_without_room_is_left_unable_to_start_a_board(image, tmp_path):
    card = tmp_path / "card.img"

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(DATA) - 100, len(DATA) - 100))

    done = subprocess.run(
        [sys.executable, "-m", "slfac.cli", "image", "flash", str(image), str(card)],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        preexec_fn=small,
        check=False,
    )
    assert done.returncode == 81
    assert "card.img is full" in done.stderr
    assert not any(card.read_bytes()[:512])


def test_lsblk_may_be_missing(image, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["image", "flash", str(image)]) == 81
    assert "lsblk is not installed" in capsys.readouterr().err


def test_what_is_written_can_become_one_board_at_once(tmp_path, capsys):
    image = make_card(tmp_path / "small.img")
    card = str(tmp_path / "card.img")
    wrong = ["image", "flash", str(image), card, "--hostname", "not a name"]
    assert main(wrong) == 2
    assert "hostname" in capsys.readouterr().err
    assert not (tmp_path / "card.img").exists()
    assert main([*wrong[:-1], "pi-1"]) == 0
    assert json.loads(boot_file(tmp_path / "card.img", "slfac/device.json"))["hostname"] == "pi-1"
    assert "every byte was read back" in capsys.readouterr().err


def test_a_file_that_is_described_is_not_made_another(tmp_path, capsys):
    image = make_card(tmp_path / "small.img")
    describe(image, image.read_bytes())
    assert main(["image", "inject", str(image), "--hostname", "pi-1"]) == 2
    said = capsys.readouterr().err
    assert "would no longer be what small.img.json says; inject into a copy: `slfac image" in said

"""A small image, built twice from Debian's archives by the real code, and looked into.

Its base is unpacked and not installed, which needs no emulation and no minutes: a kernel, firmware
and device trees where boards look for them, and the whole edge layer, but nothing that could boot.
That is for `make image-test`.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.lan import is_running, wait_until
from harness.loops import small_disk
from harness.small_base import MIB, TIME_S, build_small, small_recipe
from slfac.cli import main
from slfac.device.image.build.lock import check_lock, read_lock
from slfac.device.image.build.recipe import trixie
from slfac.device.image.opened import open_image
from slfac.device.image.verify.contents import unpack
from slfac.wire.errors import ImageError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def built(place):
    return build_small(place / "one", place / "cache")


@pytest.fixture(scope="module")
def card(place, built):
    unpack(built.path, place / "card.img")
    return open_image(place / "card.img")


def beside(built, suffix):
    return built.path.with_name(built.path.name.removesuffix(".zst") + suffix)


def in_root(card, command):
    """What debugfs prints about the root's file system."""
    root = f"{card.path}?offset={card.partitions[-1].start_bytes}"
    done = subprocess.run(
        ["debugfs", "-R", command, root], capture_output=True, check=True, timeout=60
    )
    assert b"File not found" not in done.stderr, (command, done.stderr)
    return done.stdout


def test_it_passes_without_being_started(built, capsys):
    assert main(["image", "verify", str(built.path), "--no-boot"]) == 0
    said = capsys.readouterr().err
    assert "as its description and its block map says" in said
    assert "root file system of" in said
    assert "without a fault" in said


def test_every_board_finds_what_it_starts_from(card):
    for name in ("3-b", "3-a-plus", "3-b-plus", "zero-2-w"):
        assert card.boot.read(f"bcm2837-rpi-{name}.dtb", MIB), name
    assert card.boot.read("bcm2711-rpi-4-b.dtb", MIB)
    assert card.boot.read("bcm2712-rpi-5-b.dtb", MIB)
    for name in ("bootcode.bin", "start.elf", "start4.elf", "fixup4.dat", "config.txt"):
        assert card.boot.read(name, 16 * MIB), name
    # "ARM\x64", of a kernel that is not compressed, or gzip's mark.
    kernel = card.boot.read("vmlinuz", 256 * MIB)
    assert kernel[56:60] == b"ARMd" or kernel[:2] == b"\x1f\x8b"


def test_the_layer_is_in_the_root(card):
    assert b"#!/usr/bin/python3" in in_root(card, "cat /opt/slfac/current/bin/slfac")
    assert b"WatchdogSec" in in_root(card, "cat /usr/lib/systemd/system/slfac-device.service")
    assert b"PARTUUID=" in in_root(card, "cat /etc/fstab")
    assert "\n".join(trixie().sources).encode() in in_root(card, "cat /etc/apt/sources.list")
    (package,) = {p.name for p in small_recipe_lock(card)} & {"base-files"}
    assert package.encode() in in_root(card, "cat /usr/share/slfac-packages.tsv")


def small_recipe_lock(card):
    return read_lock(next((card.path.parent / "one").glob("*.lock.json"))).packages


def test_the_lock_says_where_everything_came_from(built):
    lock = read_lock(beside(built, ".lock.json"))
    assert lock.time_s == TIME_S
    assert lock.recipe == small_recipe().digest
    assert {a.suite for a in lock.archives} >= {"trixie", "trixie-backports", "trixie-security"}
    for archive in lock.archives:
        assert archive.date.endswith("UTC"), archive
        assert len(archive.inrelease_sha256) == 64
    names = {package.name: package for package in lock.packages}
    assert {"base-files", "linux-image-arm64", "raspi-firmware"} <= names.keys()
    bill = json.loads(beside(built, ".cdx.json").read_text())
    told = {c["name"]: c["version"] for c in bill["components"] if "pkg:deb" in c["purl"]}
    assert told == {name: package.version for name, package in names.items()}
    described = json.loads(beside(built, ".json").read_text())
    assert described["lock"] == lock.digest
    check_lock(lock, small_recipe(), built.path)
    with pytest.raises(ImageError, match="build with that release, or without --lock"):
        check_lock(lock, trixie(), built.path)


def test_the_same_lock_gives_the_same_bytes(place, built):
    lock = read_lock(beside(built, ".lock.json"))
    # All of it once more: the base too.
    again = build_small(place / "two", place / "cache", lock, again=True)
    assert again.base_s > 0
    for one in sorted((place / "one").iterdir()):
        two = place / "two" / one.name
        assert (
            hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(two.read_bytes()).digest()
        ), one.name
    assert again.sha256 == built.sha256


def test_no_room_for_the_image_is_said(place, built, tmp_path):
    del built
    with small_disk(tmp_path / "disk", 8 * MIB) as folder:
        with pytest.raises(ImageError, match=r"no space is left for the image: .*; free some in"):
            build_small(folder / "out", place / "cache")
        assert list((folder / "out").iterdir()) == []


def started_by(pid):
    """Processes that a process has started, and those that these have."""
    found, todo = [], [pid]
    while todo:
        for path in Path("/proc").glob(f"{todo.pop()}/task/*/children"):
            todo += (children := [int(word) for word in path.read_text().split()])
            found += children
    return found


def worked_in(pids):
    """Folders that processes have as arguments and that builds work in."""
    folders = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            folders |= set(re.findall(rb"/var/tmp/slfac-[a-z]+-\w+", words))
    return {Path(os.fsdecode(folder)) for folder in folders}


@pytest.mark.parametrize("stage", ["extracting archives", "root file system"])
def test_ctrl_c_leaves_nothing(place, built, tmp_path, stage):
    del built
    mounts = Path("/proc/self/mounts").read_text()
    cache = place / "cache"
    if "archives" in stage:
        cache = tmp_path / "cache"
        cache.mkdir()
        (cache / "packages").symlink_to(place / "cache" / "packages")
    bases = set(cache.glob("*base*"))
    command = [sys.executable, "-m", "harness.small_base", tmp_path / "out", cache]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=TESTS,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        next(line for line in process.stdout if stage in line)
        while not (folders := worked_in(below := started_by(process.pid))):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said == "slfac image: stopped\n"
    assert not [folder for folder in folders if folder.exists()]
    # All were killed; the kernel takes them away in its own time.
    wait_until(lambda: not any(map(is_running, below)), "a process is left")
    assert Path("/proc/self/mounts").read_text() == mounts
    assert not list((tmp_path / "out").glob("*"))
    assert set(cache.glob("*base*")) == bases

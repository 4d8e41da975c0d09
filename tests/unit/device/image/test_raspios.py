"""A Raspberry Pi OS that becomes an image of slfac: built, flashed, injected, and first booted."""

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.cards import MIB, mtool
from harness.images import packed
from harness.raspios import (
    BOOT_AT,
    BOOT_FILES,
    BOOT_MIB,
    boot_file,
    elf,
    make_raspios,
    root_files,
    small_layer,
)
from slfac.device.image.flash.bmap import read_block_map
from slfac.device.image.flash.source import examine
from slfac.device.image.inject import inject
from slfac.device.image.opened import open_image
from slfac.device.image.raspios.build import LAYER, VENDOR, build_raspios, put_layer
from slfac.device.image.raspios.look import look
from slfac.device.image.settings import Document
from slfac.device.image.verify.contents import check_contents, unpack
from slfac.wire.errors import ImageError

pytestmark = pytest.mark.device

NAME = "2026-06-18-raspios-trixie-arm64-lite.img"


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    """What somebody downloaded, not compressed."""
    return make_raspios(tmp_path_factory.mktemp("download") / NAME)


def built(base, out, **options):
    said = []
    given = {
        "time_s": None,
        "make_layer": small_layer,
        "on_status": said.append,
        **options,
    }
    return build_raspios(base, out=out, **given), said


@pytest.fixture(scope="module")
def image(tmp_path_factory, download):
    """The image that is built of it, as it is written to a card."""
    folder = tmp_path_factory.mktemp("image")
    unpack(built(download, folder)[0].path, folder / "card.img")
    return folder / "card.img"


@pytest.fixture
def card(tmp_path, image):
    return Path(shutil.copyfile(image, tmp_path / "card.img"))


@pytest.mark.parametrize("suffix", ["", ".xz", ".zst", ".gz"])
def test_an_image_is_built_from_any_download(tmp_path, download, suffix):
    base = tmp_path / f"{NAME}{suffix}"
    base.write_bytes(packed(download.read_bytes(), suffix))
    made, said = built(base, tmp_path / "out")
    assert made.path.name.startswith("slfac-2026-06-18-raspios-trixie-arm64-lite-")
    assert "Raspberry Pi OS of 2026-06-18, trixie, Python cp313" in said
    image = examine(made.path, lambda *_: None)
    assert image.sha256 == made.sha256
    assert image.described.board == "raspios"
    assert image.block_map is not None
    told = json.loads(
        made.path.with_name(made.path.name.removesuffix(".zst") + ".json").read_text()
    )
    assert told["base"] == base.name
    bill = json.loads(made.path.with_name(f"{made.path.stem}.cdx.json").read_text())
    names = {one["name"]: one for one in bill["components"]}
    assert names["raspi-firmware"]["properties"][0]["value"] == "raspi-firmware-src 1:1.20260601-1"
    assert {"python3.13", "slfac", "numpy"} <= names.keys()
    assert "gone" not in names


def test_the_same_download_gives_the_same_bytes(tmp_path, download):
    one, two = (built(download, tmp_path / name)[0] for name in ("one", "two"))
    assert one.path.read_bytes() == two.path.read_bytes()


def test_the_block_map_has_all_that_was_written(tmp_path, download):
    made, _ = built(download, tmp_path / "out")
    plain = tmp_path / "plain.img"
    unpack(made.path, plain)
    data = plain.read_bytes()
    told = read_block_map(tmp_path / "out" / f"{made.path.stem}.bmap")
    kept = bytearray(b"\xaa" * len(data))
    for extent in told.extents:
        kept[extent.begin : extent.end] = data[extent.begin : extent.end]
    card = tmp_path / "dirty.img"
    card.write_bytes(kept)
    assert open_image(card).mark.board == "raspios"
    assert boot_file(card, LAYER) == small_layer("cp313", 1_781_740_800).data
    assert look_root(card) == look_root(plain)


def look_root(card):
    """All of the root file system's files, as debugfs reads them."""
    end = BOOT_AT + BOOT_MIB
    done = subprocess.run(
        ["/sbin/debugfs", "-R", "ls -l /etc", f"{card}?offset={end * MIB}"],
        capture_output=True,
        check=True,
    )
    return done.stdout


def test_what_belongs_to_the_user_and_to_imager_stays_as_it_was(card):
    for name, text in BOOT_FILES.items():
        assert boot_file(card, name) == text.encode(), name
    assert boot_file(card, VENDOR).startswith(b"#cloud-boothook\n#!/bin/sh\n")


def test_settings_are_injected_into_it(card):
    opened = open_image(card)
    assert opened.data_partition is None
    inject(opened, Document(hostname="pi-1"))
    assert json.loads(boot_file(card, "slfac/device.json"))["hostname"] == "pi-1"
    listing = mtool("mdir", "-b", "-i", f"{card}@@{BOOT_AT * MIB}", "::/").decode()
    assert "::/ssh\n" not in listing.lower()


def test_ssh_is_switched_on_for_who_gives_a_key(card):
    key = f"ssh-ed25519 {'A' * 68} me@laptop"
    for _ in range(2):
        inject(open_image(card), Document(ssh_keys=(key,)))
    assert boot_file(card, "ssh") == b""


REFUSED = {
    "no Raspberry Pi OS: it has no /etc/rpi-issue": {"etc/rpi-issue": ""},
    "is not for 64 bits": {"usr/bin/python3.13": elf(32, 0x28)},
    "has no cloud-init that reads its boot partition": {
        "etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg": "datasource_list: [ None ]\n"
    },
    "has no Python in /usr/bin": {"usr/bin/python3.13": "#!/bin/sh\n"},
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_the_layer_cannot_be_put_onto_is_refused(tmp_path, why):
    base = make_raspios(tmp_path / NAME, root={**root_files(), **REFUSED[why]})
    with pytest.raises(ImageError, match=why) as failed:
        look(base)
    assert "raspberrypi.com" in failed.value.remedy


def test_other_releases_are_refused(tmp_path):
    bookworm = root_files(codename="bookworm", python="3.11", seed=None)
    with pytest.raises(ImageError, match="no cloud-init"):
        look(make_raspios(tmp_path / "a.img", root=bookworm))
    with pytest.raises(ImageError, match=r"has python3\.9, for which slfac has no wheels"):
        look(make_raspios(tmp_path / "b.img", root=root_files(python="3.9")))


@pytest.mark.parametrize("change", [{"user-data": None}, {"vendor-data": "#!/bin/sh\n"}])
def test_a_boot_partition_that_was_changed_is_refused(tmp_path, change):
    files = {name: text for name, text in {**BOOT_FILES, **change}.items() if text is not None}
    with pytest.raises(ImageError, match="|".join(change)):
        look(make_raspios(tmp_path / NAME, boot=files))


def test_its_own_images_are_refused(card):
    with pytest.raises(ImageError, match="has slfac already"):
        look(card)


@pytest.mark.parametrize("data", [b"", b"not an image", bytes(1 << 20)])
def test_what_is_no_image_is_refused(tmp_path, data):
    base = tmp_path / "any.img"
    base.write_bytes(data)
    with pytest.raises(ImageError):
        built(base, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_a_full_boot_partition_is_refused_with_what_is_missing(tmp_path):
    found = look(make_raspios(tmp_path / NAME))
    filler = ("mcopy", "-i", f"{found.path}@@{BOOT_AT * MIB}", "-", "::/filler")
    mtool(*filler, given=bytes(8 * MIB))
    with pytest.raises(ImageError, match=r"MB left, .* MB are missing"):
        put_layer(found, small_layer(), 0)
    assert b"layer" not in mtool("mdir", "-/", "-b", "-i", f"{found.path}@@{BOOT_AT * MIB}", "::/")


def test_it_is_verified_without_starting_it(card):
    assert [line.split()[0] for line in check_contents(open_image(card))] == [
        "Raspberry",
        "layer",
        "root",
    ]
    data = card.read_bytes()
    at = data.index(small_layer("cp313", 1_781_740_800).data[:512])
    with card.open("r+b") as stream:
        stream.seek(at + 700)
        stream.write(b"\0" * 8)
    with pytest.raises(ImageError, match=r"layer\.tar\.gz is missing or damaged"):
        list(check_contents(open_image(card)))


# The first boot: what cloud-init runs, run.


@pytest.fixture
def board(tmp_path, image):
    """A system's folder with the boot partition's files where it mounts them."""
    root = tmp_path / "root"
    slfac = root / "boot/firmware/slfac"
    slfac.mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (slfac / "layer.tar.gz").write_bytes(boot_file(image, LAYER))
    # As cloud-init does it: without the first line.
    hook = boot_file(image, VENDOR).removeprefix(b"#cloud-boothook\n")
    (tmp_path / "hook").write_bytes(hook)
    return root


def boot(root):
    """Run the hook; its exit code and what it says."""
    hook = root.with_name("hook")
    done = subprocess.run(["sh", hook, root], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_the_first_boot_installs_the_layer_and_others_do_nothing(board):
    code, said = boot(board)
    assert (code, said.count("\n")) == (0, 2)
    assert (board / "opt/slfac/current").readlink() == Path("versions/0.1.0-test")
    assert (board / "opt/slfac/current/bin/slfac").stat().st_mode & 0o777 == 0o755
    units = board / "usr/lib/systemd/system"
    assert (units / "slfac-device.service").is_file()
    wants = board / "etc/systemd/system/multi-user.target.wants"
    # Raspberry Pi OS grows its root partition itself.
    assert sorted(path.name for path in wants.iterdir()) == [
        "slfac-device.service",
        "slfac-firstboot.service",
    ]
    assert "usr/lib/slfac/firstboot.py" in (board / "opt/slfac/files.txt").read_text().split()
    assert not (board / "opt/slfac/.install").exists()
    assert boot(board) == (0, "")


def test_a_damaged_layer_is_not_unpacked(board):
    file = board / "boot/firmware/slfac/layer.tar.gz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert boot(board)[0] == 1
    assert "is damaged" in (board / "boot/firmware/slfac/error.txt").read_text()
    assert not (board / "opt/slfac/current").is_symlink()
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert boot(board)[0] == 0
    assert not (board / "boot/firmware/slfac/error.txt").exists()


def test_a_full_card_is_said_with_what_is_missing(board):
    hook = board.with_name("hook")
    text = hook.read_text()
    hook.write_text(text.replace("\nneeded_kb=", "\nneeded_kb=9999999999"))
    assert boot(board)[0] == 1
    assert "kB are missing" in (board / "boot/firmware/slfac/error.txt").read_text()


@pytest.mark.parametrize("command", ["mkdir", "tar", "mv", "ln", "sync", "rm"])
def test_power_may_go_at_any_step(board, tmp_path, command):
    """Each call of a program kills the hook once; the boot after it goes on."""
    tools = tmp_path / "tools"
    tools.mkdir()
    real = subprocess.run(
        ["sh", "-c", f"command -v {command}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (tools / command).write_text(
        f"#!/bin/sh\nn=$(cat {tools}/left); n=$((n - 1)); echo $n >{tools}/left\n"
        f'[ $n -ne 0 ] || kill -9 -$(cat {tools}/group)\nexec {real} "$@"\n'
    )
    (tools / command).chmod(0o755)
    cuts = 0
    while True:
        cuts += 1
        (tools / "left").write_text(str(cuts))
        hook = f"exec sh {board.with_name('hook')} {board}"
        script = f'echo $$ >{tools}/group; export PATH={tools}:"$PATH"; {hook}'
        done = subprocess.run(["sh", "-c", script], check=False, start_new_session=True)
        if done.returncode == 0:
            break
        assert done.returncode == -9
        assert boot(board)[0] == 0
        check_whole(board)
        subprocess.run(["rm", "-rf", board / "opt", board / "var", board / "usr"], check=True)
        (board / "usr/bin").mkdir(parents=True)
    assert cuts > 1
    check_whole(board)


def check_whole(board):
    assert (board / "opt/slfac/current/lib/slfac/__init__.py").is_file()
    assert (board / "usr/lib/systemd/system/slfac-device.service").read_bytes()
    assert {path.name for path in (board / "opt/slfac").iterdir()} == {
        "current",
        "files.txt",
        "versions",
    }


def test_the_layer_is_what_everyone_can_unpack(board):
    data = (board / "boot/firmware/slfac/layer.tar.gz").read_bytes()
    assert gzip.decompress(data)[257:262] == b"ustar"
    assert board.with_name("hook").stat().st_size < 16 * 1024

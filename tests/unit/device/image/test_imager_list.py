"""The list for Raspberry Pi Imager, by the rules of its schema."""

import hashlib
import json
from datetime import date

import pytest

from slfac.device.image.imager import LOCAL_NAME, ONLINE_NAME, write_list
from slfac.wire.errors import ImageError, SettingsError

pytestmark = pytest.mark.device

# Required fields and types, and values of init_format: doc/json-schema/os-list-schema.json of
# https://github.com/raspberrypi/rpi-imager in August 2026.
FIELDS = {
    "name": str,
    "description": str,
    "icon": str,
    "url": str,
    "extract_size": int,
    "extract_sha256": str,
    "image_download_size": int,
    "release_date": str,
    "devices": list,
}
FORMATS = {"", "systemd", "cloudinit", "cloudinit-rpi", "rpi-preseed", "none"}


def add(folder, name, board, *, made=1_780_000_000, **changes):
    """An image and its description, as builds write them."""
    data = name.encode() * 100
    (folder / f"{name}.img.zst").write_bytes(data)
    (folder / f"{name}.img.bmap").write_text("<bmap/>")
    told = {
        "schema": 1,
        "board": board,
        "title": "Raspberry Pi 3, 4, 5 and Zero 2 W",
        "size_bytes": 1_073_741_824,
        "sha256": "a" * 64,
        "file": f"{name}.img.zst",
        "file_bytes": len(data),
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "slfac": "0.1.0",
        "made": made,
        **changes,
    }
    (folder / f"{name}.img.json").write_text(json.dumps(told))


def test_images_are_listed_for_a_web_server(tmp_path):
    add(tmp_path, "slfac-rpi-0.1.0", "rpi")
    add(tmp_path, "slfac-2026-06-18-raspios", "raspios", made=1_781_000_000)
    add(tmp_path, "slfac-qemu-0.1.0", "qemu")
    path, count = write_list(tmp_path, "https://example.org/slfac/")
    assert (path, count) == (tmp_path / ONLINE_NAME, 2)
    document = json.loads(path.read_text())
    raspios, rpi = document["os_list"]
    for entry in (raspios, rpi):
        for name, kind in FIELDS.items():
            assert isinstance(entry[name], kind), name
            assert entry[name], name
        assert entry["init_format"] in FORMATS
        date.fromisoformat(entry["release_date"])
        assert all(tag.endswith("-64bit") for tag in entry["devices"])
        assert entry["url"].startswith("https://example.org/slfac/slfac-")
        assert entry["bmap_url"].endswith(".img.bmap")
    # Ours takes no settings of Imager's; Raspberry Pi OS takes them by cloud-init.
    assert (rpi["init_format"], raspios["init_format"]) == ("none", "cloudinit-rpi")
    assert raspios["release_date"] == "2026-06-09"
    tags = {tag for device in document["imager"]["devices"] for tag in device["tags"]}
    assert tags == set(rpi["devices"])
    for device in document["imager"]["devices"]:
        assert {"name", "description", "tags"} <= device.keys()
    assert (tmp_path / rpi["icon"].rpartition("/")[2]).read_text().startswith("<svg")


def test_images_are_listed_as_they_lie_here(tmp_path):
    add(tmp_path, "slfac-rpi-0.1.0", "rpi")
    path, _ = write_list(tmp_path)
    assert path.name == LOCAL_NAME
    (entry,) = json.loads(path.read_text())["os_list"]
    assert entry["url"] == (tmp_path / "slfac-rpi-0.1.0.img.zst").as_uri()


def test_an_image_that_is_gone_is_left_out_and_a_changed_one_refused(tmp_path):
    add(tmp_path, "a", "rpi")
    add(tmp_path, "b", "rpi")
    (tmp_path / "a.img.zst").unlink()
    assert write_list(tmp_path)[1] == 1
    data = bytearray((tmp_path / "b.img.zst").read_bytes())
    data[7] ^= 1
    (tmp_path / "b.img.zst").write_bytes(data)
    with pytest.raises(ImageError, match="is not what its description says"):
        write_list(tmp_path)


@pytest.mark.parametrize(
    "change", [{"file": "../../etc/shadow"}, {"made": -1}, {"sha256": "x"}, {"file_bytes": "1"}]
)
def test_a_description_that_cannot_be_right_is_refused(tmp_path, change):
    add(tmp_path, "a", "rpi", **change)
    with pytest.raises(ImageError, match="does not describe an image"):
        write_list(tmp_path)


def test_nothing_to_list_and_no_address(tmp_path):
    with pytest.raises(ImageError, match="holds no image for Raspberry Pis"):
        write_list(tmp_path)
    add(tmp_path, "a", "rpi")
    for url in ("example.org/x", "file:///tmp", "https://", "", "https://[", "https://a/b c"):
        with pytest.raises(SettingsError, match="--url is"):
            write_list(tmp_path, url)

"""Images are read whole, and refused before anything is written if they are not whole."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.images import BLOCK, CHUNK, block_map, describe, disk_image, packed, quiet, signed_map
from slfac.device.image.flash.bmap import read_block_map
from slfac.device.image.flash.source import examine, read_pieces
from slfac.wire.errors import ImageError

pytestmark = pytest.mark.device
DATA = disk_image()


def put(folder, suffix, data=DATA):
    path = folder / f"small.img{suffix}"
    path.write_bytes(packed(data, suffix))
    return path


@pytest.mark.parametrize("suffix", ["", ".zst", ".xz", ".gz"])
def test_what_it_is_compressed_with_makes_no_difference(tmp_path, suffix):
    path, seen = put(tmp_path, suffix), []
    image = examine(path, lambda *moved: seen.append(moved))
    assert (image.size_bytes, image.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert [len(p) for p in read_pieces(path)] == [CHUNK, CHUNK, CHUNK, 512]
    assert image.pieces() == [0, 1, 2, 3]
    assert seen == [(CHUNK, 0), (2 * CHUNK, 0), (3 * CHUNK, 0), (len(DATA), 0)]


@pytest.mark.parametrize("suffix", [".zst", ".xz", ".gz"])
@pytest.mark.parametrize("left", [7, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_refused(tmp_path, suffix, left):
    path = put(tmp_path, suffix)
    whole = path.read_bytes()
    path.write_bytes(whole[: left if isinstance(left, int) else int(len(whole) * left)])
    with pytest.raises(ImageError, match=r"small.img.* is (cut short|damaged)"):
        examine(path, quiet)


@pytest.mark.parametrize("suffix", [".zst", ".xz", ".gz"])
def test_a_flipped_bit_is_refused(tmp_path, suffix):
    path = put(tmp_path, suffix)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 4
    path.write_bytes(whole)
    describe(path, DATA)
    with pytest.raises(ImageError, match=r"small.img"):
        examine(path, quiet)


def test_a_description_beside_it_is_held_against_it(tmp_path):
    path, seen = put(tmp_path, ".gz"), []
    describe(path, DATA)
    assert examine(path, lambda *moved: seen.append(moved)).described.board == "qemu"
    assert {total for _, total in seen} == {len(DATA)}
    describe(path, DATA, sha256="0" * 64)
    with pytest.raises(
        ImageError, match=r"holds 12583424 bytes of sha256 .* says .* of 000000000000"
    ):
        examine(path, quiet)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": 2}, "is of schema 2, this release reads 1"),
        ({"sha256": "xyz"}, "does not describe an image"),
        ({"size_bytes": -1}, "does not describe an image"),
        ({"size_bytes": "large"}, "does not describe an image"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path, changes, says):
    path = put(tmp_path, "")
    described = describe(path, DATA, **changes)
    with pytest.raises(ImageError, match=says):
        examine(path, quiet)
    described.write_bytes(b"\xff{" + json.dumps(changes).encode())
    with pytest.raises(ImageError, match="does not describe an image"):
        examine(path, quiet)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"<html>404</html>" * 100, "has no partition table"),
        (DATA[512:], "has no partition table"),
        (b"x" * 100, "has no partition table"),
    ],
)
def test_what_is_no_disk_image_is_refused(tmp_path, data, says):
    path = tmp_path / "page.img"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=says):
        examine(path, quiet)
    with pytest.raises(ImageError, match="No such file"):
        examine(tmp_path / "none.img", quiet)


def test_a_block_map_says_what_holds_something(tmp_path):
    data = disk_image(5, empty=(1, 3))
    path = put(tmp_path, ".zst", data)
    (tmp_path / "small.img.bmap").write_bytes(block_map(data))
    image = examine(path, quiet)
    assert image.pieces() == [0, 2, 4, 5]
    (tmp_path / "small.img.bmap").write_bytes(block_map(data, spoil="checksum"))
    with pytest.raises(ImageError, match="differs from its block map at bytes 0 to 4194304"):
        examine(path, quiet)
    (tmp_path / "small.img.bmap").write_bytes(block_map(data[:-512]))
    with pytest.raises(ImageError, match="holds 20972032 bytes, its block map is of 20971520"):
        examine(path, quiet)


GOOD = block_map(DATA).decode()


def resigned(old, new):
    head, _, tail = GOOD.partition("<BmapFileChecksum>")
    tail = tail.partition("</BmapFileChecksum>")[2]
    text = f"{head}<BmapFileChecksum> CHECKSUM </BmapFileChecksum>{tail}"
    assert old in text
    return signed_map(text.replace(old, new, 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<bmap",
        GOOD.replace("2.0", "2.1", 1).encode(),
        GOOD.encode()[:-20],
        resigned('version="2.0"', 'version="1.4"'),
        resigned("sha256", "md5"),
        resigned(f"<BlockSize> {BLOCK} <", "<BlockSize> 0 <"),
        resigned(f"<ImageSize> {len(DATA)} <", "<ImageSize> -5 <"),
        resigned(f"<ImageSize> {len(DATA)} <", f"<ImageSize> {'9' * 40} <"),
        resigned("> 0-", "> 5-4 </Range><Range chksum='00'> 0-"),
        resigned("<BlockMap>", f"<BlockMap><Range chksum='{'0' * 64}'> 0-3 </Range>"),
        resigned("> 0-3072 <", "> 0-99999 <"),
        b'<!DOCTYPE b [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><bmap version="2.0">&b;</bmap>',
    ],
)
def test_a_block_map_that_cannot_be_trusted_is_refused(tmp_path, data):
    path = tmp_path / "a.bmap"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="no block map"):
        read_block_map(path)


@given(at=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_no_byte_of_a_block_map_can_be_changed(tmp_path_factory, at, byte):
    data = bytearray(GOOD.encode())
    if data[at] == byte:
        return
    data[at] = byte
    path = tmp_path_factory.getbasetemp() / "changed.bmap"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="no block map"):
        read_block_map(path)

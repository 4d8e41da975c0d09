"""Whatever happens while an image is written, what starts a board is whole."""

import pytest

from harness.images import CHUNK, block_map, disk_image, packed, quiet
from slfac.device.image.flash.source import examine
from slfac.device.image.flash.target import open_target
from slfac.device.image.flash.write import write_image
from slfac.wire.errors import DriveError, ImageError

pytestmark = pytest.mark.device
DATA = disk_image(5, empty=(2,))
OLD = b"\xa5" * (CHUNK * 6)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "small.img.gz"
    path.write_bytes(packed(DATA, ".gz"))
    return examine(path, quiet)


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "card"
    path.write_bytes(OLD)
    return path


def write(image, card, progress=quiet):
    with open_target(card, image.size_bytes) as target:
        write_image(image, target, progress)


def starts_nothing(card):
    return card.read_bytes()[:CHUNK] == bytes(CHUNK)


def test_every_byte_arrives(image, card):
    seen = []
    write(image, card, lambda *told: seen.append(told))
    assert card.read_bytes() == DATA
    assert [stage for stage, _, _ in seen] == ["writing"] * 5 + ["comparing"] * 5
    assert [done for stage, done, _ in seen if stage == "writing"][-1] == len(DATA) - CHUNK
    assert {total for _, _, total in seen} == {len(DATA) - CHUNK}


def test_a_new_file_gets_the_size_of_the_image(image, tmp_path):
    write(image, tmp_path / "new.img")
    assert (tmp_path / "new.img").read_bytes() == DATA


def test_what_a_block_map_leaves_out_is_not_written(image, card, tmp_path):
    (tmp_path / "small.img.bmap").write_bytes(block_map(DATA))
    write(examine(image.path, quiet), card)
    written = card.read_bytes()
    assert written[2 * CHUNK : 3 * CHUNK] == OLD[:CHUNK]
    assert written[: 2 * CHUNK] == DATA[: 2 * CHUNK]
    assert written[3 * CHUNK :] == DATA[3 * CHUNK :]


@pytest.mark.parametrize("at", range(10))
def test_interrupted_anywhere_it_starts_nothing(image, card, at):
    calls = []

    def interrupt(*told):
        assert starts_nothing(card)
        calls.append(told)
        if len(calls) == at + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(image, card, interrupt)
    assert starts_nothing(card)


@pytest.mark.parametrize("offset", [CHUNK, 3 * CHUNK + 17, len(DATA) - 1])
def test_a_flipped_bit_on_the_medium_is_found(image, card, offset):
    def flip(stage, done, total):
        if stage == "writing" and done == total:
            with card.open("r+b") as stream:
                stream.seek(offset)
                (byte,) = stream.read(1)
                stream.seek(offset)
                stream.write(bytes([byte ^ 1]))

    begin = offset // CHUNK * CHUNK
    with pytest.raises(DriveError, match=rf"gives back other bytes .* from {begin} on"):
        write(image, card, flip)
    assert starts_nothing(card)


class Worn:
    """A card that holds its first block badly."""

    def __init__(self, target, byte):
        self._target, self._byte = target, byte

    def __getattr__(self, name):
        return getattr(self._target, name)

    def read(self, offset, size):
        data = bytearray(self._target.read(offset, size))
        if not offset:
            data[self._byte] ^= 1
        return bytes(data)


@pytest.mark.parametrize("byte", [0, 511, 512, CHUNK - 1])
def test_a_beginning_that_does_not_hold_is_erased_again(image, card, byte):
    with (
        open_target(card, image.size_bytes) as target,
        pytest.raises(DriveError, match="from 0 on"),
    ):
        write_image(image, Worn(target, byte), quiet)
    assert starts_nothing(card)


def test_an_image_that_changes_meanwhile_is_refused(image, card):
    other = disk_image(5)
    image.path.write_bytes(packed(other, ".gz"))
    with pytest.raises(ImageError, match="has changed while it was read"):
        write(image, card)
    assert starts_nothing(card)
    image.path.write_bytes(packed(DATA[: 2 * CHUNK], ".gz"))
    with pytest.raises(ImageError, match="has become shorter"):
        write(image, card)
    assert starts_nothing(card)


def test_the_copy_of_an_old_partition_table_goes_too(image, tmp_path):
    card = tmp_path / "card"
    card.write_bytes(OLD + OLD)

    with open_target(card, len(OLD) * 2) as target:
        write_image(image, target, quiet)
    written = card.read_bytes()
    assert written[: len(DATA)] == DATA
    assert written[-(1 << 20) :] == bytes(1 << 20)
    assert written[len(DATA) : -(1 << 20)] == (OLD + OLD)[len(DATA) : -(1 << 20)]


def test_a_target_that_is_too_small_is_not_touched(image, card):
    class Small:
        path, size_bytes = card, len(DATA) - 1

    with pytest.raises(DriveError, match="choose a larger one"):
        write_image(image, Small(), quiet)
    assert card.read_bytes() == OLD


def test_what_is_neither_drive_nor_file_is_refused(tmp_path):
    for path in ("/dev/null", str(tmp_path)):
        with (
            pytest.raises(DriveError, match="neither a drive nor a file"),
            open_target(tmp_path / path, 512),
        ):
            pass

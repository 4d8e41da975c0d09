"""Partition tables, right ones and hostile ones."""

import contextlib
import os
import struct

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.cards import LAYOUT, MIB, SECTOR, gpt, gpt_header, mbr
from slfac.device.image.partitions import Partition, read_partitions
from slfac.wire.errors import ImageError

pytestmark = pytest.mark.device

SIZE = 66 * MIB
EXPECTED = tuple(
    Partition(number, start * MIB, size * MIB, kind == 0x0C) for number, kind, start, size in LAYOUT
)


@pytest.fixture
def read(tmp_path):
    def read(data, size_bytes=SIZE):
        path = tmp_path / "table"
        path.write_bytes(data)
        handle = os.open(path, os.O_RDONLY)
        try:
            return read_partitions(handle, size_bytes)
        finally:
            os.close(handle)

    return read


@pytest.mark.parametrize("table", [mbr(), gpt()], ids=["mbr", "gpt"])
def test_a_table_is_read(read, table):
    assert read(table) == EXPECTED


def test_numbers_are_the_kernels_though_entries_are_empty_or_out_of_order(read):
    layout = [(4, 0x0C, 1, 8), (2, 0x83, 20, 8)]
    assert [one.number for one in read(mbr(layout))] == [2, 4]
    assert [one.number for one in read(gpt(layout))] == [2, 4]


def test_an_extended_partition_is_left_out(read):
    assert [one.number for one in read(mbr([(1, 0x0C, 1, 8), (2, 0x05, 20, 8)]))] == [1]


@pytest.mark.parametrize("kind", [0x01, 0x06, 0x0B, 0x0E, 0xEF])
def test_every_type_of_fat_may_be_one(read, kind):
    assert read(mbr([(1, kind, 1, 8)]))[0].may_be_fat


def spoilt(table, at, form, *values):
    data = bytearray(table)
    struct.pack_into(form, data, at, *values)
    return bytes(data)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"", "there is no partition table"),
        (bytes(SECTOR), "there is no partition table"),
        (mbr()[:511], "there is no partition table"),
        (mbr([]), "its partition table is empty"),
        (mbr([(1, 0x0C, 1, 100)]), "ends at byte"),
        (mbr([(1, 0x0C, 1, 8), (2, 0x83, 8, 8)]), "its partition 2 lies over another"),
        (mbr([(1, 0x0C, 0, 8)]), "its partition 1 cannot be right"),
        (mbr([(1, 0x0C, 1, 0)]), "its partition 1 cannot be right"),
        (spoilt(mbr(), 446 + 12, "<I", 0xFFFFFFFF), "ends at byte"),
        (gpt()[:SECTOR], "its GPT is missing"),
        (spoilt(gpt(), SECTOR, "<8s", b"EFI PORT"), "its GPT is missing"),
        (spoilt(gpt(), SECTOR + 24, "<Q", 7), "the checksum of its GPT is wrong"),
        (spoilt(gpt(), SECTOR + 12, "<I", 0xFFFF), "has a header of 65535 bytes"),
        (spoilt(gpt(), SECTOR + 12, "<I", 0), "has a header of 0 bytes"),
        (spoilt(gpt(), 3 * SECTOR, "<Q", 7), "the checksum of its GPT's entries is wrong"),
        (gpt()[: 4 * SECTOR], "the checksum of its GPT's entries is wrong"),
        (gpt([]), "its partition table is empty"),
        (gpt([(1, 0x0C, 1, 100)]), "ends at byte"),
        (gpt([(1, 0x0C, 1, 8), (2, 0x83, 8, 8)]), "its partition 2 lies over another"),
        (gpt([(1, 0x0C, 1, 0)]), "its partition 1 cannot be right"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(read, table, said):
    with pytest.raises(ImageError, match=said) as caught:
        read(table)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("table_at", "count", "said"),
    [
        (1 << 60, 128, "has its entries at sector"),
        (0, 128, "has its entries at sector 0"),
        (2, 1 << 31, "has 2147483648 entries"),
        (2, 0, "has 0 entries"),
    ],
)
def test_a_header_with_right_checksums_and_wrong_numbers_is_refused(read, table_at, count, said):
    data = gpt()
    header = gpt_header(
        table=table_at, disk_sectors=SIZE // SECTOR, entries=data[2 * SECTOR :], count=count
    )
    with pytest.raises(ImageError, match=said):
        read(data[:SECTOR] + header.ljust(SECTOR, b"\0") + data[2 * SECTOR :])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=SECTOR),
    st.lists(st.tuples(st.integers(0, 65), st.binary(min_size=1, max_size=8)), max_size=8),
    st.booleans(),
)
@example(b"", [], True)
def test_no_table_ends_in_anything_but_partitions_inside_or_an_error(read, head, changes, modern):
    data = bytearray(gpt() if modern else mbr() + bytes(SECTOR))
    data[446 : 446 + min(len(head), 64)] = head[:64] or data[446:446]
    for at, piece in changes:
        place = 446 + at if not modern else SECTOR + at
        data[place : place + len(piece)] = piece
    with contextlib.suppress(ImageError):
        end = 0
        for one in sorted(read(bytes(data)), key=lambda partition: partition.start_bytes):
            assert end <= one.start_bytes < one.start_bytes + one.size_bytes <= SIZE
            end = one.start_bytes + one.size_bytes

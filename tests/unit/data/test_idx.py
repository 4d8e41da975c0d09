import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slfac.data import read_idx, read_idx_split, write_idx, write_idx_split
from slfac.wire.errors import DataError

pytestmark = pytest.mark.device

DTYPES = st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=5, max_side=5))
)


@given(array=ARRAYS, zipped=st.booleans())
def test_what_is_written_is_read(tmp_path_factory, array, zipped):
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if zipped else "a")
    write_idx(path, array)
    read = read_idx(path)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


def test_bytes_are_those_of_the_format(tmp_path):
    write_idx(tmp_path / "a", np.array([[1, 2, 3], [4, 5, 256]], np.int16))
    expected = bytes.fromhex("00000b02 00000002 00000003 000100020003 000400050100")
    assert (tmp_path / "a").read_bytes() == expected


def test_gzip_is_told_by_content_not_by_name(tmp_path):
    raw = struct.pack(">HBBI", 0, 8, 1, 3) + b"abc"
    (tmp_path / "plain.gz").write_bytes(raw)
    (tmp_path / "zipped").write_bytes(gzip.compress(raw))
    assert read_idx(tmp_path / "plain.gz").tolist() == [97, 98, 99]
    assert read_idx(tmp_path / "zipped").tolist() == [97, 98, 99]


def test_large_files_cross_the_read_chunk(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (3, 900, 900), dtype=np.uint8)
    write_idx(tmp_path / "a.gz", array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), array)


@pytest.mark.parametrize(
    "array", [np.zeros(3, np.complex64), np.zeros((0, 3), np.uint8), np.zeros(3, np.int64)]
)
def test_what_idx_cannot_hold_is_refused(tmp_path, array):
    with pytest.raises(DataError, match="IDX cannot hold"):
        write_idx(tmp_path / "a", array)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_folder_convention(tmp_path, dotted, zipped):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    write_idx_split(tmp_path, "test", images, np.array([7, 1]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ]
    for path in list(tmp_path.iterdir()):
        name = path.name.replace("-idx", ".idx") if dotted else path.name
        data = path.read_bytes()
        path.unlink()
        path.with_name(name + ".gz" * zipped).write_bytes(gzip.compress(data) if zipped else data)
    read, labels = read_idx_split(tmp_path, "test")
    np.testing.assert_array_equal(read, images)
    assert labels.tolist() == [7, 1]


def test_missing_split_is_named(tmp_path):
    write_idx_split(tmp_path, "test", np.zeros((2, 3, 3), np.uint8), np.array([0, 1]))
    with pytest.raises(DataError, match=r"no train-images-idx3-ubyte\[\.gz\]"):
        read_idx_split(tmp_path, "train")


def test_label_beyond_a_byte_is_refused(tmp_path):
    with pytest.raises(DataError, match="do not fit into a byte"):
        write_idx_split(tmp_path, "train", np.zeros((2, 3, 3), np.uint8), np.array([0, 256]))

"""Damaged and hostile data files end in a DataError that names them, and in nothing else."""

import gzip
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slfac.data import open_dataset, read_idx, write_idx_split
from slfac.wire.errors import DataError

MEBIBYTE = 1 << 20


def idx(*dims, data=b"", code=8):
    return struct.pack(f">HBB{len(dims)}I", 0, code, len(dims), *dims) + data


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_header(text):
    header = text.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def npz(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def png():
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def png_chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_of_size(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


def opened(path, input_shape=(1, 2, 2), num_classes=3):
    return open_dataset(path, split="train", input_shape=input_shape, num_classes=num_classes)


GOOD_IMAGES = idx(3, 2, 2, data=bytes(12))
GOOD_LABELS = idx(3, data=bytes([0, 1, 2]))
GZIP_BOMB = gzip.compress(bytes(64 * MEBIBYTE))

IDX_IMAGES = {
    "no bytes": b"",
    "one byte": b"\0",
    "wrong magic": b"\x89PNG" + bytes(20),
    "unknown dtype": idx(3, 2, 2, data=bytes(12), code=0x0A),
    "no dimensions": b"\0\0\x08\0",
    "255 dimensions": b"\0\0\x08\xff" + bytes(2000),
    "header cut": b"\0\0\x08\x03\0\0",
    "values cut": GOOD_IMAGES[:-1],
    "values go on": GOOD_IMAGES + b"\0",
    "no samples": idx(0, 2, 2),
    "zero width": idx(3, 2, 0),
    "dimensions overflow 64 bits": idx(*[2**32 - 1] * 8, data=bytes(64)),
    "dimensions of 4 GB": idx(2**16, 2**8, 2**8, data=bytes(64)),
    "dimensions of 1 GB": idx(2**14, 2**8, 2**8, data=bytes(64)),
    "one dimension": idx(12, data=bytes(12)),
    "another image size": idx(3, 2, 3, data=bytes(18)),
    "fewer images than labels": idx(2, 2, 2, data=bytes(8)),
    "NaN": idx(3, 2, 2, data=struct.pack(">12f", *[float("nan")] * 12), code=0x0D),
    "gzip cut": gzip.compress(GOOD_IMAGES)[:-9],
    "gzip with a wrong checksum": gzip.compress(GOOD_IMAGES)[:-8] + bytes(8),
    "gzip of rubbish": b"\x1f\x8b\x08" + bytes(range(200)),
    "gzip magic alone": b"\x1f\x8b",
    "gzip bomb": GZIP_BOMB,
    "gzip bomb behind a good header": gzip.compress(GOOD_IMAGES + bytes(64 * MEBIBYTE)),
    "gzip with dimensions beyond deflate": gzip.compress(idx(2**10, 2**10, 2**10)),
}
IDX_LABELS = {
    "label out of range": idx(3, data=bytes([0, 3, 1])),
    "negative label": idx(3, data=b"\0\xff\1", code=9),
    "too few labels": idx(2, data=bytes(2)),
    "too many labels": idx(4, data=bytes(4)),
    "labels in two dimensions": idx(3, 2, data=bytes(6)),
    "labels with fractions": idx(3, data=struct.pack(">3f", 0, 1, 2), code=0x0D),
    "labels are no IDX": b"0 1 2\n",
}
X, Y = np.zeros((3, 2, 2), np.uint8), np.array([0, 1, 2])
NPZ = {
    "rubbish": b"PK\x03\x04" + bytes(200),
    "archive cut": npz(x=npy(X), y=npy(Y))[:-30],
    "no arrays": npz(),
    "other names": npz(images=npy(X), labels=npy(Y)),
    "only samples": npz(x=npy(X)),
    "pickled objects": npz(x=npy(X), y=npy(np.array([{}, [], 1], object))),
    "a pickle": npz(x=pickle.dumps(X), y=npy(Y)),
    "records": npz(x=npy(np.zeros(3, [("a", "u1")])), y=npy(Y)),
    "text": npz(x=npy(X), y=npy(np.array(["a", "b", "c"]))),
    "complex": npz(x=npy(X.astype(complex)), y=npy(Y)),
    "a scalar": npz(x=npy(np.array(1.0)), y=npy(Y)),
    "empty": npz(x=npy(X[:0]), y=npy(Y[:0])),
    "NaN": npz(x=npy(np.full((3, 2, 2), np.nan, np.float32)), y=npy(Y)),
    "infinity": npz(x=npy(np.full((3, 2, 2), -np.inf)), y=npy(Y)),
    "values cut": npz(x=npy(X)[:-1], y=npy(Y)),
    "values go on": npz(x=npy(X) + b"\0", y=npy(Y)),
    "another shape": npz(x=npy(np.zeros((3, 2, 3), np.uint8)), y=npy(Y)),
    "label out of range": npz(x=npy(X), y=npy(Y + 1)),
    "labels with fractions": npz(x=npy(X), y=npy(Y / 2)),
    "unequal lengths": npz(x=npy(X), y=npy(Y[:2])),
    "huge shape": npz(
        x=npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 2, 2)}"),
        y=npy(Y),
    ),
    "shape of 1 GB": npz(
        x=npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1)}"),
        y=npy(Y),
    ),
    "negative shape": npz(
        x=npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-3, -4)}"), y=npy(Y)
    ),
    "nested header": npz(x=npy_header("(" * 5000), y=npy(Y)),
    "header with code": npz(
        x=npy_header("{'descr': __import__('os').getcwd(), 'shape': ()}"), y=npy(Y)
    ),
    "bomb": npz(x=npy(X) + bytes(64 * MEBIBYTE), y=npy(Y)),
    "npy version 9": npz(x=b"\x93NUMPY\x09\x00" + bytes(50), y=npy(Y)),
}
PNG = {
    "no bytes": b"",
    "text": b"hello",
    "cut": png()[:60],
    "half": png()[: len(png()) // 2],
    "a pickle": pickle.dumps(X),
    "wrong checksum": png().replace(b"IHDR", b"IHDS"),
    "60000 x 60000": png_of_size(60000, 60000),
    "10000 x 10000": png_of_size(10000, 10000),
    "0 x 0": png_of_size(0, 0),
    "no data": png_of_size(8, 8),
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
}


def refused(path, *arguments):
    """Opening it raises DataError alone, on one line, without taking much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            opened(path, *arguments)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in caught.value.what
    assert "\n" not in str(caught.value)
    assert peak_bytes < 8 * MEBIBYTE


def fill_idx(folder, images=GOOD_IMAGES, labels=GOOD_LABELS):
    (folder / "train-images-idx3-ubyte").write_bytes(images)
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)


def fill_images(folder, data):
    for name in "abc":
        (folder / name).mkdir()
    (folder / "b" / "image.png").write_bytes(data)


def test_the_corpus_is_built_on_good_files(tmp_path):
    fill_idx(tmp_path)
    assert len(opened(tmp_path)) == 3
    (tmp_path / "d.npz").write_bytes(npz(x=npy(X), y=npy(Y)))
    assert len(opened(tmp_path / "d.npz")) == 3
    (tmp_path / "images").mkdir()
    fill_images(tmp_path / "images", png())
    assert len(opened(tmp_path / "images", (3, 8, 8))) == 1


@pytest.mark.parametrize("data", IDX_IMAGES.values(), ids=IDX_IMAGES)
def test_idx_images(tmp_path, data):
    fill_idx(tmp_path, images=data)
    refused(tmp_path)


@pytest.mark.parametrize("data", IDX_LABELS.values(), ids=IDX_LABELS)
def test_idx_labels(tmp_path, data):
    fill_idx(tmp_path, labels=data)
    refused(tmp_path)


@pytest.mark.parametrize("data", NPZ.values(), ids=NPZ)
def test_npz(tmp_path, data):
    (tmp_path / "d.npz").write_bytes(data)
    refused(tmp_path / "d.npz")


@pytest.mark.parametrize("data", PNG.values(), ids=PNG)
def test_images(tmp_path, data):
    fill_images(tmp_path, data)
    refused(tmp_path, (3, 8, 8))


def test_files_beyond_the_limit(tmp_path):
    dims = (2**31 // 4 + 1, 2, 2)
    fill_idx(tmp_path, images=idx(*dims))
    os.truncate(tmp_path / "train-images-idx3-ubyte", 16 + 2**31 + 4)
    refused(tmp_path)

    # The archive's directory backs the shape's lie.
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (3000000000, 1)}"
    header = npy_header(text)
    data = bytearray(npz(x=header, y=npy(Y)))
    entry = data.find(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 3_000_000_000 + len(header))
    (tmp_path / "d.npz").write_bytes(data)
    refused(tmp_path / "d.npz")


@pytest.mark.parametrize("side", [8193, 10_000])
def test_images_of_too_many_pixels_are_not_decoded(tmp_path, side):
    fill_images(tmp_path, png_of_size(side, side))
    with pytest.raises(DataError, match=f"{side}x{side} pixels, more than"):
        opened(tmp_path, (3, 8, 8))


def test_encrypted_and_oddly_compressed_archives(tmp_path):
    path = tmp_path / "d.npz"
    data = bytearray(npz(x=npy(X), y=npy(Y)))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        data[at + offset] |= 1
    path.write_bytes(data)
    refused(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", npy(X))
        archive.writestr("y.npy", npy(Y))
    refused(path)


def test_empty_folders_and_missing_paths(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "classes").mkdir()
    for name in "abc":
        (tmp_path / "classes" / name).mkdir()
    for name in ("empty", "classes", "nothing", "x" * 300):
        refused(tmp_path / name)
    with pytest.raises(DataError):
        opened(tmp_path / "a\0b")


def test_half_a_split(tmp_path):
    fill_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    refused(tmp_path)


@given(data=st.binary(max_size=200), zipped=st.booleans())
def test_any_bytes_are_an_idx_array_or_a_data_error(tmp_path_factory, data, zipped):
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(gzip.compress(data) if zipped else data)
    try:
        array = read_idx(path)
    except DataError:
        return
    assert data[:2] == b"\0\0"
    assert 4 + 4 * array.ndim + array.nbytes == len(data)


def flip(data, places):
    damaged = bytearray(data)
    for place, value in places:
        damaged[place % len(damaged)] ^= value
    return bytes(damaged)


PLACES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=6)


@given(places=PLACES, kind=st.sampled_from(["idx", "gz", "npz", "npy", "png"]))
def test_flipped_bytes_are_read_or_refused(tmp_path_factory, places, kind):
    folder = tmp_path_factory.mktemp("flip")
    path, input_shape = folder, (1, 2, 2)
    if kind == "idx":
        fill_idx(folder, images=flip(GOOD_IMAGES, places))
    elif kind == "gz":
        fill_idx(folder, images=flip(gzip.compress(GOOD_IMAGES), places))
    elif kind == "npz":
        path = folder / "d.npz"
        path.write_bytes(flip(npz(x=npy(X), y=npy(Y)), places))
    elif kind == "npy":
        path = folder / "d.npz"
        path.write_bytes(npz(x=flip(npy(X), places), y=npy(Y)))
    else:
        fill_images(folder, flip(png(), places))
        input_shape = (3, 8, 8)
    try:
        data = opened(path, input_shape)
    except DataError:
        return
    assert data.images.shape[1:] == input_shape


def test_a_full_disk_leaves_no_half_file(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot make"):
        write_idx_split(tmp_path / "file" / "sub", "train", X, Y)

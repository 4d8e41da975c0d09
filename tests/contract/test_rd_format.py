"""docs/codec-format-rd.md, read by a second reader that shares no code with the codec.

It takes the page literally, value by value, in Python's own numbers; NumPy is there for
single-precision products and for the cosines of the inverse DCT.
"""

import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from harness.rd_dense import RefusedError, read_dense, require
from slfac.codec import CodecError, decode, make_codec

pytestmark = pytest.mark.device

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "contract" / "golden" / "v1" / "slfac-rd"
PAGE = ROOT / "docs" / "codec-format-rd.md"
PAYLOADS = sorted(path.stem for path in FOLDER.glob("*.bin"))
CONTEXTS = 40


def L(value):  # noqa: N802 - the page's name
    return len(bin(value)) - 2 if value else 0


def K(total, count):  # noqa: N802 - the page's name
    return min(L(77 * (2 * total + count) // (320 * count)), 31) if count else 0


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        section = self.data[self.at : self.at + length]
        require(len(section) == length)
        self.at += length
        return section

    def fields(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def bits(self, length):
        return [byte >> j & 1 for byte in self.take(length) for j in range(8)]

    def varied(self, widths):
        stream = iter(self.bits(math.ceil(sum(widths) / 8)))
        return [sum(next(stream) << j for j in range(width)) for width in widths]

    def packed(self, count, width):
        return self.varied([width] * count)

    def rice(self, parameters):
        (length,) = self.fields("I")
        stream = self.bits(length)
        quotients, zeros = [], 0
        for bit in stream:
            if bit:
                quotients.append(zeros)
                zeros = 0
            else:
                zeros += 1
        require(len(quotients) == len(parameters))
        require(zeros < 8)
        require(bool(stream) == bool(quotients))
        values = [q << k for q, k in zip(quotients, parameters, strict=True)]
        for width in range(1, 32):
            mine = [i for i, k in enumerate(parameters) if k == width]
            for i, low in zip(mine, self.packed(len(mine), width), strict=True):
                values[i] += low
        return values


def frame(shape, axes):
    if axes == 1:
        return shape[0], math.prod(shape[2:]), 1, shape[1]
    require(len(shape) > 2)
    return (*shape[:2], 1, shape[2]) if len(shape) == 3 else shape


def group(line):
    if line < 32:
        return line
    t = L(line) - 1
    return 32 + 4 * (t - 5) + (line >> (t - 2)) % 4


def order_of(samples, components, classes_of_positions):
    """Coefficients ``(map, position)`` of each context, in order."""
    u_of = [a + b for a in samples for b in components]
    v_of = classes_of_positions
    top = max(u_of) + max(v_of)
    contexts = [[] for _ in range(CONTEXTS)]
    for u in sorted(set(u_of)):
        for v in sorted(set(v_of)):
            contexts[max(u + v - top + 39, 0)] += [
                (m, p)
                for m in range(len(u_of))
                if u_of[m] == u
                for p in range(len(v_of))
                if v_of[p] == v
            ]
    return contexts


def members(size, chosen, gaps):
    """Which of ``size`` members are the ``chosen`` ones."""
    listed, at = [], -1
    for _ in range(min(chosen, size - chosen)):
        at += next(gaps) + 1
        require(at < size)
        listed.append(at)
    if 2 * chosen <= size:
        return listed
    return [i for i in range(size) if i not in set(listed)]


def read_codes(reader, sizes, signed):
    """Signed codes of each context, those that are zero too."""
    counts = reader.varied([L(z) for z in sizes])
    require(all(n <= z for n, z in zip(counts, sizes, strict=True)))
    large = reader.varied([L(n) for n in counts])
    require(all(p <= n for p, n in zip(large, counts, strict=True)))
    given = iter(reader.packed(sum(p > 0 for p in large), 5))
    beyond = [next(given) if p else 0 for p in large]
    parameters = []
    for wholes, parts in ((sizes, counts), (counts, large)):
        for size, chosen in zip(wholes, parts, strict=True):
            t = min(chosen, size - chosen)
            parameters += [K(size - t, t)] * t
    for q, p in zip(beyond, large, strict=True):
        parameters += [q] * p
    values = iter(reader.rice(parameters))
    places = [members(z, n, values) for z, n in zip(sizes, counts, strict=True)]
    marked = [members(n, p, values) for n, p in zip(counts, large, strict=True)]
    magnitudes = [[1] * n for n in counts]
    for row, marks in zip(magnitudes, marked, strict=True):
        for at in marks:
            row[at] = next(values) + 2
            require(row[at] <= 2**24)
    signs = iter(reader.packed(sum(counts), 1) if signed else [0] * sum(counts))
    codes = [[0] * z for z in sizes]
    for row, where, sized in zip(codes, places, magnitudes, strict=True):
        for at, magnitude in zip(where, sized, strict=True):
            row[at] = -magnitude if next(signs) else magnitude
    return codes


def orthonormal(rows):
    """Gram-Schmidt, row by row."""
    found = []
    for row in rows:
        rest = list(map(float, row))
        for _ in range(2):  # twice is enough, for any rounding
            for unit in found:
                along = sum(a * b for a, b in zip(unit, rest, strict=True))
                rest = [b - along * a for a, b in zip(unit, rest, strict=True)]
        length = math.sqrt(sum(b * b for b in rest))
        found.append([b / length for b in rest])
    return found


def cosines(n):
    k, i = np.arange(n)[:, None], np.arange(n)[None, :]
    return np.where(k == 0, 1, np.sqrt(2)) / np.sqrt(n) * np.cos(np.pi * (2 * i + 1) * k / (2 * n))


def read_container(payload):
    reader = Reader(payload)
    require(reader.take(5) == b"SF\x01\x04" + bytes([0x10 | payload[4] & 15]))
    shape = []
    for _ in range(payload[4] & 15):
        value = shift = 0
        while True:
            (byte,) = reader.take(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        shape.append(value)
    return reader, tuple(shape)


def read_entries(reader, channels):
    components, parameter = reader.fields("HB")
    require(1 <= components <= channels <= 256)
    require(parameter <= 31)
    folded = reader.rice([parameter] * (components * channels))
    flat = [-(f + 1) // 2 if f % 2 else f // 2 for f in folded]
    require(all(abs(a) <= 2**12 for a in flat))
    return [flat[r * channels : (r + 1) * channels] for r in range(components)]


def read_body(reader, shape):
    """What the body says, all integers as they are, coefficients ``(S, R, H, W)`` float32."""
    (flags,) = reader.take(1)
    require(flags < 32)
    require(not (flags & 8 and flags & 22))
    samples, channels, height, width = frame(shape, flags & 1)
    if flags & 8:
        require(reader.at == len(reader.data))
        return None
    exponent, step, low, high, *offsets = reader.fields("hfff3B")
    most = 2.0 if exponent else 2.0**31
    require(-149 <= exponent <= 127)
    require(2.0**-100 <= step <= 2.0**48)
    require(-most < low <= high < most)
    entries = read_entries(reader, channels) if flags & 4 else None
    components = len(entries) if entries else channels
    dct = bool(flags & 2)
    group_of = [group(h + w if dct else h) for h in range(height) for w in range(width)]
    groups = group_of[-1] + 1
    classes = reader.packed(samples + components + groups, 6)
    of_groups = classes[samples + components :]
    contexts = order_of(
        classes[:samples],
        classes[samples : samples + components],
        [of_groups[g] for g in group_of],
    )
    read = read_dense if flags & 16 else read_codes
    codes = read(reader, [len(context) for context in contexts], bool(flags & 6) or low < 0)
    require(reader.at == len(reader.data))
    f = np.float32
    values = np.zeros((samples * components, height * width), f)
    for where, row in zip(contexts, codes, strict=True):
        for (m, p), q in zip(where, row, strict=True):
            if q:
                shift = (f(offsets[min(abs(q), 3) - 1]) - f(128)) / f(256)
                magnitude = (f(abs(q)) + shift) * f(step)
                values[m, p] = -magnitude if q < 0 else magnitude
    values = values.reshape(samples, components, height, width)
    return flags, exponent, low, high, entries, values


def read_payload(payload):
    reader, shape = read_container(payload)
    body = read_body(reader, shape)
    if body is None:
        return np.zeros(shape)
    flags, exponent, low, high, entries, values = body
    planes = values.astype(np.float64)
    if flags & 2:
        planes = cosines(planes.shape[2]).T @ planes @ cosines(planes.shape[3])
    if entries:
        planes = np.einsum("rc,srhw->schw", np.float32(orthonormal(entries)), planes)
    x = np.clip(planes, low, high) * 2.0**exponent
    if flags & 1:
        x = x[:, :, 0, :].transpose(0, 2, 1)
    return x.reshape(shape)


def check(payload):
    got = read_payload(payload)
    expected = decode(payload, max_values=got.size)
    assert expected.shape == got.shape
    peak = float(np.abs(expected).max())
    # Half the smallest denormal: what rounding to float32 may add.
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6 * peak + 1e-45)


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_page_alone_is_enough_to_read_the_frozen_payloads(name):
    assert len(PAYLOADS) == 30
    check((FOLDER / f"{name}.bin").read_bytes())


def noise(*shape, seed=0):
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.standard_normal(shape), axis=-1)
    x *= 10.0 ** rng.uniform(-2, 0, (shape[0], *[1] * (len(shape) - 1)))
    return (np.abs(x) if seed % 2 else x).astype(np.float32)


@pytest.mark.parametrize("step", [0.05, 0.4, 1.5, 5])
@pytest.mark.parametrize("transform", ["dct", "none"])
@pytest.mark.parametrize("channels", ["klt", "none"])
@pytest.mark.parametrize(
    "shape", [(3, 4, 5, 6), (2, 3, 40, 2), (4, 5, 9), (5, 12), (1, 1, 1, 1), (2, 3, 1, 1)], ids=str
)
def test_the_page_alone_is_enough_to_read_fresh_payloads(step, transform, channels, shape):
    for layout in ("bct", "btd") if len(shape) == 3 else ("bct",):
        spec = f"slfac-rd:step={step},transform={transform},channels={channels},layout={layout}"
        for seed in range(2):
            check(bytes(make_codec(spec).encode(noise(*shape, seed=seed))))
            check(bytes(make_codec(f"{spec},coder=dense").encode(noise(*shape, seed=seed))))


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_coefficients_of_a_payload_are_the_same_bit_for_bit(name):
    from slfac.codec.container import read_header
    from slfac.codec.rd.body import read_body as ours
    from slfac.codec.rd.deadzone import dequantise

    payload = (FOLDER / f"{name}.bin").read_bytes()
    header, data = read_header(payload, max_values=10**6)
    theirs = read_body(*read_container(payload))
    if theirs is None:
        assert ours(data, header.shape) is None
        return
    body, contexts = ours(data, header.shape)
    values = np.zeros_like(theirs[-1])
    where = contexts.coefficients(body.coded.places)
    values.reshape(-1)[where] = dequantise(body.coded.codes, body.offsets, body.step)
    np.testing.assert_array_equal(values, theirs[-1])


@pytest.mark.parametrize(
    "name",
    [
        "worked",
        "gradient-7",
        "pooled",
        "zero",
        "outlier",
        "dense-worked",
        "dense-relu",
        "dense-plain",
    ],
)
@pytest.mark.timeout(400)  # some 700 payloads, read by a reader in plain Python
def test_both_readers_refuse_the_same_payloads(name):
    payload = (FOLDER / f"{name}.bin").read_bytes()
    start = 5 + len(read_container(payload)[1])
    agreed = {True: 0, False: 0}
    for at in range(8 * start, 8 * min(len(payload), 90)):
        damaged = bytearray(payload)
        damaged[at // 8] ^= 1 << at % 8
        try:
            read_payload(bytes(damaged))
            sound = True
        except RefusedError:
            sound = False
        except ZeroDivisionError:  # rows that are linearly dependent
            continue
        try:
            decode(damaged, max_values=10**5)
        except CodecError:
            assert not sound, f"bit {at} is refused"
        else:
            assert sound, f"bit {at} is not refused"
        agreed[sound] += 1
    assert agreed[False]
    assert agreed[True] or name == "zero"


def test_the_worked_example_is_the_golden_vector():
    (block,) = re.findall(r"```hex\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    octets = [re.match(r"(?:[0-9a-f]{2} )+(?= |\S)", line).group() for line in block.splitlines()]
    assert bytes.fromhex("".join(octets)) == (FOLDER / "worked.bin").read_bytes()


def test_the_page_says_what_the_limits_are():
    from slfac.codec.rd import body, stream
    from slfac.codec.rd.basis import MAX_CHANNELS
    from slfac.codec.rd.codec import RdCodec
    from slfac.codec.rd.contexts import CONTEXTS as OURS
    from slfac.codec.rd.search import MAX_STEP, MIN_STEP

    page = PAGE.read_text("utf-8")
    assert f"int16 `e`, {body.MIN_EXPONENT} to {body.MAX_EXPONENT}" in page
    assert f"`C` is at most {MAX_CHANNELS}" in page
    assert f"there are {OURS} contexts" in page
    assert stream.MAX_CODE == 2**24
    assert "a magnitude above 2^24" in page
    assert f"The step size, {MIN_STEP:g} to {MAX_STEP:g} RMS" in page
    assert f"Codec number {RdCodec.ident}" in page

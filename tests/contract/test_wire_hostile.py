"""Frames that no slfac wrote: only ProtocolError, in bounded memory and time."""

import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.messages import MESSAGES
from slfac.wire.errors import ProtocolError
from slfac.wire.frame import MAX_BODY_BYTES, MAX_HEADER_BYTES, decode_header, encode_header
from slfac.wire.messages import Chunk, Message, Ping, Reply, Request
from slfac.wire.transfer import Inbox, Outbox, Transfer

pytestmark = pytest.mark.device

FOLDER = Path(__file__).parent / "golden" / "v1" / "wire"
GOLDEN = sorted(path.stem for path in FOLDER.glob("*.bin"))
PREFIX = b"SF\x01"
MAX_PAYLOAD = 1 << 18


def golden(name):
    return (FOLDER / f"{name}.bin").read_bytes()


def decode_or_refuse(frame):
    """Decode; what comes out can be written again, and anything but ProtocolError fails."""
    try:
        message = decode_header(frame)
    except ProtocolError:
        return None
    assert isinstance(message, Message)
    assert type(decode_header(encode_header(message))) is type(message)
    return message


def array(count):
    return b"\xdd" + struct.pack(">I", count)


# One message type each, with a field that announces far more than there is.
BOMBS = {
    "array of 2^32-1": PREFIX + array(2**32 - 1),
    "array16 of 65535": PREFIX + b"\xdc\xff\xff",
    "map of 2^32-1": PREFIX + b"\xdf\xff\xff\xff\xff",
    "text of 2^32-1": PREFIX + b"\x93\x08\x01\xdb\xff\xff\xff\xff",
    "bytes of 2^32-1": PREFIX + b"\x93\x08\x01\xc6\xff\xff\xff\xff",
    "extension of 2^32-1": PREFIX + b"\x93\x08\x01\xc9\xff\xff\xff\xff\x05",
    "sections of 2^32-1": golden("request-join")[:-1] + array(2**32 - 1),
    "shape of 2^32-1": golden("request-join")[:-1]
    + b"\x91\x97\xa7smashed\xa1z\xa4none"
    + array(2**32 - 1),
    "appended array of 2^32-1": PREFIX + b"\x93\x07\x01" + array(2**32 - 1),
    "nested arrays": PREFIX + b"\x91" * (MAX_HEADER_BYTES - 3),
    "nested maps": PREFIX + b"\x81\x01" * 2046,
    "nested pairs": PREFIX + b"\x92" * 4000,
}
NONSENSE = {
    "empty": b"",
    "prefix alone": PREFIX,
    "nil": PREFIX + b"\xc0",
    "never used": PREFIX + b"\xc1",
    "a number": PREFIX + b"\x07",
    "a map": PREFIX + b"\x82\x00\x07\x01\x01",
    "no tag": PREFIX + b"\x90",
    "tag 0": PREFIX + b"\x92\x00\x01",
    "tag 12": PREFIX + b"\x92\x0c\x01",
    "a probe for more than a body": PREFIX + b"\x94\x0a\x01\x01\xce\x00\x01\x00\x01",
    "tag -1": PREFIX + b"\x92\xff\x01",
    "tag as text": PREFIX + b"\x92\xa1\x37\x01",
    "tag as float": PREFIX + b"\x92\xcb" + struct.pack(">d", 7.0) + b"\x01",
    "tag 2^64-1": PREFIX + b"\x92\xcf" + b"\xff" * 8 + b"\x01",
    "text that is not UTF-8": PREFIX + b"\x94\x08\x01\xa2\xff\xfe\xa0",
    "a lone surrogate": PREFIX + b"\x94\x08\x01\xa3\xed\xa0\x80\xa0",
    "text that ends early": PREFIX + b"\x94\x08\x01\xa2\xc3",
    "kind that is not UTF-8": golden("request-join").replace(b"\xa4join", b"\xa4\xff\xff\xff\xff"),
    "nan as time": golden("request-step").replace(
        b"\xcb" + struct.pack(">d", 0.25), b"\xcb" + struct.pack(">d", float("nan"))
    ),
    "a timestamp": PREFIX + b"\x92\x07\xd6\xff\x00\x00\x00\x00",
    "our frame twice": golden("ping") * 2,
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "pickle": b"\x80\x04\x95\x00\x00\x00\x00",
}
CORPUS = {**BOMBS, **NONSENSE}


@pytest.mark.parametrize("name", CORPUS)
def test_what_is_no_message_is_refused_in_one_line(name):
    frame = CORPUS[name]
    assert frame not in map(golden, GOLDEN)
    for given_ in (frame, memoryview(frame)):
        with pytest.raises(ProtocolError) as caught:
            decode_header(given_)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01"])
def test_deep_nesting_in_an_unknown_field_is_passed_over_or_refused(opening):
    # Sound MessagePack: whether it is too deep depends on the interpreter's own limit.
    nested = opening * (4000 // len(opening))
    message = decode_or_refuse(PREFIX + b"\x93\x07\x05" + nested + b"\x01")
    assert message in (None, Ping(session=5))


@pytest.mark.parametrize("name", CORPUS)
def test_refusing_takes_little_memory_and_time(name):
    decode_or_refuse(CORPUS[name])
    tracemalloc.start()
    try:
        start_s = time.process_time()
        decode_or_refuse(CORPUS[name])
        assert time.process_time() - start_s < 0.5
        assert tracemalloc.get_traced_memory()[1] < 256 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", GOLDEN)
def test_every_truncation_is_refused(name):
    frame = golden(name)
    for length in range(len(frame)):
        assert decode_or_refuse(frame[:length]) is None


@pytest.mark.parametrize("name", GOLDEN)
def test_every_flipped_bit_is_refused_or_gives_a_message(name):
    frame = golden(name)
    for at in range(len(frame)):
        for bit in range(8):
            flipped = bytearray(frame)
            flipped[at] ^= 1 << bit
            decode_or_refuse(bytes(flipped))


@pytest.mark.parametrize("name", GOLDEN)
def test_trailing_bytes_are_refused(name):
    for tail in (b"\0", b"\xc0", golden("ping"), bytes(MAX_HEADER_BYTES)):
        assert decode_or_refuse(golden(name) + tail) is None


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(GOLDEN), st.data())
def test_bytes_written_over_or_into_any_place_are_refused_or_give_a_message(name, data):
    frame = bytearray(golden(name))
    at = data.draw(st.integers(0, len(frame)))
    bombs = st.sampled_from([array(2**31), b"\xdb" + b"\xff" * 4])
    junk = data.draw(st.binary(max_size=12) | bombs)
    replaced = data.draw(st.sampled_from([0, len(junk)]))
    frame[at : at + replaced] = junk
    decode_or_refuse(bytes(frame))


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_behind_our_prefix_are_refused_or_give_a_message(body):
    decode_or_refuse(PREFIX + body)


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 12), st.lists(VALUES, max_size=12))
def test_any_values_in_a_message_are_refused_or_give_one(tag, fields):
    frame = PREFIX + msgspec.msgpack.encode([tag, *fields])
    decode_or_refuse(frame)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            MESSAGES["Request"] | MESSAGES["Reply"] | MESSAGES["Chunk"],
            st.integers(0, MAX_BODY_BYTES),
        ),
        max_size=6,
    )
)
def test_an_inbox_takes_any_sequence_in_bounded_memory(sequence):
    inbox = Inbox(MAX_PAYLOAD)
    for message, length in sequence:
        take = inbox.chunk if isinstance(message, Chunk) else inbox.begin
        tracemalloc.start()
        try:
            got = take(message, memoryview(bytes(length)))
        except ProtocolError:
            got = None
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MAX_BODY_BYTES + MAX_PAYLOAD + 64 * 1024
        if got is not None:
            assert isinstance(got, Transfer)
            assert sum(map(len, got.payload)) == sum(s.length for s in got.header.sections)


def claim(lengths, honest):
    """A request whose sections claim lengths of zeros, and true CRCs or false ones."""
    header = decode_header(golden("request-step"))
    section = header.sections[0]
    sections = tuple(
        msgspec.structs.replace(section, length=length, crc=zlib.crc32(bytes(length)) ^ (not true))
        for length, true in zip(lengths, honest, strict=True)
    )
    return msgspec.structs.replace(header, sections=sections)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**17), st.booleans()), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 2**17), st.integers(0, MAX_BODY_BYTES)), max_size=6),
)
def test_chunks_that_lie_never_fill_more_than_was_announced(sections, chunks):
    header = claim(*zip(*sections, strict=True))
    total = sum(length for length, _ in sections)
    inbox = Inbox(MAX_PAYLOAD)
    try:
        done = inbox.begin(header, memoryview(bytes(min(total, MAX_BODY_BYTES))))
        for offset, length in chunks:
            if done is not None:
                break
            chunk = Chunk(session=header.session, seq=header.seq, offset=offset)
            done = inbox.chunk(chunk, memoryview(bytes(length)))
    except ProtocolError:
        return
    assert done is None or sum(map(len, done.payload)) == total <= MAX_PAYLOAD


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 2**20), max_size=8))
def test_no_sequence_of_grants_frees_more_than_the_window(grants):
    outbox = Outbox(1 << 18)
    outbox.put_frames(tuple((b"head", bytes(MAX_BODY_BYTES)) for _ in range(16)))
    sent = granted = 0
    for grant in grants:
        while (message := outbox.peek()) is not None:
            outbox.pop()
            sent += len(message[1])
        assert sent <= granted + (1 << 18)
        if grant > sent:
            with pytest.raises(ProtocolError, match="credit"):
                outbox.credit(grant)
        else:
            outbox.credit(grant)
            granted = max(granted, grant)


def test_both_kinds_of_transfer_were_tried():
    kinds = {type(decode_header(golden(name))) for name in GOLDEN}
    assert {Request, Reply} <= kinds

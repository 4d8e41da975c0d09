"""Payloads in chunks: cut, sent under credit, collected and checked."""

import tracemalloc
import zlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slfac.wire.errors import ProtocolError
from slfac.wire.frame import MAX_BODY_BYTES, decode_header
from slfac.wire.messages import Chunk, Credit, Ping, Request, Section, Timings
from slfac.wire.transfer import (
    MIN_WINDOW_BYTES,
    WINDOW_BYTES,
    Inbox,
    Outbox,
    Part,
    cut_transfer,
    frames_bytes,
)

pytestmark = pytest.mark.device

KB64 = 64 * 1024
SIZES = [0, 1, KB64 - 1, KB64, KB64 + 1, 10**6]


def request(seq=1, sections=()):
    return Request(5, seq, "run", "step", 0, 0, 1, Timings(), sections)


def noise(size, seed=0):
    return np.random.default_rng(seed).bytes(size)


def cut(*sizes, seq=1):
    parts = [Part("smashed", f"z{i}", noise(size, i), "none") for i, size in enumerate(sizes)]
    return parts, cut_transfer(request(seq), parts)


def feed(inbox, frames):
    """Hand messages to an inbox; what the last one gave."""
    got = None
    for head, body in frames:
        assert got is None
        header = decode_header(head)
        take = inbox.chunk if isinstance(header, Chunk) else inbox.begin
        got = take(header, memoryview(body))
    return got


@pytest.mark.parametrize("size", SIZES)
def test_one_section_of_any_size_comes_back(size):
    (part,), frames = cut(size)
    assert len(frames) == max(1, -(-size // KB64))
    assert all(len(body) <= MAX_BODY_BYTES for _, body in frames)
    transfer = feed(Inbox(10**6), frames)
    section, data = transfer.part("smashed", "z0")
    assert data == part.data
    assert (section.length, section.crc) == (size, zlib.crc32(part.data))


@pytest.mark.parametrize(
    "sizes", [(), (0, 0), (1, 0, 2), (KB64, 1), (KB64 - 1, 2, KB64), (100_000, 200_000, 3)]
)
def test_several_sections_come_back_in_their_order(sizes):
    parts, frames = cut(*sizes)
    transfer = feed(Inbox(10**6), frames)
    assert [bytes(data) for data in transfer.payload] == [part.data for part in parts]
    assert [section.name for section in transfer.header.sections] == [part.name for part in parts]
    assert frames_bytes(frames) == sum(len(head) for head, _ in frames) + sum(sizes)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3 * KB64), max_size=16))
def test_any_mix_of_sections_comes_back(sizes):
    parts, frames = cut(*sizes)
    transfer = feed(Inbox(sum(sizes)), frames)
    assert [bytes(data) for data in transfer.payload] == [part.data for part in parts]


def test_an_array_is_sent_without_turning_it_into_bytes_first():
    array = np.arange(100_000, dtype=np.float32)
    frames = cut_transfer(request(), [Part("smashed", "z", array.data, "none", (100_000,))])
    assert feed(Inbox(400_000), frames).payload[0] == array.tobytes()


def test_a_section_is_found_by_role_and_name_or_missed_by_both():
    _, frames = cut(3, 4)
    transfer = feed(Inbox(100), frames)
    assert transfer.part("smashed")[0].name == "z0"
    assert transfer.part("smashed", "z1")[0].length == 4
    with pytest.raises(ProtocolError, match="step message came without its section target"):
        transfer.part("target")
    with pytest.raises(ProtocolError, match="section smashed 'z2'"):
        transfer.part("smashed", "z2")


def test_a_transfer_of_sixteen_long_names_is_refused_by_the_sender():
    parts = [Part("bundle", "é" * 64, b"", "x" * 200) for _ in range(16)]
    with pytest.raises(ProtocolError, match="header takes"):
        cut_transfer(request(), parts)


def drain(outbox):
    sent = []
    while (message := outbox.peek()) is not None:
        sent.append(message)
        outbox.pop()
    return sent


def payload_bytes(messages):
    return sum(len(body) for _, body in messages)


def test_nothing_beyond_the_window_leaves_without_a_grant():
    window = 4 * KB64
    outbox = Outbox(window)
    outbox.put_frames(cut(10**6)[1])
    assert payload_bytes(drain(outbox)) == window
    assert outbox.peek() is None
    outbox.credit(KB64 - 1)
    assert outbox.peek() is None
    outbox.credit(KB64)
    assert payload_bytes(drain(outbox)) == KB64
    outbox.credit(KB64)
    assert outbox.peek() is None


def test_the_window_counts_over_transfers():
    outbox = Outbox(MIN_WINDOW_BYTES)
    for seq in range(1, 4):
        outbox.put_frames(cut(60_000, seq=seq)[1])
    assert payload_bytes(drain(outbox)) == 120_000
    outbox.credit(60_000)
    assert payload_bytes(drain(outbox)) == 60_000
    assert len(outbox) == 0


def test_an_older_grant_takes_nothing_back():
    outbox = Outbox(MIN_WINDOW_BYTES)
    outbox.put_frames(cut(4 * KB64)[1])
    drain(outbox)
    outbox.credit(KB64)
    outbox.credit(0)
    assert payload_bytes(drain(outbox)) == KB64


def test_a_grant_for_more_than_was_sent_is_false():
    outbox = Outbox(WINDOW_BYTES)
    outbox.put_frames(cut(100)[1])
    with pytest.raises(ProtocolError, match="credit for 1 bytes, 0 were sent"):
        outbox.credit(1)
    drain(outbox)
    outbox.credit(100)
    with pytest.raises(ProtocolError, match="credit for 101 bytes, 100 were sent"):
        outbox.credit(101)


def test_control_messages_overtake_payload_and_wait_for_no_credit():
    outbox = Outbox(MIN_WINDOW_BYTES)
    outbox.put_frames(cut(3 * KB64)[1])
    first = outbox.peek()
    outbox.pop()
    outbox.put(Ping(session=5))
    outbox.put(Credit(session=5, consumed_bytes=9))
    kinds = [type(decode_header(head)) for head, _ in drain(outbox)]
    assert type(decode_header(first[0])) is Request
    assert kinds == [Ping, Credit, Chunk]
    outbox.put(Ping(session=5))
    assert [body for _, body in drain(outbox)] == [b""]
    assert len(outbox) == 1


@pytest.mark.parametrize("window", [0, KB64, MIN_WINDOW_BYTES - 1])
def test_a_window_that_could_stop_the_flow_is_refused(window):
    with pytest.raises(ProtocolError, match=f"window of {window} bytes is below the 131072"):
        Outbox(window)


def converse(window, sizes):
    """Send transfers from an outbox to an inbox that only lives on its grants."""
    outbox = Outbox(window)
    inbox = Inbox(10**7, window)
    for seq, size in enumerate(sizes, start=1):
        outbox.put_frames(cut(size, seq=seq)[1])
    done, grants = 0, []
    while (message := outbox.peek()) is not None:
        outbox.pop()
        done += feed(inbox, [message]) is not None
        grant = inbox.credit(5)
        if grant is not None:
            grants.append(grant.consumed_bytes)
            outbox.credit(grant.consumed_bytes)
    return done, grants


def test_grants_come_in_quarter_windows():
    window = 8 * KB64
    done, grants = converse(window, [20 * KB64])
    assert done == 1
    assert grants == [2 * KB64 * i for i in range(1, 11)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(MIN_WINDOW_BYTES, 6 * KB64),
    st.lists(st.integers(0, 5 * KB64), max_size=12),
)
def test_quarter_window_grants_never_let_the_flow_stop(window, sizes):
    assert converse(window, sizes)[0] == len(sizes)


def test_a_flipped_byte_fails_the_crc_of_its_section():
    _, frames = cut(50_000, 50_000)
    body = bytearray(frames[1][1])
    body[-1] ^= 1
    with pytest.raises(ProtocolError, match="section smashed 'z1' fails its CRC"):
        feed(Inbox(10**6), [frames[0], (frames[1][0], bytes(body))])


@pytest.mark.parametrize(("taken", "next_"), [([0], 2), ([0], 3), ([0, 1], 1), ([0, 1, 2], 1)])
def test_chunks_missing_out_of_order_or_twice_are_refused(taken, next_):
    _, frames = cut(4 * KB64)
    inbox = Inbox(10**6)
    feed(inbox, [frames[i] for i in taken])
    with pytest.raises(ProtocolError, match=f"came at {next_ * KB64}; {len(taken) * KB64} was"):
        feed(inbox, [frames[next_]])


def test_a_chunk_that_runs_over_the_end_is_refused():
    _, frames = cut(KB64 + 10)
    inbox = Inbox(10**6)
    feed(inbox, frames[:1])
    with pytest.raises(ProtocolError, match="a chunk of 11 bytes came at 65536"):
        inbox.chunk(decode_header(frames[1][0]), memoryview(bytes(11)))


def test_a_chunk_after_the_last_belongs_to_nothing():
    _, frames = cut(KB64 + 10)
    inbox = Inbox(10**6)
    assert feed(inbox, frames) is not None
    with pytest.raises(ProtocolError, match="belongs to no payload"):
        feed(inbox, frames[1:])


@pytest.mark.parametrize("changes", [{"seq": 2}, {"session": 6}])
def test_a_chunk_of_another_request_or_session_is_refused(changes):
    _, frames = cut(2 * KB64)
    inbox = Inbox(10**6)
    feed(inbox, frames[:1])
    chunk = msgspec.structs.replace(decode_header(frames[1][0]), **changes)
    with pytest.raises(ProtocolError, match="belongs to no payload"):
        inbox.chunk(chunk, memoryview(frames[1][1]))


@pytest.mark.parametrize("length", [0, KB64 + 1, 3 * KB64])
def test_a_chunk_of_a_wrong_length_is_refused(length):
    _, frames = cut(3 * KB64)
    inbox = Inbox(10**6)
    feed(inbox, frames[:1])
    with pytest.raises(ProtocolError, match=f"a chunk of {length} bytes came at 65536"):
        inbox.chunk(decode_header(frames[1][0]), memoryview(bytes(length)))


@pytest.mark.parametrize("length", [0, 99, 101, KB64])
def test_a_first_chunk_that_does_not_match_its_sections_is_refused(length):
    header = request(sections=(Section("smashed", "z", "none", (), "", 100, 0),))
    with pytest.raises(ProtocolError, match=f"first chunk has {length} bytes, 100 were expected"):
        Inbox(10**6).begin(header, memoryview(bytes(length)))


def test_too_large_a_payload_is_refused_before_memory_is_taken():
    claim = Section("smashed", "z", "none", (), "", 2**32 - 1, 0)
    header = request(sections=(claim,) * 16)
    body = memoryview(bytes(KB64))
    inbox = Inbox(10**6)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=f"payload of {16 * (2**32 - 1)} bytes exceeds"):
            inbox.begin(header, body)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_memory_grows_with_what_came_not_with_what_was_announced():
    claim = Section("smashed", "z", "none", (), "", 2**32 - 1, 0)
    header = request(sections=(claim,))
    inbox = Inbox(2**32)
    body = memoryview(bytes(KB64))
    tracemalloc.start()
    try:
        assert inbox.begin(header, body) is None
        chunk = Chunk(session=header.session, seq=header.seq, offset=KB64)
        assert inbox.chunk(chunk, body) is None
        assert tracemalloc.get_traced_memory()[1] < 10 * KB64
    finally:
        tracemalloc.stop()


def test_the_largest_payload_is_taken_and_one_byte_more_is_not():
    assert feed(Inbox(100_000), cut(100_000)[1]) is not None
    with pytest.raises(ProtocolError, match="payload of 100001 bytes exceeds the 100000 allowed"):
        feed(Inbox(100_000), cut(100_001)[1])


def test_a_new_request_drops_the_one_under_way():
    inbox = Inbox(10**6)
    _, old = cut(3 * KB64, seq=1)
    parts, new = cut(2 * KB64, seq=2)
    assert feed(inbox, old[:2]) is None
    transfer = feed(inbox, new)
    assert transfer.header.seq == 2
    assert transfer.payload[0] == parts[0].data
    with pytest.raises(ProtocolError, match="belongs to no payload"):
        feed(inbox, old[2:])


def test_a_short_request_drops_the_one_under_way_too():
    inbox = Inbox(10**6)
    _, old = cut(3 * KB64, seq=1)
    feed(inbox, old[:1])
    assert feed(inbox, cut(5, seq=2)[1]).header.seq == 2
    with pytest.raises(ProtocolError, match="belongs to no payload"):
        feed(inbox, old[1:2])

"""Header frames: what goes in comes out, and nothing else is let through."""

import math
import typing

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.messages import MESSAGES
from slfac.wire.errors import ProtocolError
from slfac.wire.frame import (
    MAGIC,
    MAX_HEADER_BYTES,
    PROTOCOL_VERSION,
    decode_header,
    encode_header,
)
from slfac.wire.messages import (
    MAX_SECTIONS,
    Chunk,
    Energy,
    Message,
    PhaseEnergy,
    Ping,
    Refusal,
    Reply,
    Request,
    Section,
    Timings,
)

pytestmark = pytest.mark.device


def request(**changes):
    whole = Request(
        session=7,
        seq=1,
        run="r",
        kind="step",
        round=0,
        step=0,
        samples=4,
        timings=Timings(),
        sections=(),
    )
    return msgspec.structs.replace(whole, **changes)


def section(**changes):
    whole = Section("smashed", "z", "slfac", (4, 2, 3, 3), "float32", 10, 99)
    return msgspec.structs.replace(whole, **changes)


def test_every_message_type_is_tried():
    assert set(MESSAGES) == {kind.__name__ for kind in typing.get_args(Message)}


@pytest.mark.parametrize("name", MESSAGES)
@settings(deadline=None)
@given(st.data())
def test_a_message_comes_back_as_it_was(name, data):
    message = data.draw(MESSAGES[name])
    frame = encode_header(message)
    assert frame[:3] == MAGIC + bytes([PROTOCOL_VERSION])
    assert len(frame) <= MAX_HEADER_BYTES
    assert decode_header(frame) == message
    assert decode_header(memoryview(frame)) == message


def test_a_reply_without_a_loss_says_nan():
    reply = Reply(1, 1, "join", 0, "train", math.nan, 0.0, 0.0, 0.0, ())
    assert math.isnan(decode_header(encode_header(reply)).loss)


def test_a_header_that_does_not_fit_is_not_written():
    long = [section(name="é" * 64, codec="x" * 256) for _ in range(MAX_SECTIONS)]
    with pytest.raises(ProtocolError, match=r"Request header takes .* 4096 are allowed.*fewer"):
        encode_header(request(sections=tuple(long)))


def test_a_long_frame_is_refused_before_it_is_parsed():
    with pytest.raises(ProtocolError, match="4097 bytes exceeds 4096"):
        decode_header(b"\xff" * 4097)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_named_beside_ours(version):
    frame = bytearray(encode_header(Ping(session=1)))
    frame[2] = version
    with pytest.raises(ProtocolError) as caught:
        decode_header(bytes(frame))
    assert f"version {version}," in caught.value.what
    assert f"speaks {PROTOCOL_VERSION}" in caught.value.what
    assert "same release" in caught.value.remedy


@pytest.mark.parametrize("frame", [b"", b"S", b"SF", b"GET / HTTP/1.1", b"\x16\x03\x01\x02"])
def test_what_is_not_ours_is_called_so(frame):
    with pytest.raises(ProtocolError, match="does not speak slfac's protocol"):
        decode_header(frame)


def energy(**changes):
    fields = {"meter": 1, "scope": "soc", "joules": 1.0, "covered_s": 1.0, "missing_s": 0.0}
    return Energy(**{**fields, **changes})


OUT_OF_BOUNDS = {
    "session -1": request(session=-1),
    "session 2^63": request(session=2**63),
    "seq -1": request(seq=-1),
    "run of 65": request(run="r" * 65),
    "kind": request(kind="drop table"),
    "round 2^32": request(round=2**32),
    "step -1": request(step=-1),
    "a negative time": request(timings=Timings(wait_ms=-0.5)),
    "an endless time": request(timings=Timings(wait_ms=math.inf)),
    "a time that is no number": request(timings=Timings(wait_ms=math.nan)),
    "negative joules": request(energy=(energy(joules=-0.1),)),
    "endless joules": request(energy=(energy(joules=math.inf),)),
    "joules that are no number": request(energy=(energy(joules=math.nan),)),
    "a negative time without readings": request(energy=(energy(missing_s=-1.0),)),
    "an endless time with readings": request(energy=(energy(covered_s=math.inf),)),
    "a scope that there is not": request(energy=(energy(scope="house"),)),
    "two energies": request(energy=(energy(), energy())),
    "17 phases": request(energy=(energy(phases=(PhaseEnergy("send", 1.0),) * 17),)),
    "a phase that there is not": request(energy=(energy(phases=(PhaseEnergy("nap", 1.0),)),)),
    "a bound that is no number": request(
        energy=(energy(phases=(PhaseEnergy("send", 1.0, 0.5, math.nan, 1.0),)),)
    ),
    "17 sections": request(sections=(section(name="", codec="", shape=()),) * 17),
    "role": request(sections=(section(role="weights"),)),
    "name of 257": request(sections=(section(name="n" * 257),)),
    "codec of 257": request(sections=(section(codec="c" * 257),)),
    "rank 9": request(sections=(section(shape=(1,) * 9),)),
    "dimension 2^31": request(sections=(section(shape=(2**31,)),)),
    "dimension -1": request(sections=(section(shape=(-1,)),)),
    "dtype of 17": request(sections=(section(dtype="d" * 17),)),
    "length 2^32": request(sections=(section(length=2**32),)),
    "crc -1": request(sections=(section(crc=-1),)),
    "offset 2^32": Chunk(session=1, seq=1, offset=2**32),
    "reason of 513": Refusal(session=1, reason="r" * 513, remedy=""),
    "a text for a number": Ping(session="1"),
    "true for a number": Ping(session=True),
}


@pytest.mark.parametrize("what", OUT_OF_BOUNDS)
def test_a_field_out_of_bounds_is_refused(what):
    with pytest.raises(ProtocolError, match="malformed message"):
        decode_header(encode_header(OUT_OF_BOUNDS[what]))


def frame_of(*items):
    return MAGIC + bytes([PROTOCOL_VERSION]) + msgspec.msgpack.encode(items)


def test_a_field_appended_by_a_later_release_is_passed_over():
    assert decode_header(frame_of(7, 5, "new field")) == Ping(session=5)


def test_a_missing_field_and_an_unknown_message_are_refused():
    for items in [(7,), (10, 1), (0, 1), ("Ping", 1), ()]:
        with pytest.raises(ProtocolError, match="malformed message"):
            decode_header(frame_of(*items))


def test_trailing_bytes_are_refused():
    with pytest.raises(ProtocolError, match="malformed message"):
        decode_header(encode_header(Ping(session=1)) + b"\0")

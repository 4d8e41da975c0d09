"""Sessions and sequence numbers, fed by hand: no sockets, no clock."""

import gc
import shutil
import weakref
import zlib
from types import SimpleNamespace

import pytest

from harness.ends import GRACE_S, Ends, drain, messages, reply
from harness.offline import KEPT, RUN, SESSION, collect, kept_bundle, plan, request
from slfac.server.connection import Connection
from slfac.server.events import Arrived, Left, Lost, Reconnected, Restarted
from slfac.server.protocol import PING_EVERY_S, refuse_connection
from slfac.wire.bundle import install_bundle, open_bundle
from slfac.wire.errors import BundleError, ProtocolError
from slfac.wire.frame import MAX_BODY_BYTES, decode_header
from slfac.wire.messages import (
    Bye,
    Chunk,
    Credit,
    Hello,
    Ping,
    Refusal,
    Summary,
    Timings,
    Welcome,
)
from slfac.wire.transfer import WINDOW_BYTES, Part, cut_transfer

BYE = Bye(SESSION, True, Timings(), Summary(False, 1, 2, 3, "3", "1", "x", 4))


@pytest.fixture
def ends():
    return Ends()


def test_hello_is_answered_with_the_run(ends):
    (welcome,) = messages(ends.connect("b", 5))
    assert isinstance(welcome, Welcome)
    assert (welcome.session, welcome.device, welcome.index, welcome.devices) == (5, "b", 1, 2)
    assert (welcome.run, welcome.boot, welcome.resumed) == (RUN, "boot", False)
    assert welcome.bundle == kept_bundle().id
    assert welcome.plan == plan()
    assert ends.events == []


def test_a_whole_request_reaches_the_trainer(ends):
    connection = ends.connect()
    connection.request_bytes = 4321
    ends.ask(connection, parts=[Part("front", "front", b"x" * 100)])
    (event,) = ends.events
    assert isinstance(event, Arrived)
    assert (event.index, event.session, event.request_bytes) == (0, SESSION, 4321)
    assert bytes(event.transfer.payload[0]) == b"x" * 100


def test_a_request_in_chunks_arrives_once_and_credit_is_granted(ends):
    connection = ends.connect()
    drain(connection)
    data = bytes(range(256)) * (WINDOW_BYTES // 256 - 1)
    ends.ask(connection, parts=[Part("front", "front", data)])
    (event,) = ends.events
    assert bytes(event.transfer.payload[0]) == data
    grants = [m for m in messages(connection) if isinstance(m, Credit)]
    assert grants[-1].consumed_bytes >= WINDOW_BYTES // 2


def test_the_same_number_again_gets_the_remembered_frames_and_trains_nothing(ends):
    first = ends.connect()
    drain(first)
    ends.ask(first)
    frames = ends.answer()
    assert drain(first) == [(head, bytes(body)) for head, body in frames]
    ends.ask(first)
    assert drain(first) == [(head, bytes(body)) for head, body in frames]
    second = ends.connect(resume=True)
    (welcome,) = messages(second)
    assert welcome.resumed
    ends.ask(second)
    assert drain(second) == [(head, bytes(body)) for head, body in frames]
    assert [type(event) for event in ends.events] == [Arrived, Reconnected]


def test_an_answer_that_comes_after_a_reconnection_goes_to_the_new_connection(ends):
    first = ends.connect()
    ends.ask(first)
    second = ends.connect(resume=True)
    drain(first), drain(second)
    ends.ask(second)
    assert drain(second) == []
    frames = ends.answer()
    assert drain(first) == []
    assert drain(second) == [(head, bytes(body)) for head, body in frames]


def test_an_answer_while_cut_off_waits_for_the_resend(ends):
    first = ends.connect()
    ends.ask(first)
    ends.protocol.cut(first, now_s=1.0)
    frames = ends.answer()
    second = ends.connect(resume=True)
    assert len(drain(second)) == 1
    ends.ask(second)
    assert drain(second) == [(head, bytes(body)) for head, body in frames]


def test_the_next_number_after_the_answer_is_new(ends):
    connection = ends.connect()
    ends.ask(connection)
    ends.answer()
    drain(connection)
    ends.ask(connection, seq=2)
    ends.answer(seq=1)
    assert drain(connection) == [], "an old number's answer goes nowhere"
    ends.answer(seq=2)
    assert len(drain(connection)) == 1
    assert [event.transfer.header.seq for event in ends.events] == [1, 2]


@pytest.mark.parametrize(("answered", "then"), [(0, 2), (1, 3), (2, 1), (0, 2**63 - 1)])
def test_a_number_that_skips_is_refused(ends, answered, then):
    connection = ends.connect()
    for seq in range(1, answered + 1):
        ends.ask(connection, seq=seq)
        ends.answer(seq=seq)
    with pytest.raises(ProtocolError, match=f"request {then} came after request {answered}"):
        ends.ask(connection, seq=then)
    assert len(ends.events) == answered


def test_a_second_request_before_the_answer_is_refused(ends):
    connection = ends.connect()
    ends.ask(connection, "step", 1)
    with pytest.raises(ProtocolError, match="request 2 came before the answer to request 1"):
        ends.ask(connection, "front", 2)
    assert len(ends.events) == 1


def test_repeats_from_a_device_that_reads_nothing_do_not_fill_the_memory(ends):
    connection = ends.connect()
    ends.ask(connection)
    frames = ends.answer(data=b"y" * (4 * MAX_BODY_BYTES))
    for _ in range(500):
        ends.ask(connection)
    assert len(connection.outbox) < 3 * len(frames)


def test_bundles_for_a_device_that_reads_nothing_do_not_fill_the_memory(ends):
    connection = ends.connect()
    ends.ask(connection, "bundle", 1)
    one = len(connection.outbox)

    def flood():
        for seq in range(2, 500):
            ends.ask(connection, "bundle", seq)

    with pytest.raises(ProtocolError, match="takes nothing in"):
        flood()
    assert len(connection.outbox) < one + 100


def test_refusals_to_a_device_that_reads_nothing_do_not_fill_the_memory(ends):
    connection = ends.connect()
    for _ in range(500):
        refuse_connection(connection, SESSION, "r" * 600, "m" * 600)
    (refusal,) = messages(connection)
    assert isinstance(refusal, Refusal)
    assert (len(refusal.reason), len(refusal.remedy)) == (512, 512)


def test_a_new_session_replaces_the_old_and_the_trainer_learns_it(ends):
    first = ends.connect(session=1)
    second = ends.connect(session=2)
    assert ends.events == [Restarted(0)]
    assert ends.protocol.session(0).id == 2
    assert first.session is None
    assert not messages(second)[0].resumed
    with pytest.raises(ProtocolError, match="before HELLO"):
        ends.ask(first, session=1)


def test_resuming_a_session_that_is_unknown_begins_afresh(ends):
    connection = ends.connect(resume=True)
    (welcome,) = messages(connection)
    assert not welcome.resumed
    ends.ask(connection, seq=1)
    assert len(ends.events) == 1


def test_a_connection_that_was_resumed_elsewhere_speaks_for_the_session_no_more(ends):
    first = ends.connect()
    second = ends.connect(resume=True)
    assert first.session is None, "it would be kept for ever"
    with pytest.raises(ProtocolError, match="before HELLO, or from another session"):
        ends.ask(first)
    ends.protocol.drop(first, "it broke a rule")
    ends.protocol.cut(first, now_s=5.0)
    ends.protocol.tick(100.0)
    assert ends.events == [Reconnected(0, 0.0)]
    ends.ask(second)
    assert len(ends.events) == 2


@pytest.mark.parametrize(
    "message", [Chunk(SESSION, 1, 0), request("step"), Credit(SESSION, 0), Ping(SESSION)]
)
def test_nothing_is_taken_before_hello(ends, message):
    stranger = Connection(b"x", "a", 1 << 20, heard_s=0.0)
    with pytest.raises(ProtocolError, match="before HELLO"):
        ends.send(stranger, message)


def test_a_message_of_another_session_is_refused(ends):
    connection = ends.connect()
    with pytest.raises(ProtocolError, match="another session"):
        ends.ask(connection, session=SESSION + 1)


@pytest.mark.parametrize("message", [Ping(SESSION), Refusal(SESSION, "", ""), reply(1)])
def test_what_only_a_server_says_is_refused(ends, message):
    with pytest.raises(ProtocolError, match=f"a device sent a {type(message).__name__}"):
        ends.send(ends.connect(), message)


def test_a_chunk_of_nothing_and_credit_for_nothing_are_refused(ends):
    connection = ends.connect()
    with pytest.raises(ProtocolError, match="belongs to no payload"):
        ends.send(connection, Chunk(SESSION, 1, 0), b"x")
    with pytest.raises(ProtocolError, match="credit for"):
        ends.send(connection, Credit(SESSION, 1 << 30))


def test_a_window_too_small_is_refused_and_harms_no_session(ends):
    ends.connect()
    with pytest.raises(ProtocolError, match="window"):
        ends.connect(session=9, window_bytes=10)
    assert ends.protocol.session(0).id == SESSION
    assert ends.events == []


def test_the_bundle_is_served_to_who_asks(ends, tmp_path):
    connection = ends.connect()
    drain(connection)
    ends.ask(connection, "bundle")
    transfer = collect(drain(connection))
    contents = {
        section.name: bytes(data)
        for section, data in zip(transfer.header.sections, transfer.payload, strict=True)
    }
    assert set(contents) == {
        *("manifest.json", "forward.onnx", "backward.onnx", "front.safetensors")
    }, "the back half is none of a device's business"
    assert install_bundle(tmp_path / "got", contents).id == kept_bundle().id
    with pytest.raises(BundleError, match=r"back\.safetensors"):
        open_bundle(tmp_path / "got")
    assert ends.events == [], "the trainer has no part in it"
    ends.ask(connection, "step", 2)
    assert len(ends.events) == 1


def test_a_bundle_that_is_gone_from_the_server_is_said_to_the_device(tmp_path):
    folder = shutil.copytree(KEPT, tmp_path / "bundle")
    ends = Ends(open_bundle(folder))
    shutil.rmtree(folder)
    with pytest.raises(ProtocolError, match="cannot read its bundle any more: No such file"):
        ends.ask(ends.connect(), "bundle")


def test_silence_is_pinged_once_a_second(ends):
    connection = ends.connect()
    drain(connection)
    ends.protocol.tick(PING_EVERY_S / 2)
    assert messages(connection) == []
    ends.protocol.tick(PING_EVERY_S)
    assert messages(connection) == [Ping(SESSION)]
    ends.protocol.tick(PING_EVERY_S * 1.5)
    assert messages(connection) == []
    connection.heard_s = PING_EVERY_S * 1.9
    ends.protocol.tick(PING_EVERY_S * 2.5)
    assert messages(connection) == []
    ends.protocol.tick(PING_EVERY_S * 3)
    assert messages(connection) == [Ping(SESSION)]


def test_who_stays_away_beyond_the_grace_is_lost(ends):
    connection = ends.connect()
    ends.protocol.cut(connection, now_s=100.0)
    ends.protocol.tick(100.0 + GRACE_S)
    assert ends.events == []
    ends.protocol.tick(100.1 + GRACE_S)
    assert ends.events == [Lost(0, "its connection is gone")]
    assert ends.protocol.session(0) is None
    ends.protocol.tick(200.0)
    assert len(ends.events) == 1


def test_who_comes_back_within_the_grace_is_not_lost(ends):
    ends.protocol.cut(ends.connect(heard_s=97.0), now_s=100.0)
    ends.connect(resume=True, heard_s=105.0)
    ends.protocol.tick(100.0 + 2 * GRACE_S)
    # The trainer only takes note of it.
    assert ends.events == [Reconnected(0, 8.0)]


def test_goodbye_ends_the_session(ends):
    connection = ends.connect()
    bye = Bye(SESSION, True, Timings(), Summary(False, 1, 2, 3, "3", "1", "x", 4))
    ends.send(connection, bye)
    assert ends.events == [Left(0, bye)]
    assert ends.protocol.session(0) is None
    assert connection.session is None


def test_breaking_a_rule_ends_the_session(ends):
    connection = ends.connect()
    ends.protocol.drop(connection, "why")
    assert ends.events == [Lost(0, "why")]
    ends.protocol.drop(connection, "why")
    assert len(ends.events) == 1


def test_a_refusal_ends_its_session_and_no_newer_one(ends):
    first = ends.connect(session=1)
    ends.protocol.refuse(0, 1, "reason", "remedy")
    assert messages(first) == [Refusal(1, "reason", "remedy")]
    assert ends.protocol.session(0) is None
    second = ends.connect(session=2)
    drain(second)
    ends.protocol.refuse(0, 1, "too late", "")
    assert messages(second) == []
    assert ends.protocol.session(0).id == 2


def test_devices_do_not_disturb_one_another(ends):
    one, two = ends.connect("a"), ends.connect("b", 5)
    drain(one), drain(two)
    ends.ask(two, session=5)
    ends.answer(session=5, index=1)
    ends.answer(session=5, index=0)
    assert drain(one) == []
    assert len(drain(two)) == 1
    assert [event.index for event in ends.events] == [1]
    assert len(ends.protocol.sessions()) == 2


@pytest.mark.parametrize("kind", ["join", "bundle"])
def test_a_payload_where_none_belongs_is_refused_before_it_is_taken_in(ends, kind):
    connection = ends.connect()
    with pytest.raises(ProtocolError, match=f"a {kind} request came with a payload"):
        ends.ask(connection, kind, parts=[Part("front", "front", b"x" * (2 * MAX_BODY_BYTES))])
    assert ends.events == []


@pytest.mark.parametrize("end", ["resume", "restart", "refuse", "drop", "bye"])
def test_a_connection_that_speaks_for_no_session_keeps_no_payload(ends, end):
    connection = ends.connect()
    parts = [Part("front", "front", bytes(1 << 19))]
    head, body = cut_transfer(request("front", 1), parts)[0]
    payload = weakref.ref(connection.inbox)
    ends.send(connection, decode_header(head), body)
    if end == "refuse":
        ends.protocol.refuse(0, SESSION, "reason", "remedy")
    elif end == "drop":
        ends.protocol.drop(connection, "reason")
    elif end == "bye":
        ends.send(connection, BYE)
    else:
        ends.connect(session=SESSION + (end == "restart"), resume=end == "resume")
    gc.collect()
    assert connection.session is None
    assert payload() is None
    again = Hello(SESSION + 2, False, WINDOW_BYTES, "0", "a", "")
    ends.send(connection, again)
    ends.ask(connection, "front", parts=parts, session=SESSION + 2)
    assert bytes(ends.events[-1].transfer.payload[0]) == parts[0].data, "it may begin afresh"


def test_the_bundle_is_joined_and_summed_once_for_all(ends, monkeypatch):
    summed, crc32 = [], zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda data: summed.append(data) or crc32(data))
    counts, bodies = [], []
    for name, session in (("a", 5), ("b", 6), ("a", 7)):
        connection = ends.connect(name, session)
        drain(connection)
        summed.clear()
        ends.ask(connection, "bundle", session=session)
        counts.append(len(summed))
        bodies.append(connection.outbox.peek()[1])
        header = collect(drain(connection)).header
        assert (header.session, header.seq, header.kind) == (session, 1, "bundle")
    assert counts == [4, 0, 0], "one sum for each file"
    assert bodies[0].obj is bodies[1].obj is bodies[2].obj


def test_a_second_bundle_waits_for_the_first_to_be_taken_in():
    files = {"forward.onnx": bytes(70 * MAX_BODY_BYTES)}
    ends = Ends(SimpleNamespace(id="large", contents=lambda _part: files))
    connection = ends.connect()
    drain(connection)
    ends.ask(connection, "bundle", 1)
    with pytest.raises(ProtocolError, match="takes nothing in"):
        ends.ask(connection, "bundle", 2)

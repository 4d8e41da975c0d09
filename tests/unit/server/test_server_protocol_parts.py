"""Several requests of one session that are unanswered: the parts of a step, and no others."""

import pytest

from harness.ends import Ends, drain
from harness.offline import request
from slfac.server.events import Arrived
from slfac.wire.errors import ProtocolError
from slfac.wire.frame import MAX_BODY_BYTES


def ask_part(ends, connection, part, seq=None, **changes):
    fields = {"kind": "step", "part": part, "parts": 4, "step_samples": 8, **changes}
    header = request(seq=seq or part + 1, **fields)
    ends.send(connection, header)


@pytest.fixture
def parted():
    return Ends(micro_batches=4)


def test_the_parts_of_a_step_need_not_wait_for_answers(parted):
    connection = parted.connect()
    for part in range(4):
        ask_part(parted, connection, part)
    assert [event.transfer.header.part for event in parted.events] == [0, 1, 2, 3]
    drain(connection)
    answers = [parted.answer(seq=seq, data=b"%d" % seq) for seq in (1, 2, 3, 4)]
    assert drain(connection) == [(head, bytes(body)) for frames in answers for head, body in frames]
    ask_part(parted, connection, 0, seq=5, step=1)
    assert len(parted.events) == 5


def test_parts_that_come_again_get_their_answers_in_any_order(parted):
    first = parted.connect()
    for part in range(3):
        ask_part(parted, first, part)
    frames = {seq: parted.answer(seq=seq, data=b"%d" % seq) for seq in (1, 2)}
    second = parted.connect(resume=True)
    drain(second)
    for part in (1, 0, 2):
        ask_part(parted, second, part)
    again = [*frames[2], *frames[1]]
    assert drain(second) == [(head, bytes(body)) for head, body in again]
    ask_part(parted, second, 3)
    arrived = [event for event in parted.events if isinstance(event, Arrived)]
    assert [event.transfer.header.part for event in arrived] == [0, 1, 2, 3]


def test_a_step_before_the_answers_to_all_parts_of_the_last_is_refused(parted):
    connection = parted.connect()
    for part in range(4):
        ask_part(parted, connection, part)
    parted.answer(seq=1), parted.answer(seq=2), parted.answer(seq=4)
    with pytest.raises(ProtocolError, match="request 5 came before the answer to request 3"):
        ask_part(parted, connection, 0, seq=5, step=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"part": 2}, {"part": 4}, {"part": 1, "step": 1}, {"part": 1, "round": 1},
        {"part": 1, "parts": 3}, {"part": 1, "parts": 5}, {"part": 1, "kind": "front"},
        {"part": 0, "parts": 2, "kind": "join"},
    ],
)  # fmt: skip
def test_a_part_that_is_not_the_next_one_is_refused(parted, changes):
    connection = parted.connect()
    ask_part(parted, connection, 0)
    with pytest.raises(ProtocolError, match="part"):
        ask_part(parted, connection, seq=2, **changes)
    assert len(parted.events) == 1


def test_a_run_without_parts_takes_none():
    ends = Ends()
    with pytest.raises(ProtocolError, match="part 0 of 2 of a step request came"):
        ask_part(ends, ends.connect(), 0, parts=2)


def test_parts_that_repeat_without_end_do_not_fill_the_memory(parted):
    connection = parted.connect()
    for part in range(4):
        ask_part(parted, connection, part)
    for seq in range(1, 5):
        frames = parted.answer(seq=seq, data=b"y" * (4 * MAX_BODY_BYTES))
    for _ in range(100):
        for part in range(4):
            ask_part(parted, connection, part)
    assert len(connection.outbox) < 3 * 4 * len(frames)

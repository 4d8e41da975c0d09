"""What waits for a busy trainer stays small, and what it gets stays true."""

import queue
import threading

import pytest

from harness.offline import arrive, request
from slfac.server.events import Arrived, EventQueue, Failed, Left, Lost, Reconnected
from slfac.wire.messages import Bye, Summary, Timings

BYE = Bye(0, True, Timings(), Summary(False, 1, 2, 3, "3", "1", "x", 4))


def asks(index, session):
    return Arrived(index, session, arrive(request("join", session=session), []), 10)


def drain(events):
    taken = []
    while True:
        try:
            taken.append(events.get(timeout=0))
        except queue.Empty:
            return taken


def put_all(*given):
    events = EventQueue()
    for event in given:
        events.put(event)
    return events


def test_events_come_out_in_order():
    failed = Failed(OSError())
    given = [asks(0, 1), asks(1, 2), failed, Lost(2, "gone")]
    assert drain(put_all(*given)) == given


def test_a_device_that_starts_again_and_again_leaves_two_events():
    other = asks(1, 7)
    events = put_all(other)
    for session in range(1000):
        events.put(asks(0, session))
        events.put(Lost(0, "it started again"))
    last = asks(0, 1000)
    events.put(last)
    assert drain(events) == [other, Lost(0, "it started again"), last]


def test_the_request_of_a_newer_session_takes_the_place_of_an_older_ones():
    assert drain(put_all(asks(0, 1), last := asks(0, 2))) == [last]


def test_the_requests_of_one_session_stay():
    first, second, third = asks(0, 1), asks(0, 1), asks(0, 1)
    assert drain(put_all(first, second, third)) == [first, second, third]
    assert drain(put_all(first, second, last := asks(0, 2))) == [last]


@pytest.mark.parametrize("gone", [Lost(0, "gone"), Left(0, BYE)])
def test_what_a_gone_device_asked_for_is_dropped_and_it_goes_once(gone):
    assert drain(put_all(asks(0, 1), gone)) == [gone]
    assert drain(put_all(gone, asks(0, 2), Lost(0, "again"), Left(0, BYE))) == [gone]
    events = put_all(gone)
    assert drain(events) == [gone]
    events.put(gone)
    assert drain(events) == [gone], "it has been back meanwhile, for all the queue knows"


def test_who_waits_is_woken():
    events = EventQueue()
    threading.Timer(0.05, events.put, (Lost(0, "gone"),)).start()
    assert events.get(timeout=20) == Lost(0, "gone")


def test_a_device_that_connects_over_and_over_is_told_of_once():
    first, other = Reconnected(0, 3.0), Reconnected(1, 1.0)
    asked = asks(0, 1)
    again = (Reconnected(0, 9.0) for _ in range(50))
    assert drain(put_all(asked, first, other, *again)) == [asked, first, other]

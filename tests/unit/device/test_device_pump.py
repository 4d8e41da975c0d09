"""Work that goes on beside a block, and only beside it."""

import threading

import pytest

from slfac.device.pump import Pump

pytestmark = pytest.mark.device
WAIT_S = 30


@pytest.fixture
def make():
    pumps = []

    def make(work):
        pumps.append(Pump(work))
        return pumps[-1]

    yield make
    for pump in pumps:
        pump.close()


def test_the_work_goes_on_during_a_block_and_rests_outside(make):
    calls, enough = [], threading.Event()

    def work():
        calls.append(threading.current_thread())
        if len(calls) >= 5:
            enough.set()
        return True

    pump = make(work)
    for _ in range(2):
        with pump.running():
            assert enough.wait(WAIT_S)
        made = len(calls)
        enough.clear()
        assert not enough.wait(0.01)
        assert len(calls) == made
        calls.clear()
    assert threading.main_thread() not in calls


def test_work_that_has_nothing_left_is_not_called_again(make):
    calls = []
    pump = make(lambda: calls.append(1))
    for count in (1, 2):
        with pump.running():
            while len(calls) < count:
                pass
        assert len(calls) == count


def test_what_the_work_raises_is_raised_after_the_block_and_once(make):
    failed = threading.Event()

    def work():
        failed.set()
        raise KeyError("broken")

    pump = make(work)
    reached = []

    def block():
        with pump.running():
            assert failed.wait(WAIT_S)
            reached.append(1)

    with pytest.raises(KeyError, match="broken"):
        block()
    assert reached == [1]
    failed.clear()
    with pytest.raises(KeyError):
        block()


def test_what_the_block_raises_goes_before(make):
    failed = threading.Event()

    def work():
        failed.set()
        raise KeyError

    def block():
        with pump.running():
            assert failed.wait(WAIT_S)
            raise ValueError("the block's own")

    pump = make(work)
    with pytest.raises(ValueError, match="own"):
        block()


def test_the_wait_of_the_work_can_be_ended(make):
    import select

    waits = threading.Event()

    def work():
        waits.set()
        select.select([pump.wake], [], [])
        return True

    pump = make(work)
    with pump.running():
        assert waits.wait(WAIT_S)

"""The clock is measured beside the training, and never in its way."""

import contextlib
import socket
import threading
import time

import pytest
import zmq

from slfac.device import clock_meter
from slfac.device.clock_meter import ClockMeter
from slfac.device.probing import Exchange
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.messages import Echo, Refusal
from slfac.wire.meter import Meter

pytestmark = pytest.mark.device
SESSION = 77


class Answers:
    """A ROUTER that answers each probe as it is told to."""

    def __init__(self, answer):
        self.probes = []
        self._answer = answer
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 0
        self._router.bind("tcp://127.0.0.1:*")
        self.address = self._router.get_string(zmq.LAST_ENDPOINT)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self._router.close()
        self._context.term()

    def _run(self):
        while not self._ended.is_set():
            if self._router.poll(20):
                identity, head, _ = self._router.recv_multipart()
                self.probes.append(decode_header(head))
                answer = self._answer(self.probes[-1])
                if answer is not None:
                    self._router.send_multipart([identity, encode_header(answer), b""])


def echo(probe):
    return Echo(probe.session, probe.seq, "0", time.time_ns() - 5 * 10**9)


@pytest.fixture
def meter():
    sent, received = Meter(), Meter()
    with zmq.Context() as context:
        one = ClockMeter(context, None, sent=sent, received=received)
        one.meters = sent, received
        with contextlib.closing(one):
            yield one


def test_the_offset_is_found_and_said_once(meter):
    with Answers(echo) as server:
        meter.begin(server.address, SESSION)
        found = meter.take(20.0)
    assert found.offset_ms == pytest.approx(-5000, abs=found.round_trip_ms / 2 + 1)
    assert meter.take() is None
    assert [(one.session, one.seq) for one in server.probes] == [
        (SESSION, seq) for seq in range(clock_meter.PROBES)
    ]


def test_the_quickest_probe_says_it(meter, monkeypatch):
    trips = iter([(9, 900), (3, 100), (7, 700)])
    monkeypatch.setattr(clock_meter, "PROBES", 3)
    monkeypatch.setattr(
        clock_meter.Prober,
        "ping",
        lambda _: Exchange(*(1_000_000 * value for value in next(trips)), "0"),
    )
    with Answers(echo) as server:
        meter.begin(server.address, SESSION)
        found = meter.take(20.0)
    assert (found.round_trip_ms, found.offset_ms) == (3.0, 100.0)


def test_probes_are_counted_when_they_are_over(meter):
    with Answers(echo) as server:
        meter.begin(server.address, SESSION)
        meter.close()
        sent = len(server.probes)
    assert [one.messages for one in meter.meters] == [sent, sent] == [clock_meter.PROBES] * 2
    assert meter.meters[0].bytes == sum(len(encode_header(one)) for one in server.probes)


def test_a_second_measurement_waits_for_the_first(meter):
    go_on = threading.Event()

    def held(probe):
        go_on.wait(20)
        return echo(probe)

    with Answers(held) as server:
        for _ in range(3):
            meter.begin(server.address, SESSION)
        assert meter.take() is None
        go_on.set()
        assert meter.take(20.0) is not None
    assert len(server.probes) == clock_meter.PROBES


@pytest.mark.parametrize(
    "answer", [lambda _: Refusal(0, "malformed message: 10", ""), lambda _: None]
)
def test_a_server_that_knows_no_probes_leaves_it_unknown(meter, answer, monkeypatch):
    monkeypatch.setattr(clock_meter, "_ANSWER_S", 0.2)
    with Answers(answer) as server:
        meter.begin(server.address, SESSION)
        assert meter.take(20.0) is None
        meter.begin(server.address, SESSION)
        meter.close()


def test_a_server_that_is_not_there_leaves_it_unknown(meter, monkeypatch):
    monkeypatch.setattr(clock_meter, "_OPEN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    meter.begin(address, SESSION)
    assert meter.take(20.0) is None
    meter.begin("tcp://-:1", SESSION)
    assert meter.take(20.0) is None

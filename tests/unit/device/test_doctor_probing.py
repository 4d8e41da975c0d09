"""Probes over a link of known delay, on a clock that only the link moves."""

from types import SimpleNamespace

import pytest

from slfac.device import probing
from slfac.device.probing import Prober
from slfac.wire.errors import LinkError, ProtocolError, RefusedError
from slfac.wire.frame import MAX_BODY_BYTES, decode_header
from slfac.wire.messages import Echo, Ping, Refusal

pytestmark = pytest.mark.device

AHEAD_NS = 7_000_000_000
AHEAD = 16


class Link:
    """A connection whose answers come after a delay, one at a time where it has a rate."""

    def __init__(self, *, delay_ns, body_ns=0, answer=None):
        self.now_ns = 10**18
        self.delay_ns = delay_ns
        self.body_ns = body_ns
        self.free_ns = 0
        self.due = []
        self.sent = []
        self.answer = answer or self.echo

    def echo(self, probe):
        return Echo(probe.session, probe.seq, "9.9", self.now_ns + self.delay_ns // 2 + AHEAD_NS)

    def send(self, head, body):
        probe = decode_header(head)
        self.sent.append((len(body), probe.reply_bytes))
        self.free_ns = max(self.now_ns, self.free_ns) + self.body_ns
        self.due.append((self.free_ns + self.delay_ns, self.answer(probe)))
        return True

    def receive(self, timeout_s):
        end_ns = self.now_ns + round(timeout_s * 1e9)
        if not self.due or self.due[0][0] > end_ns:
            self.now_ns = end_ns
            return None
        due_ns, message = self.due.pop(0)
        self.now_ns = max(self.now_ns, due_ns)
        return message, memoryview(b"")


@pytest.fixture
def prober(monkeypatch):
    def make(**link):
        connection = Link(**link)
        clock = SimpleNamespace(
            monotonic=lambda: connection.now_ns / 1e9,
            perf_counter_ns=lambda: connection.now_ns,
            time_ns=lambda: connection.now_ns,
        )
        monkeypatch.setattr(probing, "time", clock)
        return Prober(connection), connection

    return make


def test_a_ping_measures_delay_and_clock(prober):
    exchange = prober(delay_ns=30_000_000)[0].ping()
    assert (exchange.round_trip_ns, exchange.software) == (30_000_000, "9.9")
    assert exchange.offset_ns == AHEAD_NS


@pytest.mark.parametrize(("direction", "sizes"), [("up", (65536, 0)), ("down", (0, 65536))])
def test_bodies_go_the_way_that_is_measured(prober, direction, sizes):
    one, link = prober(delay_ns=1_000_000, body_ns=1_000_000)
    one.throughput(direction, 0.1)
    assert set(link.sent) == {sizes}


def test_the_beginning_while_the_link_fills_is_not_counted(prober):
    delay_ns = 20_000_000
    one, link = prober(delay_ns=delay_ns)
    rate = one.throughput("up", 0.5)
    # Answers come in bursts: one more or less of a dozen.
    assert rate == pytest.approx(AHEAD * MAX_BODY_BYTES / (delay_ns / 1e9), rel=0.1)
    assert not link.due, "every answer was waited for"


@pytest.mark.parametrize("body_ns", [5_000_000, 100_000_000, 900_000_000])
def test_a_links_rate(prober, body_ns):
    one, link = prober(delay_ns=2_000_000, body_ns=body_ns)
    start_ns = link.now_ns
    rate = one.throughput("up", 0.7)
    assert rate == pytest.approx(MAX_BODY_BYTES / (body_ns / 1e9), rel=0.05)
    assert (link.now_ns - start_ns) / 1e9 < 0.7 + AHEAD * body_ns / 1e9 + 0.1


def test_no_more_than_so_many_are_on_the_way(prober):
    one, link = prober(delay_ns=10**9)
    most = []
    send = link.send
    link.send = lambda *frames: most.append(len(link.due) + 1) or send(*frames)
    one.throughput("down", 10.0)
    assert max(most) == AHEAD


def test_silence_is_an_error(prober):
    one, link = prober(delay_ns=60 * 10**9)
    start_ns = link.now_ns
    with pytest.raises(LinkError, match="within 10 s"):
        one.ping()
    assert (link.now_ns - start_ns) / 1e9 < 11


@pytest.mark.parametrize(
    ("message", "error", "said"),
    [
        (Refusal(0, "go away", "do this"), RefusedError, "go away; do this"),
        (Refusal(0, "go away", ""), RefusedError, "go away; install the same release"),
        (Refusal(0, "malformed message: 10", ""), ProtocolError, "knows no probes"),
        (Echo(1, 2, "", 3), ProtocolError, "answered a probe with a Echo"),
        (Ping(1), LinkError, "did not answer"),
    ],
)
def test_other_answers(prober, message, error, said):
    with pytest.raises(error) as caught:
        prober(delay_ns=1000, answer=lambda _: message)[0].ping()
    assert said in str(caught.value)

"""Several requests of one step on their way at once, against a server that does as a test says."""

import queue
import threading
import time

import pytest
import zmq

from harness.offline import plan
from slfac.device.asking import Share
from slfac.device.caller import Patience
from slfac.device.link import Link
from slfac.device.network import Sockets
from slfac.device.routes import Fixed
from slfac.wire.errors import ProtocolError, RefusedError
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.messages import Credit, Echo, Hello, Probe, Refusal, Reply, Request, Welcome
from slfac.wire.transfer import WINDOW_BYTES, Inbox, Outbox, Part, cut_transfer

pytestmark = pytest.mark.device
WAIT_S = 30


class Far:
    """A server's end: it greets, takes requests in, and does what it is told."""

    def __init__(self, window_bytes=WINDOW_BYTES):
        self.arrived = queue.Queue()
        self._window_bytes = window_bytes
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 500
        self.port = self._router.bind_to_random_port("tcp://127.0.0.1")
        self._orders = queue.SimpleQueue()
        self._ended = threading.Event()
        self._peers = {}
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self._router.close()
        self._context.term()

    def take(self):
        """The next request that is whole: its header and payload."""
        transfer = self.arrived.get(timeout=WAIT_S)
        return transfer.header, b"".join(map(bytes, transfer.payload))

    def answer(self, header, data):
        reply = Reply(header.session, header.seq, "step", 0, "train", 0.5, 0, 0, 0, ())
        frames = cut_transfer(reply, [Part("gradient", "g", data)])
        self._orders.put(lambda outbox: outbox.put_frames(frames))

    def say(self, message):
        self._orders.put(lambda outbox: outbox.put(message))

    def hang_up(self):
        """Break the connection, and be there again at once."""
        done = threading.Event()

        def rebind(_):
            self._router.close(linger=0)
            self._router = self._context.socket(zmq.ROUTER)
            self._router.linger = 500
            # libzmq lets go of the port on a thread of its own.
            while not (self._rebound() or self._ended.is_set()):
                self._ended.wait(0.01)
            self._peers.clear()
            done.set()

        self._orders.put(rebind)
        assert done.wait(WAIT_S)

    def _rebound(self):
        try:
            self._router.bind(f"tcp://127.0.0.1:{self.port}")
        except zmq.ZMQError:
            return False
        return True

    def _run(self):
        while not self._ended.is_set():
            while not self._orders.empty():
                self._orders.get()(next(iter(self._peers.values()))[1])
            if self._router.poll(5):
                self._hear(*self._router.recv_multipart())
            for identity, (_, outbox) in self._peers.items():
                while (message := outbox.peek()) is not None:
                    self._router.send_multipart([identity, *message])
                    outbox.pop()

    def _hear(self, identity, head, body):
        header = decode_header(head)
        if isinstance(header, Probe):
            echo = Echo(header.session, header.seq, "", 0)
            self._router.send_multipart([identity, encode_header(echo), b""])
            return
        if isinstance(header, Hello):
            inbox, outbox = Inbox(1 << 24, self._window_bytes), Outbox(header.window_bytes)
            self._peers = {identity: (inbox, outbox)}
            outbox.put(
                Welcome(
                    header.session, header.resume, "b", "r", "d", 0, 1, "0" * 64,
                    self._window_bytes, plan(),
                )
            )  # fmt: skip
            return
        inbox, outbox = self._peers[identity]
        if isinstance(header, Credit):
            outbox.credit(header.consumed_bytes)
            return
        take = inbox.begin if isinstance(header, Request) else inbox.chunk
        transfer = take(header, memoryview(body))
        if (credit := inbox.credit(header.session)) is not None:
            outbox.put(credit)
        if transfer is not None:
            self.arrived.put(transfer)


@pytest.fixture
def far():
    with Far() as end:
        yield end


@pytest.fixture
def link(far):
    device = Link(
        Sockets(
            where=Fixed(f"tcp://127.0.0.1:{far.port}"),
            keys=None,
            patience=Patience(WAIT_S, WAIT_S),
            on_status=str,
        ),
        name="d",
        bundle_id="",
        on_status=str,
    )
    device.join()
    yield device
    device.close()


def post(link, part, data, parts=3):
    return link.post(
        "step",
        [Part("smashed", "z", data)],
        max_reply_bytes=8 << 20,
        samples=2,
        share=Share(part, parts, 6),
    )


def payload(exchanged):
    return b"".join(map(bytes, exchanged.reply.payload))


def test_parts_leave_before_any_answer_and_are_collected_by_number(far, link):
    numbers = [post(link, part, b"part %d" % part) for part in range(3)]
    heard = [far.take() for _ in range(3)]
    assert [(h.part, h.parts, h.step_samples, data) for h, data in heard] == [
        (part, 3, 6, b"part %d" % part) for part in range(3)
    ]
    for header, _ in reversed(heard):
        far.answer(header, b"to %d" % header.seq)
    assert [payload(link.collect(seq)) for seq in numbers] == [b"to %d" % seq for seq in numbers]


def test_after_a_break_all_that_is_unanswered_goes_again_in_order(far, link):
    numbers = [post(link, part, b"part %d" % part) for part in range(3)]
    heard = [far.take() for _ in range(3)]
    far.answer(heard[0][0], b"first")
    assert payload(link.collect(numbers[0])) == b"first"
    far.hang_up()
    collecting = threading.Thread(target=lambda: got.append(link.collect(numbers[1])))
    got = []
    collecting.start()
    again = [far.take() for _ in range(2)]
    # Not the headers themselves: what is not known in them is NaN.
    frames = [[(encode_header(header), data) for header, data in some] for some in (heard, again)]
    assert frames[1] == frames[0][1:]
    # The server may have answered as it heard of this device, and then once more.
    for header, _ in (again[1], *again):
        far.answer(header, b"to %d" % header.seq)
    collecting.join(WAIT_S)
    assert [payload(one) for one in got] == [b"to %d" % numbers[1]]
    # Sending begins anew after the break, of which it is known when it was.
    ((broken_ns, mended_ns),) = got[0].without_link_ns
    assert broken_ns < mended_ns
    assert broken_ns < got[0].sending_ns[0] <= got[0].sending_ns[1] <= got[0].waiting_ns[1]
    assert payload(link.collect(numbers[2])) == b"to %d" % numbers[2]
    assert far.arrived.empty()


def test_a_payload_beyond_the_window_moves_while_the_device_computes(far, link):
    data = bytes(range(256)) * (3 * WINDOW_BYTES // 256)
    number = post(link, 0, data)
    with link.moving():
        header, came = far.take()
        assert came == data
        far.answer(header, data)
        far.say(Credit(header.session, 0))
        computed_ns = time.monotonic_ns()
    exchanged = link.collect(number)
    assert payload(exchanged) == data
    # It was sent while something was computed, which held nobody up.
    (begun_ns, sent_ns), (_, done_ns) = exchanged.sending_ns, exchanged.waiting_ns
    assert begun_ns < sent_ns < computed_ns < done_ns
    assert exchanged.without_link_ns == ()


def test_nothing_needs_to_be_moved_by_hand_below_the_window(far, link):
    number = post(link, 0, b"x" * (WINDOW_BYTES // 2), parts=1)
    header, _ = far.take()
    far.answer(header, b"y")
    assert payload(link.collect(number)) == b"y"


def test_a_refusal_while_the_device_computes_is_told(far, link):
    number = post(link, 0, bytes(3 * WINDOW_BYTES))

    def compute():
        with link.moving():
            header, _ = far.take()
            far.say(Refusal(header.session, "no more", ""))
        link.collect(number)

    with pytest.raises(RefusedError, match="no more"):
        compute()


def test_an_answer_to_no_part_is_passed_over(far, link):
    number = post(link, 0, b"x")
    header, _ = far.take()
    far.answer(header, b"first")
    assert payload(link.collect(number)) == b"first"
    far.answer(header, b"again")
    second = post(link, 1, b"y")
    header, _ = far.take()
    far.answer(header, b"second")
    assert payload(link.collect(second)) == b"second"


def test_a_reply_beyond_what_any_part_may_have_is_refused(far, link):
    number = post(link, 0, b"x")
    header, _ = far.take()
    far.answer(header, bytes((8 << 20) + 1))
    with pytest.raises(ProtocolError, match="exceeds the 8388608 allowed"):
        link.collect(number)

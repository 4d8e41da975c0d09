"""One device of two misbehaves on the wire: the other trains to the end, and it is said why."""

import zmq

from harness.hostile import ask, hello, whole
from harness.site import WAIT_S
from slfac.cli.main import main
from slfac.wire.frame import MAX_BODY_BYTES, decode_header, encode_header
from slfac.wire.keys import device_keys
from slfac.wire.messages import Refusal, Reply, Request, Section, Welcome
from slfac.wire.transfer import Part

STEP_TIMEOUT_S = 1.0
SESSION = 7


class Odd:
    """The run's other device, with its real key and without its software."""

    def __init__(self, context, site, address):
        keys = device_keys(site.keys("d1"))
        self.socket = context.socket(zmq.DEALER)
        self.socket.curve_publickey, self.socket.curve_secretkey = keys.own.public, keys.own.secret
        self.socket.curve_serverkey = keys.server
        self.socket.linger = 0
        self.socket.connect(address)

    def say(self, *said):
        for frames in said:
            self.socket.send_multipart(frames)

    def hear(self, kind):
        while True:
            assert self.socket.poll(WAIT_S * 1000), "the server says nothing"
            header = decode_header(self.socket.recv_multipart()[0])
            if isinstance(header, kind):
                return header

    def join(self):
        """Get into the run; its id."""
        self.say(hello(SESSION))
        run = self.hear(Welcome).run
        self.say(*whole(ask(SESSION, "join", run=run)))
        self.hear(Reply)
        return run


def beside(site, misbehave):
    """What a run counts of d1, and why d1 left, when it does this once it is in."""
    with site.server(step_timeout_s=STEP_TIMEOUT_S) as server, zmq.Context() as context:
        other = site.device("d0", server.address).start()
        odd = Odd(context, site, server.address)
        with odd.socket:
            misbehave(odd, odd.join())
            assert other.finish().rounds == 2
    assert [entry.devices for entry in server.finished().rounds] == [1, 1]
    counts = {event["device"]: event["refused"] for event in server.of_kind("device")}
    assert counts["d0"] == {}
    assert server.of_kind("end")[0]["refused"] == counts["d1"] == server.result.refused
    (left,) = [event for event in server.of_kind("left") if event["device"] == "d1"]
    return counts["d1"], left["reason"]


def test_a_device_that_stalls_in_mid_message_is_not_waited_for_for_ever(site):
    def stall(odd, run):
        front = [Part("front", "front", bytes(2 * MAX_BODY_BYTES))]
        odd.say(*whole(ask(SESSION, "front", 2, run=run), front)[:1])
        assert "no request for 1 s while the others waited" in odd.hear(Refusal).reason

    counts, reason = beside(site, stall)
    assert counts == {"late": 1}
    assert "no request for 1 s" in reason


def test_a_device_that_lies_about_its_payloads_length_is_refused(site):
    def lie(odd, run):
        section = Section("smashed", "smashed", "none", (), "", 60_000, 0)
        header: Request = ask(SESSION, "step", 2, run=run, sections=(section,))
        odd.say((encode_header(header), bytes(64)))
        assert "first chunk has 64 bytes, 60000 were expected" in odd.hear(Refusal).reason

    counts, reason = beside(site, lie)
    assert counts == {"payload": 1}
    assert "60000 were expected" in reason


def test_a_device_that_floods_without_listening_holds_nobody_up(site):
    def flood(odd, run):
        # No answer is read: it asks for the bundle, greets anew, and says what nobody asked for.
        for number in range(1500):
            session = SESSION + 1 + number
            odd.say(hello(session), *whole(ask(session, "bundle", run=run)))
            odd.say((encode_header(ask(session + 1, "join", run=run)), b""))

    counts, reason = beside(site, flood)
    assert counts == {"session": 1500}
    assert "from another session" in reason


def test_a_device_whose_key_is_revoked_gets_no_more_in(site, capsys):
    def revoked(odd, run):
        assert main(["keys", "revoke", "d1", "--dir", str(site.keys("server"))]) == 0
        odd.say(*whole(ask(SESSION, "front", 2, run=run), [Part("front", "front", b"x" * 900)]))
        assert "revoked" in odd.hear(Refusal).reason

    counts, reason = beside(site, revoked)
    assert "revoked d1" in capsys.readouterr().out
    assert counts == {"key": 1}
    assert "revoked" in reason

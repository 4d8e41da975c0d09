"""Of the places that a name leads to, the one that answers is taken."""

import contextlib
import socket

import pytest

from harness.network import LOOPBACK
from slfac.device import routes
from slfac.device.routes import Fixed, choose, first_to_answer, look_up, name_of
from slfac.wire.addresses import join_address

pytestmark = pytest.mark.device


@contextlib.contextmanager
def listening(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        yield server.getsockname()[1]


@pytest.fixture
def leads_to(monkeypatch):
    """Makes the name ``board`` lead to some addresses."""
    plain = socket.getaddrinfo

    def lead(*hosts):
        def look(host, port, **options):
            given = hosts if host == "board" else [host]
            return [info for one in given for info in plain(one, port, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", look)

    return lead


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_number_stays_as_it_is_whether_anything_answers(host):
    address = f"tcp://[{host}]:1" if ":" in host else f"tcp://{host}:1"
    where = Fixed(address)
    assert where.find(5.0) == address
    assert where.at_most_s is None


def test_a_name_with_one_place_stays_a_name(leads_to):
    leads_to("127.0.0.1")
    where = Fixed("tcp://board:1")
    assert where.find(5.0) == "tcp://board:1"
    assert where.at_most_s is None


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_of_a_name_with_several_places_one_that_answers_is_taken(leads_to, host, order):
    leads_to(*["127.0.0.1", "127.0.0.2", "127.0.0.3"][::order])
    with listening(host) as port:
        where = Fixed(f"tcp://board:{port}")
        assert where.find(5.0) == f"tcp://{host}:{port}"
        assert where.at_most_s == 2 * routes.KNOCK_S
    # It is asked again when that one does not answer any more.
    assert where.find(5.0) == f"tcp://board:{port}"


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_name_of_both_families_of_which_one_listens(leads_to, host):
    leads_to("::1", "127.0.0.1")
    with listening(host) as port:
        found = Fixed(f"tcp://board:{port}").find(5.0)
    assert found == join_address(host, port)


def test_a_name_that_leads_nowhere_is_left_to_time(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert Fixed("tcp://board:1").find(5.0) == "tcp://board:1"
    assert choose(["tcp://board:1"], 1.0) is None


def test_who_says_nothing_does_not_hold_up_who_answers():
    # A full backlog drops what comes: the connection stays on its way.
    with socket.socket() as mute, contextlib.ExitStack() as opened, listening("127.0.0.2") as port:
        mute.bind(("127.0.0.1", 0))
        mute.listen(0)
        place = mute.getsockname()
        for _ in range(3):
            filling = opened.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(place)
        silent = (int(socket.AF_INET), place)
        answers = look_up("127.0.0.2", port)
        assert first_to_answer([silent, *answers], 10.0) == answers[0]
        assert first_to_answer([silent], 0.1) is None


def test_names_of_places():
    assert name_of((int(socket.AF_INET), ("10.0.0.5", 1))) == "10.0.0.5"
    assert name_of((int(socket.AF_INET6), ("fd00::5", 1, 0, 0))) == "fd00::5"
    index = socket.if_nametoindex("lo")
    assert name_of((int(socket.AF_INET6), ("fe80::1", 1, 0, index))) == "fe80::1%lo"
    assert name_of((int(socket.AF_INET6), ("fe80::1%lo", 1, 0, index))) == "fe80::1%lo"
    assert name_of((int(socket.AF_INET6), ("fe80::1", 1, 0, 4_000_000))) == "fe80::1%4000000"

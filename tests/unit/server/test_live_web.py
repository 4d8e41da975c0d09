import socket
import struct
import threading
import time

import pytest

from harness.live import ask
from slfac.server.live import web
from slfac.server.live.address import ListenAddress
from slfac.server.live.web import Answer, WebServer
from slfac.wire.errors import AddressError

LOOPBACK = ListenAddress("127.0.0.1", 0)


@pytest.fixture
def serve():
    servers = []

    def start(routes=None, address=LOOPBACK):
        routes = routes or {"/": lambda _: Answer("text/plain", b"here")}
        servers.append(WebServer(address, routes))
        servers[-1].start()
        return f"http://{servers[-1].address}/"

    yield start
    for server in servers:
        server.close()


def talk(url, data, timeout_s=20):
    """Everything that a raw request gets."""
    host, _, port = url[7:-1].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=timeout_s) as link:
        link.sendall(data)
        parts = []
        while part := link.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)


def test_an_answer_lets_nothing_else_in(serve):
    url = serve()
    status, headers, body = ask(url)
    assert (status, body, headers["Content-Type"]) == (200, b"here", "text/plain")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]
    assert ask(url, "HEAD") == (200, {**headers, "Date": ask(url, "HEAD")[1]["Date"]}, b"")
    assert ask(url + "?x=1")[0] == 200


@pytest.mark.parametrize("path", ["nothing", "../etc/passwd", "%2e%2e/", "index.html"])
def test_only_what_is_there_is_found(serve, path):
    status, headers, body = ask(serve() + path)
    assert (status, body) == (404, b"404 Not Found\n")
    assert "Content-Security-Policy" in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_nothing_but_reading_is_answered(serve, method):
    assert ask(serve(), method)[0] == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("10.0.0.1", 421),
        ("", 421),
    ],
)
def test_on_loopback_a_foreign_name_is_refused(serve, host, status):
    assert ask(serve(), headers={"Host": host})[0] == status


def test_on_loopback_a_request_must_name_a_host(serve):
    assert talk(serve(), b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 421 ")


def test_elsewhere_any_name_will_do(serve):
    class Everywhere(ListenAddress):
        is_loopback = False

    assert ask(serve(address=Everywhere("127.0.0.1", 0)), headers={"Host": "trainer.lan"})[0] == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1 <script>\r\n\r\n",
        b"\0\xff\xfe\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\na: " + b"b" * 100_000,
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: " + b"b" * 20_000 + b"\r\n\r\n",
    ],
)
def test_nonsense_is_refused_and_not_repeated(serve, data):
    url = serve()
    try:
        told = talk(url, data)
    except (ConnectionResetError, BrokenPipeError):
        told = b""
    assert b" 200 " not in told
    assert b"<script>" not in told
    assert len(told) < 2000
    assert ask(url)[0] == 200


def test_headers_beyond_the_limit_say_so(serve):
    answer = talk(serve(), b"GET / HTTP/1.1\r\nHost: localhost\r\na: " + b"b" * (16 * 1024 - 36))
    assert answer.startswith(b"HTTP/1.0 431 ")


def test_who_holds_a_connection_open_is_cut(serve, monkeypatch):
    monkeypatch.setattr(web, "_CONNECTION_S", 0.3)
    url = serve()
    start_s = time.monotonic()
    # Nothing at all, and half a request.
    assert talk(url, b"") == b""
    assert talk(url, b"GET / HT") == b""
    # The socket's own limit, which each byte would reset, is ten seconds.
    assert time.monotonic() - start_s < 8


def test_who_reads_slowly_is_cut_and_holds_up_nobody(serve, monkeypatch):
    monkeypatch.setattr(web, "_CONNECTION_S", 0.5)
    done = threading.Event()

    def big(_):
        done.set()
        return Answer("text/plain", bytes(50_000_000))

    url = serve({"/": lambda _: Answer("text/plain", b"here"), "/big": big})
    host, _, port = url[7:-1].rpartition(":")
    start_s = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=20) as link:
        link.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert done.wait(20)
        assert ask(url)[0] == 200
        await_threads(0)
        size = 0
        while part := receive(link):
            size += len(part)
        assert size < 50_000_000
    assert time.monotonic() - start_s < 8


def receive(link):
    try:
        return link.recv(1 << 20)
    except ConnectionResetError:
        return b""


def await_threads(count):
    """Wait until so many requests are being answered."""
    waiter = threading.Event()
    for _ in range(400):
        if sum(thread.name == "slfac-web-1" for thread in threading.enumerate()) <= count:
            return
        waiter.wait(0.05)
    raise AssertionError("requests are still being answered")


def test_a_flood_takes_no_more_than_its_share(serve):
    url = serve()
    host, _, port = url[7:-1].rpartition(":")
    links = [socket.create_connection((host, int(port)), timeout=20) for _ in range(60)]
    try:
        closed = sum(one.recv(1) == b"" for one in links[32:50])
        threads = sum(thread.name == "slfac-web-1" for thread in threading.enumerate())
        assert (closed, threads) == (18, 32)
    finally:
        for link in links:
            # Reset, so that the server need not wait for them.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.close()
    await_threads(0)
    assert ask(url)[0] == 200


def test_a_taken_port_and_a_foreign_address_are_refused(serve):
    port = int(serve().rstrip("/").rpartition(":")[2])
    with pytest.raises(AddressError, match=f"cannot listen on 127.0.0.1:{port}"):
        WebServer(ListenAddress("127.0.0.1", port), {})
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(AddressError, match=f"cannot listen on {host}:0"):
            WebServer(ListenAddress(host, 0), {})


def test_ipv6(serve):
    url = serve(address=ListenAddress("::1", 0))
    assert url.startswith("http://[::1]:")
    assert ask(url)[0] == 200


def test_a_port_is_free_again_at_once():
    first = WebServer(LOOPBACK, {})
    first.start()
    first.close()
    WebServer(first.address, {}).close()

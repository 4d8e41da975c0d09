import pytest

from slfac.server import server_settings
from slfac.server.live.address import ListenAddress, is_loopback, named_host, parse_listen
from slfac.wire.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("8080", "127.0.0.1", 8080, True),
        ("0", "127.0.0.1", 0, True),
        ("10.0.0.5:9464", "10.0.0.5", 9464, False),
        ("localhost:80", "localhost", 80, True),
        ("127.5.0.1:80", "127.5.0.1", 80, True),
        ("[::1]:8080", "::1", 8080, True),
        ("[::]:8080", "::", 8080, False),
        ("trainer-1.lan:65535", "trainer-1.lan", 65535, False),
    ],
)
def test_a_port_alone_is_on_loopback(text, host, port, loopback):
    address = parse_listen(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        ":8080",
        "65536",
        "-1",
        "127.0.0.1",
        "http://a:80",
        "a b:80",
        "[::1:80",
        "80\n",
        "٨٠٨٠",
        "a:",
    ],
)
def test_anything_else_is_refused_and_the_setting_named(text):
    with pytest.raises(SettingsError, match="no address to listen on"):
        parse_listen(text)
    for name in ("page", "prometheus"):
        with pytest.raises(SettingsError, match=f"setting {name} is "):
            settings(**{name: text})


def settings(**changes):
    return server_settings(
        bundle="b", out="o", insecure=True, devices=("a",), bind="tcp://127.0.0.1:*", **changes
    )


def test_settings_take_a_port_as_a_number_and_show_nothing_by_default():
    assert (settings().page, settings().prometheus, settings().tensorboard) == ("", "", False)
    assert settings(page=8080, prometheus="[::]:9464").page == "8080"


def test_an_address_reads_back_as_part_of_a_url():
    assert str(ListenAddress("::1", 80)) == "[::1]:80"
    assert str(ListenAddress("localhost", 80)) == "localhost:80"


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("a.example:80", "a.example"),
        ("[::1]:80", "::1"),
        ("localhost", "localhost"),
        (None, ""),
        ("[", ""),
    ],
)
def test_the_host_that_a_request_names(header, host):
    assert named_host(header) == host


def test_names_are_not_looked_up():
    assert is_loopback("LOCALHOST")
    assert not is_loopback("localhost.evil.example")
    assert not is_loopback("")

"""Plugs with a meter: Shelly and Tasmota pages, and a web server that does its worst."""

import json
import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.boards import Board
from slfac.device.energy import find_sensors, open_sensor, sensor_settings
from slfac.device.energy.http import fetch
from slfac.wire.errors import SensorError

pytestmark = pytest.mark.device

PLUG = "http://192.168.1.9"
GEN2 = {
    "id": 0,
    "source": "init",
    "output": True,
    "apower": 6.4,
    "voltage": 231.7,
    "current": 0.05,
    "aenergy": {"total": 13652.762, "by_minute": [73.9, 177.7]},
    "temperature": {"tC": 56.3},
}
GEN1 = {
    "power": 6.41,
    "is_valid": True,
    "timestamp": 1680779310,
    "counters": [2.1],
    "total": 439237,
}
TASMOTA = {
    "StatusSNS": {
        "Time": "2019-09-06T20:06:19",
        "ENERGY": {"Total": 0.003, "Today": 0.003, "Power": 26, "Voltage": 239, "Current": 0.106},
    }
}
PAGES = {
    "shelly": ("/rpc/Switch.GetStatus?id=0", GEN2, 6.4, 3600.0),
    "shelly pm": ("/rpc/PM1.GetStatus?id=0", GEN2, 6.4, 3600.0),
    "shelly gen1": ("/meter/0", GEN1, 6.41, 60.0),
    "tasmota": ("/cm?cmnd=Status%2010", TASMOTA, 26.0, 3.6e6),
}


def plugged(tmp_path, page, answer):
    board = Board(tmp_path)
    board.pages[PLUG + page] = answer if isinstance(answer, str) else json.dumps(answer)
    return board


def probe(board, **settings):
    return find_sensors(board.host, sensor_settings(plug=PLUG, **settings))


def more(answer, units):
    """The answer after its counter went on."""
    text = json.dumps(answer)
    for key in ('"total": 13652.762', '"total": 439237', '"Total": 0.003'):
        name, value = key.split(": ")
        text = text.replace(key, f"{name}: {float(value) + units}")
    return text


@pytest.mark.parametrize("firmware", sorted(PAGES))
def test_each_firmware_tells_watts_and_joules(firmware, tmp_path):
    page, answer, watts, unit_j = PAGES[firmware]
    board = plugged(tmp_path, page, answer)
    (sensor,) = probe(board).sensors
    assert (sensor.info.name, sensor.info.scope, sensor.info.gives) == ("plug", "wall", "power")
    assert sensor.info.place == f"{PLUG}{page} ({firmware})"
    sample = sensor.read()
    assert (sample.power_w, sample.energy_j) == (watts, 0.0)
    assert sample.t1_ns - sample.t0_ns == 10**9
    board.pages[PLUG + page] = more(answer, 0.5 if firmware != "tasmota" else 0.0005)
    board.after(1)
    gained_j = sensor.read().energy_j
    assert gained_j == pytest.approx(unit_j / 2 if firmware != "tasmota" else 1800, rel=1e-6)


def test_a_plug_that_is_named_is_taken_and_nothing_in_its_stead(tmp_path):
    board = plugged(tmp_path, "/meter/0", GEN1)
    board.hwmon("ina226", "1-0040", "i2c", power1_input=1_000_000, curr1_input=200)
    assert open_sensor(board.host, sensor_settings(plug=PLUG)).info.name == "plug"
    assert open_sensor(board.host, sensor_settings()).info.name == "ina2xx@1-0040"
    board.pages.clear()
    with pytest.raises(SensorError, match="sensor plug cannot be used") as refused:
        open_sensor(board.host, sensor_settings(plug=PLUG))
    assert refused.value.remedy


def test_a_socket_of_several(tmp_path):
    board = plugged(tmp_path, "/rpc/Switch.GetStatus?id=1", GEN2)
    assert probe(board, plug_channel=1).sensors
    assert not probe(board).sensors
    figures = {"Power": [5, 26.5], "Total": [0.1, 0.2]}
    board.pages[PLUG + "/cm?cmnd=Status%2010"] = json.dumps({"StatusSNS": {"ENERGY": figures}})
    (sensor,) = probe(board, plug_kind="tasmota", plug_channel=1).sensors
    assert sensor.read().power_w == 26.5
    assert not probe(board, plug_kind="tasmota", plug_channel=2).sensors


def test_a_plug_without_a_counter_gives_power_alone(tmp_path):
    board = plugged(tmp_path, "/meter/0", {"power": 3})
    (sensor,) = probe(board).sensors
    sample = sensor.read()
    assert (sensor.info.lsb_j, sample.power_w, sample.energy_j) == (None, 3.0, None)


@pytest.mark.parametrize(
    "answer",
    [
        *("", "[]", "null", "{}", '{"power": "6"}', '{"power": null}', '{"power": NaN}'),
        *('{"power": true}', '{"power": 1e999}', "[" * 5000, "\x00", '{"StatusSNS": []}'),
        '{"power": ' + "9" * 400 + "}",
    ],
)
def test_nonsense_is_passed_over(answer, tmp_path):
    board = plugged(tmp_path, "/meter/0", answer)
    (over,) = probe(board).passed
    assert over.name == "plug"
    assert over.remedy
    board.pages[PLUG + "/meter/0"] = json.dumps(GEN1)
    (sensor,) = probe(board).sensors
    board.pages[PLUG + "/meter/0"] = answer
    with pytest.raises(SensorError):
        sensor.read()


@settings(max_examples=30)
@given(
    answer=st.text(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["power", "total", "StatusSNS", "ENERGY"]), inner)
        ),
    ).map(json.dumps)
)
def test_any_answer_is_a_sample_or_an_error(answer, tmp_path_factory):
    board = Board(tmp_path_factory.getbasetemp())
    board.pages[PLUG + "/meter/0"] = json.dumps(GEN1)
    (sensor,) = find_sensors(board.host, sensor_settings(plug=PLUG)).sensors
    board.pages[PLUG + "/meter/0"] = answer
    with suppress(SensorError):
        assert abs(sensor.read().power_w) <= 5000


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("it asks for a password"), "asks for a password"),
        (TimeoutError("timed out"), "does not answer"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
    ],
)
def test_a_plug_that_does_not_answer_is_asked_once(error, said, tmp_path):
    board = Board(tmp_path)
    asked = []

    class Pages(dict):
        def get(self, url):
            asked.append(url)
            return error

    board.pages = Pages()
    (over,) = probe(board).passed
    assert said in over.why
    assert len(asked) == 1


@contextmanager
def answering(*chunks, hang_up=True):
    """A server for one request; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()
        heard = []

        def serve():
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(4096))
                try:
                    for chunk in chunks:
                        connection.sendall(chunk)
                except OSError:
                    return
                if not hang_up:
                    done.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", heard
        finally:
            done.set()
            thread.join()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("chunks", "hang_up"),
    [
        ([OK + b"\r\n{}"], True),
        ([OK + b"Content-Length: 2\r\n\r\n{", b"}"], False),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"], True),
        ([b"HTTP/1.0 200 OK\r\ncontent-length:2\r\n\r\n{}"], False),
    ],
)
def test_a_page_is_got_however_the_server_ends_it(chunks, hang_up):
    with answering(*chunks, hang_up=hang_up) as (url, heard):
        assert fetch(f"{url}/cm?cmnd=Status%2010", 5) == b"{}"
    assert heard[0].startswith(b"GET /cm?cmnd=Status%2010 HTTP/1.0\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(
    ("chunks", "error", "said"),
    [
        ([b"HTTP/1.1 401 Unauthorized\r\n\r\n"], PermissionError, "password"),
        ([b"HTTP/1.1 302 Found\r\nLocation: http://other/\r\n\r\n"], OSError, "302"),
        ([b"HTTP/1.1 404 Not Found\r\n\r\n"], OSError, "404"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], OSError, "no HTTP"),
        ([b""], OSError, "no HTTP"),
        ([OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"], OSError, "no HTTP"),
        ([OK + b"Content-Length: 9\r\n\r\n{}"], OSError, "no HTTP"),
        ([OK + b"\r\n", *[b"x" * 8192] * 9], OSError, "longer than 65536"),
        ([OK + b"X: y\r\n" * 200 + b"\r\n"], OSError, "no HTTP"),
    ],
)
def test_what_is_no_page_is_an_error(chunks, error, said):
    with answering(*chunks) as (url, _), pytest.raises(error, match=said):
        fetch(f"{url}/", 5)


def test_a_page_that_does_not_end_is_given_up():
    with answering(OK + b"\r\n{", hang_up=False) as (url, _), pytest.raises(TimeoutError):
        fetch(f"{url}/", 0.2)

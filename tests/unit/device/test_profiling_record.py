"""Files of measurements: read back equal, refused in one line where anything is wrong."""

import json
import os

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.measured_board import record
from slfac.device.profiling.record import encode_record, read_record
from slfac.wire.errors import SettingsError

pytestmark = pytest.mark.device

GOOD = encode_record(record())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("records")


def read(folder, data):
    path = folder / "record.json"
    path.write_bytes(data)
    return read_record(path)


@pytest.mark.parametrize("sensor", [True, False])
def test_a_measurement_reads_back_equal(sensor, tmp_path):
    given_ = record(sensor)
    assert read(tmp_path, encode_record(given_)) == given_


def changed(**changes):
    return json.dumps({**json.loads(GOOD), **changes}).encode()


def in_section(number, **changes):
    document = json.loads(GOOD)
    document["sections"][number].update(changes)
    return json.dumps(document).encode()


EMPTY = {"begin_s": 1, "end_s": 1, "count": 1}
HOSTILE = {
    "nothing": b"",
    "no JSON": b"\x89PNG\r\n",
    "no UTF-8": b'{"schema": 1, "command": "\xff\xfe"}',
    "a list": b"[]",
    "a number": b"1e999",
    "deep": b"[" * 100_000,
    "another version": changed(schema=2),
    "no version": json.dumps({"command": "x"}).encode(),
    "unknown field": changed(colour="red"),
    "missing field": json.dumps({"schema": 1}).encode(),
    "infinite": GOOD.replace(b'"seconds":48.0', b'"seconds":1e999'),
    "huge": GOOD.replace(b'"seconds":48.0', b'"seconds":1e300'),
    "a list for a text": changed(command=[1]),
    "long text": changed(command="x" * 5000),
    "columns of other lengths": changed(readings={"t_s": [1], "window_s": [], "watts": [1]}),
    "many readings": changed(readings={"t_s": [0] * 1_000_001}),
    "unknown kind": in_section(0, kind="gpu"),
    "unknown front": in_section(5, front=1),
    "front below zero": in_section(5, front=-1),
    "repetition of no time": in_section(0, repetitions=[EMPTY]),
    "repetition of nothing": in_section(0, repetitions=[{**EMPTY, "end_s": 2, "count": 0}]),
    "unknown scope": changed(sensor={**json.loads(GOOD)["sensor"], "scope": "house"}),
    "too many sections": changed(sections=[json.loads(GOOD)["sections"][0]] * 10_001),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_wrong_is_one_line(name, folder):
    with pytest.raises(SettingsError) as refused:
        read(folder, HOSTILE[name])
    assert str(folder) in str(refused.value)
    assert "slfac" in refused.value.remedy or "release" in refused.value.remedy


def test_the_corpus_differs_from_the_good_one():
    assert all(data != GOOD for data in HOSTILE.values())


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_refused_or_read(folder, data):
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
    try:
        found = read(folder, bytes(raw))
    except SettingsError:
        return
    assert msgspec.json.decode(encode_record(found), type=type(found)) == found


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, tmp_path / "nowhere.json", tmp_path / "a\0b.json"):
        with pytest.raises(SettingsError):
            read_record(path)


def test_a_file_that_is_too_long_is_not_parsed(tmp_path):
    path = tmp_path / "long.json"
    with path.open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    with pytest.raises(SettingsError, match="more than"):
        read_record(path)

"""Does the server let this device in, and what is the link to it like?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import zmq

from slfac import __version__
from slfac.device.connection import Connection, Disconnected
from slfac.device.doctor.finding import Finding
from slfac.device.doctor.reach import check_port, resolve
from slfac.device.probing import Exchange, Prober
from slfac.device.routes import Fixed
from slfac.wire.addresses import check_server_address, split_address
from slfac.wire.errors import AddressError, KeyFileError, RefusedError, SlfacError
from slfac.wire.frame import PROTOCOL_VERSION
from slfac.wire.keys import DeviceKeys, device_keys
from slfac.wire.meter import Meter

HANDSHAKE_TIMEOUT_S: Final = 10.0
_PINGS: Final = 20
_FEWEST_PINGS: Final = 3
_PINGS_S: Final = 1.5
_STREAM_S: Final = 0.7
_SLOW_MS: Final = 100.0
_SLOW_MBIT_S: Final = 1.0
_CLOCK_OFF_S: Final = 1.0


def check_server(address: str, keys: Path | None) -> Iterator[Finding]:
    """Try to reach a server, step by step, as far as it goes.

    No session begins: a device that trains with the same key is not disturbed.

    Args:
        address: ``tcp://HOST:PORT``.
        keys: The device's key folder; None stops before the handshake.

    Yields:
        A finding a step.
    """
    try:
        host, port = split_address(check_server_address(address))
    except AddressError as error:
        yield Finding("failed", "address", error.what, error.remedy)
        return
    resolved = resolve(host, port)
    yield resolved.finding
    if not resolved.places:
        return
    listens = check_port(resolved.places)
    yield listens
    if listens.level == "failed":
        return
    if keys is None:
        yield Finding("unknown", "handshake", "not tried without keys", "give --keys DIR as well")
        return
    try:
        own = device_keys(keys)
    except KeyFileError as error:
        yield Finding("unknown", "handshake", f"not tried: {error.what}", error.remedy)
        return
    yield from _speak(Fixed(address).find(HANDSHAKE_TIMEOUT_S), own)


def _speak(address: str, keys: DeviceKeys) -> Iterator[Finding]:
    label = "handshake"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    connection = Connection(context, address, keys, sent=Meter(), received=Meter())
    try:
        started_s = time.perf_counter()
        connection.open(HANDSHAKE_TIMEOUT_S, _silent)
        taken_ms = (time.perf_counter() - started_s) * 1e3
        yield Finding("ok", label, f"the server accepts this key ({taken_ms:.0f} ms)")
        prober = Prober(connection)
        label = "release"
        exchange = prober.ping()
        yield _release(exchange.software)
        label = "round trip"
        exchanges = [exchange, *_ping(prober)]
        yield _round_trip(exchanges)
        yield _clock(min(exchanges, key=lambda one: one.round_trip_ns))
        for direction in ("up", "down"):
            label = f"link {direction}"
            yield _throughput(label, prober.throughput(direction, _STREAM_S))
    except RefusedError as error:
        yield Finding("failed", "run", error.what, error.remedy)
    except SlfacError as error:
        yield Finding("failed", label, error.what, error.remedy)
    except Disconnected:
        remedy = "try again; if it stays so, check the link and the server's log"
        yield Finding("failed", label, "the connection broke", remedy)
    finally:
        connection.close()
        context.term()


def _ping(prober: Prober) -> Iterator[Exchange]:
    end_s = time.monotonic() + _PINGS_S
    for count in range(1, _PINGS):
        if count >= _FEWEST_PINGS and time.monotonic() > end_s:
            return
        yield prober.ping()


def _release(software: str) -> Finding:
    text = f"slfac {software} there, {__version__} here, protocol version {PROTOCOL_VERSION}"
    if software != __version__:
        return Finding("warning", "release", text, "install the same release on both ends")
    return Finding("ok", "release", text)


def _round_trip(exchanges: list[Exchange]) -> Finding:
    times_ms = [one.round_trip_ns / 1e6 for one in exchanges]
    least_ms = min(times_ms)
    text = (
        f"{least_ms:.2f} ms at least, {statistics.median(times_ms):.2f} ms in the median of "
        f"{len(times_ms)}"
    )
    if least_ms > _SLOW_MS:
        remedy = "every step waits at least so long: use larger batches, or a nearer server"
        return Finding("warning", "round trip", text, remedy)
    return Finding("ok", "round trip", text)


def _clock(exchange: Exchange) -> Finding:
    offset_ms, margin_ms = exchange.offset_ns / 1e6, exchange.round_trip_ns / 2e6
    if abs(offset_ms) <= margin_ms:
        text = f"the server's agrees with this one's within {margin_ms:.2f} ms"
    else:
        order = "ahead of" if offset_ms > 0 else "behind"
        text = f"the server's is {abs(offset_ms):.2f} ms {order} this one's, +- {margin_ms:.2f} ms"
    if abs(offset_ms) - margin_ms > _CLOCK_OFF_S * 1e3:
        return Finding("warning", "clock offset", text, "synchronise both clocks (chrony, NTP)")
    return Finding("ok", "clock offset", text)


def _throughput(label: str, bytes_s: float) -> Finding:
    mbit_s = bytes_s * 8 / 1e6
    text = f"{mbit_s:.3g} Mbit/s" if mbit_s < 100 else f"{mbit_s:.0f} Mbit/s"
    if mbit_s < _SLOW_MBIT_S:
        remedy = "check the link (Wi-Fi reception); a codec such as slfac sends less"
        return Finding("warning", label, text, remedy)
    return Finding("ok", label, text)


def _silent(line: str) -> None:
    del line

"""The two programs between which slfac's transport is measured.

``python -m slfac.testbed.goodput.ends ROLE up|down ADDRESS KEYS WARM_UP_S SECONDS``: of ``server``
and ``device``, the one that receives prints what came, as a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final, cast

import zmq

from slfac.device.connection import Connection
from slfac.testbed.goodput.stream import Direction, Sink, Source, request
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.gate import Gate
from slfac.wire.keys import device_keys, server_keys
from slfac.wire.messages import Chunk, Credit, Reply, Request
from slfac.wire.meter import Meter
from slfac.wire.sockets import bind_server
from slfac.wire.transfer import COPY_BELOW_BYTES, Buffer

_CONNECT_S: Final = 20.0
_WAIT_S: Final = 0.25
_FULL_WAIT_S: Final = 0.002
_SILENCE_S: Final = 30.0


def serve(direction: Direction, address: str, keys: Path, sink: Sink[Request]) -> None:
    """The server's end.

    Args:
        direction: Which way payloads go.
        address: Where to listen.
        keys: The server's key folder.
        sink: Takes payloads in.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    gate = Gate(context, keys)
    router = bind_server(context, address, server_keys(keys))
    source, identity, taken = Source("down"), b"", True
    quiet_s = time.monotonic()
    try:
        while sink.result is None and time.monotonic() - quiet_s < _SILENCE_S:
            router.poll(int(1e3 * (_WAIT_S if taken else _FULL_WAIT_S)))
            while sink.result is None:
                try:
                    sender, head, body = router.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                identity, quiet_s = sender.bytes, time.monotonic()
                header = decode_header(head.buffer)
                if isinstance(header, Credit):
                    source.outbox.credit(header.consumed_bytes)
                elif direction == "up":
                    credit = sink.take(cast("Request | Chunk", header), body.buffer)
                    if credit is not None:
                        router.send_multipart([identity, credit, b""])
            if identity and direction == "down":
                taken = source.send(partial(_hand_over, router, identity))
    finally:
        router.close()
        gate.close()
        context.term()


def _hand_over(router: zmq.Socket[bytes], identity: bytes, head: bytes, body: Buffer) -> bool:
    try:
        copy = len(body) < COPY_BELOW_BYTES
        router.send_multipart([identity, head, body], zmq.NOBLOCK, copy=copy)
    except zmq.Again:
        return False
    return True


def call(direction: Direction, address: str, keys: Path, sink: Sink[Reply]) -> float:
    """The device's end.

    Args:
        direction: Which way payloads go.
        address: Where the server is.
        keys: The device's key folder.
        sink: Takes payloads in.

    Returns:
        How long it took to connect, in seconds.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    connection = Connection(context, address, device_keys(keys), sent=Meter(), received=Meter())
    source, taken = Source("up"), True
    try:
        begun_s = time.monotonic()
        connection.open(_CONNECT_S, lambda _: None)
        connected_s = time.monotonic() - begun_s
        if direction == "down":
            connection.send(encode_header(request(0)), b"")
        quiet_s = time.monotonic()
        while sink.result is None and time.monotonic() - quiet_s < _SILENCE_S:
            if direction == "up":
                taken = source.send(connection.send)
            message = connection.receive(_WAIT_S if taken else _FULL_WAIT_S)
            if message is None:
                continue
            quiet_s = time.monotonic()
            if isinstance(message[0], Credit):
                source.outbox.credit(message[0].consumed_bytes)
            elif direction == "down":
                credit = sink.take(cast("Reply | Chunk", message[0]), message[1])
                if credit is not None:
                    connection.send(credit, b"")
        return connected_s
    finally:
        connection.close()
        context.term()


def main() -> None:
    """Be one of the two."""
    role, direction, address, keys, warm_up_s, seconds = sys.argv[1:]
    way = cast("Direction", direction)
    said: dict[str, float] = {}
    if role == "server":
        taken: Sink[Request] = Sink(float(warm_up_s), float(seconds))
        serve(way, address, Path(keys), taken)
        result = taken.result
    else:
        got: Sink[Reply] = Sink(float(warm_up_s), float(seconds))
        said["connect_s"] = call(way, address, Path(keys), got)
        result = got.result
    if result is not None:
        said |= {"bytes": result[0], "seconds": result[1]}
        print(json.dumps(said), flush=True)  # noqa: T201 - it is a program


if __name__ == "__main__":
    main()

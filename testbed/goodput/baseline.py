"""What plain TCP makes of a link: iperf3's word, or that of two sockets where it is missing."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from typing import Final

from slfac.testbed.emulate.lan import Lan
from slfac.testbed.emulate.plan import SERVER
from slfac.testbed.goodput.stream import Direction
from slfac.wire.errors import RunError

IPERF: Final = "iperf3"
PLAIN: Final = "two TCP sockets"
_PORT: Final = 5201
_TRIES: Final = 50
_PIECE: Final = bytes(1 << 16)


def tool() -> str:
    """What measures plain TCP on this machine."""
    return IPERF if shutil.which(IPERF) else PLAIN


def measure_plain(
    lan: Lan, device: str, direction: Direction, *, warm_up_s: float, seconds: float
) -> float:
    """Bits a second that TCP carries over a device's link.

    Args:
        lan: The LAN; it must have hosts of their own.
        device: The device.
        direction: Which way.
        warm_up_s: How long to wait before it counts.
        seconds: How long it counts.

    Returns:
        Payload as it is received.

    Raises:
        RunError: The measurement failed.
    """
    if tool() == PLAIN:
        return _sockets(lan, device, direction, warm_up_s, seconds)
    serving = lan.hosts[SERVER].command([IPERF, "-s", "-1"])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(serving, **quiet) as server:  # type: ignore[call-overload]  # noqa: S603
        try:
            _await_listener(lan)
            said = _iperf(lan, device, direction, warm_up_s, seconds)
        finally:
            server.terminate()
    try:
        rate: float = said["end"]["sum_received"]["bits_per_second"]
    except KeyError as error:
        raise RunError(f"iperf3 failed: {said.get('error', 'it said nothing')}") from error
    return rate


def _iperf(
    lan: Lan, device: str, direction: Direction, warm_up_s: float, seconds: float
) -> dict[str, dict[str, dict[str, float]]]:
    program = [IPERF, "-J", "-c", SERVER, "-t", f"{seconds:.0f}", "-O", f"{warm_up_s:.0f}"]
    program += ["-R"] * (direction == "down")
    done = subprocess.run(  # noqa: S603 - our own command, no shell
        lan.hosts[device].command(program),
        capture_output=True,
        check=False,
        timeout=seconds + warm_up_s + 60,
    )
    said: dict[str, dict[str, dict[str, float]]] = json.loads(done.stdout or b"{}")
    return said


def _await_listener(lan: Lan) -> None:
    """Wait until iperf3 listens, without disturbing it: it serves the first who connects."""
    # The host's own list of listening sockets, in which ports are hexadecimal.
    pid = lan.hosts[SERVER].pid
    for _ in range(_TRIES):
        with open(f"/proc/{pid}/net/tcp6", encoding="ascii") as six:  # noqa: PTH123
            listed = six.read()
        with open(f"/proc/{pid}/net/tcp", encoding="ascii") as four:  # noqa: PTH123
            listed += four.read()
        if f":{_PORT:04X} " in listed:
            return
        time.sleep(0.05)
    raise RunError("iperf3 does not listen", "run it by hand to see why")


def _sockets(
    lan: Lan, device: str, direction: Direction, warm_up_s: float, seconds: float
) -> float:
    with lan.socket_in(SERVER) as listener, lan.socket_in(device) as client:
        listener.bind((lan.hosts[SERVER].address, _PORT))
        listener.listen(1)
        client.connect((lan.hosts[SERVER].address, _PORT))
        served = listener.accept()[0]
        with served:
            sender, receiver = (client, served) if direction == "up" else (served, client)
            thread = threading.Thread(target=_send_until_closed, args=(sender,))
            thread.start()
            try:
                return _receive(receiver, warm_up_s, seconds)
            finally:
                receiver.shutdown(socket.SHUT_RDWR)
                sender.shutdown(socket.SHUT_RDWR)
                thread.join()


def _send_until_closed(sender: socket.socket) -> None:
    try:
        while True:
            sender.sendall(_PIECE)
    except OSError:
        return


def _receive(receiver: socket.socket, warm_up_s: float, seconds: float) -> float:
    receiver.recv(len(_PIECE))
    first_s = time.perf_counter()
    begun_s, count = 0.0, 0
    while True:
        piece = receiver.recv(len(_PIECE))
        now_s = time.perf_counter()
        if not begun_s:
            begun_s = now_s if now_s - first_s >= warm_up_s else 0.0
            continue
        count += len(piece)
        if now_s - begun_s >= seconds:
            return 8 * count / (now_s - begun_s)

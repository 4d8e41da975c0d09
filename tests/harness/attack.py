"""Hostile devices of one process against a live server.

``python -m harness.attack ADDRESS KEYS SHAPE MUTANTS SEED`` is all the devices whose key folders in
KEYS are named ``x*``, which are enrolled and say what they like, ``patient``, which is let in and
then says something wrong, and ``stranger*``, which have no key that opens the door. SHAPE is that
of a sample's smashed data. It prints a line of JSON now and then, and at its end what it sent.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from harness.hostile import FAULTS, Said, ask, bad_steps, hello, mutant, whole
from slfac.wire.frame import decode_header
from slfac.wire.keys import device_keys
from slfac.wire.messages import Message, Refusal, Reply, Welcome

WAIT_MS = 60_000
# How many known faults go on each mutant that may be anything.
_FAULTS_OF_TEN = 6
# A server that is behind is waited for after so many, so that what is said to be sent has come.
_SETTLE_EVERY = 200


@dataclass
class Hostile:
    """One device's connection.

    Attributes:
        socket: Its DEALER.
        name: Its key folder's.
        sent: Mutants by what they are to be refused for; ``any`` may be sound.
        sent_bytes: All that a server counts as this device's: messages of two frames.
    """

    socket: zmq.Socket[bytes]
    name: str
    rng: random.Random
    run: str = ""
    session: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0

    def attack(self) -> None:
        """Greet, and say something wrong."""
        self.session += 200
        self._say([hello(self.session)])
        if self.rng.randrange(10) < _FAULTS_OF_TEN:
            cause = self.rng.choice(list(FAULTS))
            said = self.rng.choice(FAULTS[cause])(self.session, self.rng)
        else:
            cause, said = "any", mutant(self.session, self.run, self.rng)
        self._say(said)
        self.sent[cause] += 1
        while self.socket.poll(0):
            self.socket.recv_multipart()

    def meet(self) -> None:
        """Learn the run's id."""
        self.session += 200
        self._say([hello(self.session)])
        self.run = self._hear(Welcome).run

    def settle(self) -> None:
        """Wait until the server is done with all that was said; who is no device is refused."""
        self.session += 200
        self._say([hello(self.session)])
        self._hear(Welcome, Refusal)

    def insult(self, shape: tuple[int, ...]) -> None:
        """Get into the run, say something wrong, and hear the refusal.

        Args:
            shape: Of one sample's smashed data.
        """
        self.settle()
        self._say(whole(ask(self.session, "join", run=self.run)))
        reply = self._hear(Reply)
        insults = bad_steps(self.run, reply.round, shape, 16)
        insult = insults[sum(self.sent.values()) % len(insults)]
        self._say(insult.made(self.session))
        self._hear(Refusal)
        self.sent[" or ".join(sorted(insult.causes))] += 1

    def stop(self) -> None:
        """Leave nothing that the others would wait for, and wait until all has come."""
        self.settle()
        self._say([(b"the end", b"")])
        self._hear(Refusal)
        self.sent["header"] += 1

    def _say(self, said: Said) -> None:
        for frames in said:
            self.socket.send_multipart(frames)
            if len(frames) == 2:
                self.sent_bytes += sum(map(len, frames))

    def _hear(self, *kinds: type[Message]) -> Message:
        deadline_s = time.monotonic() + WAIT_MS / 1e3
        while time.monotonic() < deadline_s:
            if not self.socket.poll(1000):
                continue
            header = decode_header(self.socket.recv_multipart()[0])
            if isinstance(header, kinds) and header.session in {0, self.session}:
                return header
        raise AssertionError(f"the server said none of {kinds}")


@contextlib.contextmanager
def connected(context: zmq.Context[zmq.Socket[bytes]], address: str, keys: Path) -> Iterator:
    """A DEALER with the keys in a folder."""
    own = device_keys(keys)
    with context.socket(zmq.DEALER) as socket:
        socket.curve_publickey, socket.curve_secretkey = own.own.public, own.own.secret
        socket.curve_serverkey = own.server
        socket.linger = 0
        socket.sndtimeo = WAIT_MS
        socket.reconnect_ivl = 20
        socket.connect(address)
        yield socket


def knock(socket: zmq.Socket[bytes], over: threading.Event) -> None:
    """Say things to a door that does not open."""
    socket.sndtimeo = 50
    while not over.is_set():
        with contextlib.suppress(zmq.Again):
            socket.send_multipart(hello(7))


def main(address: str, folder: str, shape: str, mutants: str, seed: str) -> int:
    """Attack until so many mutants are sent."""
    keys, limit = Path(folder), int(mutants)
    names = sorted(path.name for path in keys.iterdir())
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        hostile = {
            name: Hostile(
                stack.enter_context(connected(context, address, keys / name)),
                name,
                rng=random.Random(f"{seed} {name}"),
            )
            for name in names
            if name.startswith(("x", "patient"))
        }
        patient = hostile.pop("patient")
        strangers = [
            stack.enter_context(connected(context, address, keys / name))
            for name in names
            if name.startswith("stranger")
        ]
        pool = stack.enter_context(ThreadPoolExecutor(len(strangers) + 1))
        stack.callback(over.set)
        devices = {**hostile, "patient": patient}
        patient.meet()
        for device in hostile.values():
            device.run = patient.run
        at_work = [pool.submit(knock, socket, over) for socket in strangers]
        at_work.append(pool.submit(insult_until, patient, tuple(map(int, shape.split(","))), over))
        _rush(list(hostile.values()), limit)
        over.set()
        # First of all those who may be in the run now, for whom the others wait.
        for device in hostile.values():
            device.stop()
        _print({"mutants": limit})
        for future in at_work:
            future.result()
        patient.stop()
        report = {name: [dict(d.sent), d.sent_bytes] for name, d in devices.items()}
    _print({"sent": report})
    return 0


def insult_until(device: Hostile, shape: tuple[int, ...], over: threading.Event) -> None:
    """Insult the server again and again."""
    while not over.is_set():
        device.insult(shape)


def _rush(devices: list[Hostile], limit: int) -> None:
    for number in range(1, limit + 1):
        devices[number % len(devices)].attack()
        if number % (_SETTLE_EVERY * len(devices)) == 0:
            for device in devices:
                device.settle()
            _print({"mutants": number})


def _print(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""A million messages that are wrong, against a server at work; a sample of them in every test run.

Attackers that hold keys of the run's own, attackers that hold none, and one that is let in and then
says something wrong, while two devices train. The server must not end, must not grow, must count
what it refuses by what was wrong, and must come to the weights that it comes to without them.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from harness.site import Site
from slfac.wire.bundle import open_bundle
from slfac.wire.keys import AllowList, new_keys

pytestmark = pytest.mark.timeout(3600)

# A fifth of them is from a device that is none of the run's.
SAMPLE, ALL = 4_000, 1_000_000
HONEST = ("d0", "d1")
HOSTILE = ("x0", "x1", "x2", "x3", "patient")
WAIT_S = 1800
# A thousand small messages may wait in libzmq for each attacker that takes nothing in.
MOST_GROWTH_BYTES = 128 << 20


class Gate(list):
    """A device's status lines; holds its rounds back so that the attack lasts for all of them."""

    def __init__(self, rounds, limit):
        super().__init__()
        self._rounds, self._limit = rounds, limit
        self._mutants, self._over = 0, False
        self._changed = threading.Condition()

    def advance(self, mutants, *, over=False):
        with self._changed:
            self._mutants, self._over = max(self._mutants, mutants), self._over or over
            self._changed.notify_all()

    def append(self, line):
        super().append(line)
        done = line.partition(":")[0].split()
        if done[0] != "round":
            return
        number = int(done[1])
        with self._changed:
            if number <= self._rounds - 2:
                share = self._limit * number // (self._rounds - 2)
                assert self._changed.wait_for(lambda: self._mutants >= share, WAIT_S)
            elif number == self._rounds - 1:
                assert self._changed.wait_for(lambda: self._over, WAIT_S)


def prepared(root, bundle, data):
    """A site with the honest, the hostile and the strangers."""
    site = Site.make(root, bundle, data, devices=2)
    server = site.keys("server")
    attack = root / "attack"
    for name in HOSTILE:
        AllowList(server).enroll(name, new_keys(attack / name, "device", server / "server.key"))
    new_keys(attack / "stranger-key", "device", server / "server.key")
    other = new_keys(root / "other", "server")
    new_keys(attack / "stranger-server", "device", other)
    # Enrolled, but none of the run's.
    name = "x4-outside"
    AllowList(server).enroll(name, new_keys(attack / name, "device", server / "server.key"))
    return site


def weights(site):
    newest = max((site.root / "out" / "checkpoint").glob("round-*"))
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


def train(site, rounds, limit=0):
    """A run, under attack where there is a limit; what it showed."""
    gate = Gate(rounds, limit)
    settings = {
        "devices": (*HONEST, *HOSTILE),
        "min_devices": 2,
        "join_timeout_s": 1.5,
        "steps_per_round": 2,
        "rounds": rounds,
        "step_timeout_s": float(WAIT_S),
        "grace_s": 1.0,
    }
    with site.server(**settings) as server:
        honest = [site.device(name, server.address) for name in HONEST]
        if not limit:
            gate.advance(0, over=True)
        honest[0].lines = gate
        for device in honest:
            device.start()
        server.await_event("step")
        sent, growth = attack(site, server.address, gate, limit) if limit else (None, 0)
        for device in honest:
            device.finish()
    server.finished()
    return server, weights(site), sent, growth


def attack(site, address, gate, limit):
    """Let the attackers do their work; what they sent, and what the server grew by."""
    shape = ",".join(map(str, open_bundle(site.bundle).manifest.smashed[0].shape))
    own = psutil.Process()
    before = most = own.memory_info().rss
    sent = None
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "harness.attack", address, str(site.root / "attack")),
            *(shape, str(limit), "0"),
        ],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as attackers:
        for line in attackers.stdout:
            said = json.loads(line)
            most = max(most, own.memory_info().rss)
            gate.advance(said.get("mutants", 0))
            sent = said.get("sent", sent)
    gate.advance(limit, over=True)
    assert attackers.returncode == 0
    return sent, most - before


def test_mutants_are_refused_and_counted_and_harm_nobody(
    tmp_path_factory, cnn_bundle, digits, benchmark, capsys
):
    limit = ALL if benchmark.enabled else SAMPLE
    rounds = 60 if benchmark.enabled else 6
    quiet = prepared(tmp_path_factory.mktemp("quiet"), cnn_bundle, digits)
    _, expected, _, _ = train(quiet, rounds)
    site = prepared(tmp_path_factory.mktemp("attacked"), cnn_bundle, digits)
    server, given, sent, growth = benchmark.pedantic(train, (site, rounds, limit), rounds=1)
    (end,) = server.of_kind("end")
    if benchmark.enabled:
        with capsys.disabled():
            sys.stdout.write(f"\n{json.dumps(end)}\ngrew by {growth / 1e6:.1f} MB\n")

    assert given == expected
    assert growth < MOST_GROWTH_BYTES
    refused = {event["device"]: event["refused"] for event in server.of_kind("device")}
    for name in HONEST:
        assert refused[name] == {}
    taken = {event["device"]: event["bytes_up"] for event in server.of_kind("device")}
    for name in HOSTILE:
        causes, sent_bytes = sent[name]
        assert taken[name] == sent_bytes, "every byte came, and is counted"
        fate = dict(causes)
        uncertain = fate.pop("any", 0)
        certain = {cause: count for cause, count in fate.items() if " or " not in cause}
        for cause, count in certain.items():
            assert refused[name].get(cause, 0) >= count, (name, cause)
        assert sum(refused[name].values()) >= sum(fate.values())
        # A fault is one of two messages at most, and so is a mutant.
        assert sum(refused[name].values()) <= 2 * (sum(fate.values()) + uncertain)
    outside = sum(sent["x4-outside"][0].values())
    assert end["refused"]["roster"] >= outside
    assert end["refused_keys"] >= 1
    assert end["repeated"] > 0
    everything = {"frames", "header", "roster", "session", "hello", "direction", "order"}
    assert end["refused"].keys() >= everything | {"payload", "credit", "request", "codec"}
    mutants = sum(sum(causes.values()) for causes, _ in sent.values())
    assert mutants >= limit

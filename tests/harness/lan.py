"""Emulated LANs for tests: made where that is allowed, with small programs for their hosts."""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slfac.testbed.emulate.lan import raise_lan
from slfac.testbed.emulate.plan import LanPlan, PlannedLink
from slfac.wire.errors import RunError

WAIT_S = 30.0
_NUMBERS = itertools.count(1)

ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9))
print("up", flush=True)
while True:
    data, sender = s.recvfrom(65536)
    s.sendto(data, sender)
"""


def link(device="pi-1", **values):
    plain = {
        "device": device,
        "up_bit_per_s": None,
        "down_bit_per_s": None,
        "delay_s": 0.0,
        "jitter_s": 0.0,
        "loss": 0.0,
        "queue_s": 0.1,
    }
    return PlannedLink(**{**plain, **values})


def plan(*links, **values):
    """A LAN with a name that no other test has."""
    name = f"test-{os.getpid()}-{next(_NUMBERS)}"
    return LanPlan(**{"name": name, "links": links or (link(),), "shaper": "tap", **values})


def raised(a_plan):
    """A LAN of a plan; the test is skipped where the kernel lets this user have none."""
    try:
        return raise_lan(a_plan)
    except RunError as error:
        if "cannot be made" in error.what or "can be made" in error.what:
            pytest.skip(f"no emulated hosts here: {error}")
        raise


def python(lan, host, code, *arguments):
    """Run Python code in a host; what it prints, as JSON."""
    command = lan.hosts[host].command([sys.executable, "-c", code, *map(str, arguments)])
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_S * 2)
    return json.loads(done.stdout)


def serving(lan, host, code):
    """Start Python code that serves in a host, and wait until it says so."""
    command = lan.hosts[host].command([sys.executable, "-c", code])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    return process


def wait_until(true, what):
    deadline_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.01)


def is_running(pid):
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        return text.rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

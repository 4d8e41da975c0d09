"""Real SSH servers on loopback, as the hosts of a testbed."""

import contextlib
import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from slfac.testbed.hosts.sshd import (
    await_server,
    make_user_key,
    set_up_server,
    start_server,
)

ROOT = Path(__file__).parents[2]


def with_sshd():
    """Put sshd onto the path: the system's, or what make has unpacked."""
    for folder in (ROOT / ".venv" / "tools" / "usr" / "sbin", Path("/usr/sbin")):
        if str(folder) not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] += os.pathsep + str(folder)
    if shutil.which("sshd") is None:
        pytest.skip("sshd is missing: make .venv/.tools, or install openssh-server")


def free_port():
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


class Sshd:
    """One SSH server on loopback that can be stopped and started again."""

    def __init__(self, folder, user_key):
        with_sshd()
        self.server = set_up_server(folder, "127.0.0.1", free_port(), Path(f"{user_key}.pub"))
        self.process = None

    @property
    def port(self):
        return self.server.port

    def start(self):
        self.process = start_server(self.server)
        with socket.socket() as tried:
            await_server(self.server, self.process, tried)

    def stop(self):
        """Kill the server and every session of it."""
        if self.process is not None:
            for pid in [*descendants(self.process.pid), self.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def descendants(pid):
    """Processes below one, the deepest last, as far as they were not taken over by init."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[1]) == pid:
                    found += [int(entry.name), *descendants(int(entry.name))]
    return found


@contextlib.contextmanager
def loopback_hosts(folder, names):
    """Running servers by name, with the user's key and the file of host keys."""
    key = make_user_key(folder)
    hosts = {name: Sshd(folder / "sshd" / name, key) for name in names}
    try:
        for host in hosts.values():
            host.start()
        known = folder / "known_hosts"
        known.write_text("".join(host.server.known_line() for host in hosts.values()))
        yield hosts, key, known
    finally:
        for host in hosts.values():
            host.stop()

"""Testbeds whose devices are SSH servers on loopback."""

import dataclasses
import io
import sys

import yaml
from rich.console import Console

from harness.sshd import free_port
from slfac.testbed.hosts.lab import real_lab
from slfac.testbed.hosts.remote.processes import marked
from slfac.testbed.hosts.targets import own_program
from slfac.testbed.inventory import load_inventory


class Bench:
    """An inventory of loopback hosts, and what commands said about it.

    Args:
        folder: For its files.
        hosts: Running SSH servers by their names.
        key: The user's private key.
        known_hosts: File of host keys.
        data: The data set, for all.
    """

    def __init__(self, folder, hosts, key, known_hosts, data):
        self.folder, self.hosts, self.data = folder, hosts, data
        self.work = folder / "work"
        any_host = next(iter(hosts.values()))
        self.values = {
            "name": "bench",
            "known_hosts": str(known_hosts),
            "defaults": {
                "user": any_host.server.user,
                "key": str(key),
                "python": sys.executable,
                "work": str(self.work),
                "data": str(data),
            },
            "server": {"host": "localhost", "listen": free_port(), "data": str(data)},
            "devices": [
                {"name": name, "host": "127.0.0.1", "port": host.port}
                for name, host in hosts.items()
            ],
            "run": {
                "model": {"name": "cnn", "cut": "pool1", "input": "1x28x28", "classes": 10},
                "rounds": 2,
                "steps_per_round": 2,
                "partition": "iid",
            },
        }
        self.output = io.StringIO()
        self.console = Console(file=self.output, width=500)

    @property
    def file(self):
        file = self.folder / "testbed.yaml"
        file.write_text(yaml.safe_dump(self.values, sort_keys=False))
        return file

    def lab(self, *, installed=True):
        """The testbed; devices that have slfac are spared its transport."""
        lab = real_lab(load_inventory(self.file))
        if not installed:
            return lab
        targets = [dataclasses.replace(target, program=own_program()) for target in lab.targets]
        return dataclasses.replace(lab, targets=targets)

    def said(self):
        return self.output.getvalue()

    def place(self, name):
        """Folder of a host."""
        return self.work / "bench" / name

    def left(self):
        """Processes of this testbed that still run."""
        places = [self.place(name) for name in ("server", *self.hosts)]
        return [pid for place in places for pid in (*marked(place), *marked(place / "run"))]

"""An SSH server on this machine with throw-away keys, for emulated hosts."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncssh

from slfac.device.image.programs import find_program
from slfac.wire.errors import MissingExtraError, RunError

_START_S: Final = 20.0
_CONFIG: Final = """\
ListenAddress {address}
Port {port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {authorized}
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 64:30:128
MaxSessions 64
# A session whose other end is gone ends too.
ClientAliveInterval 5
ClientAliveCountMax 3
LogLevel ERROR
"""


@dataclass(frozen=True)
class SshServer:
    """Where an SSH server is to be, and with which keys.

    Attributes:
        folder: Its files.
        address: Where it listens.
        port: Its port.
        user: The only user that it lets in: this one.
        command: What runs it.
        environment: Variables that the program needs.
    """

    folder: Path
    address: str
    port: int
    user: str
    command: tuple[str, ...]
    environment: dict[str, str]

    def known_line(self) -> str:
        """Its line in a file of host keys."""
        key = (self.folder / "host_key.pub").read_text("ascii").split()
        where = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return f"{where} {key[0]} {key[1]}\n"


def make_user_key(folder: Path) -> Path:
    """Make a key pair for whoever logs in.

    Args:
        folder: Where to.

    Returns:
        The private key; the public one beside it ends in ``.pub``.
    """
    return _make_key(folder / "user_key")


def set_up_server(folder: Path, address: str, port: int, authorized: Path) -> SshServer:
    """Write what an SSH server needs, unless it is there.

    Args:
        folder: Where to.
        address: Where it is to listen.
        port: Its port.
        authorized: Public key of whoever may log in.

    Returns:
        The server, not started.

    Raises:
        MissingExtraError: sshd is not installed.
    """
    program = find_program("sshd")
    if program is None:
        raise MissingExtraError(
            "sshd is not installed, which emulated hosts need", "sudo apt install openssh-server"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _make_key(folder / "host_key")
    user = pwd.getpwuid(os.geteuid()).pw_name
    config = folder / "sshd_config"
    config.write_text(
        _CONFIG.format(folder=folder, address=address, port=port, authorized=authorized, user=user),
        "utf-8",
    )
    command: tuple[str, ...] = (program, "-D", "-e", "-f", str(config))
    if os.geteuid() == 0:
        command = (sys.executable, "-m", "slfac.testbed.hosts.sshd_room", user, *command)
    return SshServer(folder, address, port, user, command, _libraries(Path(program)))


def start_server(server: SshServer, enter: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start an SSH server.

    Args:
        server: The server.
        enter: A command that runs what follows it where the server is to be.

    Returns:
        Its process.

    Raises:
        RunError: It ended.
    """
    log = server.folder / "log"
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - our own command, no shell
            [*enter, *server.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **server.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )


def await_server(server: SshServer, process: subprocess.Popen[bytes], tried: socket.socket) -> None:
    """Wait until a server answers.

    Args:
        server: The server.
        process: Its process.
        tried: A socket to reach it with.

    Raises:
        RunError: It ended, or does not answer.
    """
    deadline_s = time.monotonic() + _START_S
    tried.settimeout(1.0)
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            tried.connect((server.address, server.port))
        except OSError:
            time.sleep(0.05)
            continue
        return
    lines = (server.folder / "log").read_text("utf-8", "replace").strip().splitlines()
    raise RunError(f"sshd at {server.address} did not start: {(lines or ['it said nothing'])[-1]}")


def _make_key(path: Path) -> Path:
    if not path.exists():
        key = asyncssh.generate_private_key("ssh-ed25519", comment="slfac testbed")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        key.write_private_key(str(path))
        path.chmod(0o600)
        key.write_public_key(f"{path}.pub")
    return path


def _libraries(program: Path) -> dict[str, str]:
    """Where the libraries of a program are that was unpacked somewhere."""
    top = program.resolve().parents[2]
    found = [str(folder) for folder in top.glob("usr/lib/*-linux-gnu*") if top != Path("/")]
    return {"LD_LIBRARY_PATH": os.pathsep.join(found)} if found else {}

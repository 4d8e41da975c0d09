"""Host keys: which are known, and what to do about one that is not."""

from __future__ import annotations

from pathlib import Path

import asyncssh

from slfac.testbed.hosts.targets import Target
from slfac.wire.errors import AuthError, KeyFileError, SlfacError


def check_known_hosts(target: Target) -> None:
    """Refuse a file of host keys that cannot be used, before anything is sent.

    Args:
        target: The host.

    Raises:
        KeyFileError: There is no such file, or it is malformed.
        AuthError: It has no key of this host.
    """
    if not _has_key(target):
        raise AuthError(
            f"{target.name}: {target.known_hosts} has no key of {target.where}",
            f"`{scan_command(target)}` adds it; compare what `ssh-keygen -lf {target.known_hosts}` "
            "then shows with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host itself",
        )


def untrusted(target: Target) -> SlfacError:
    """The error for a host that shows another key than it had.

    Args:
        target: The host.
    """
    return AuthError(
        f"{target.name}: {target.where} shows another host key than {target.known_hosts} has: "
        "it was installed anew, or is another machine",
        f"if you know why: `ssh-keygen -R {_known_as(target)} -f {target.known_hosts}`, then "
        f"`{scan_command(target)}`",
    )


def scan_command(target: Target) -> str:
    """The command that adds a host's key.

    Args:
        target: The host.
    """
    port = "" if target.port == 22 else f"-p {target.port} "
    return f"ssh-keyscan {port}{target.host} >> {target.known_hosts}"


def _has_key(target: Target) -> bool:
    file: Path = target.known_hosts
    try:
        known = asyncssh.read_known_hosts(str(file))
        found = known.match(target.host or "", "", target.port)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise KeyFileError(
            f"{file} is no file of host keys: {error}", "ssh-keyscan writes one"
        ) from error
    # Keys and authorities; revoked ones are no reason to go on.
    return any(found[:2])


def _known_as(target: Target) -> str:
    return str(target.host) if target.port == 22 else f"'[{target.host}]:{target.port}'"

"""Keys: each is made where it belongs, and only public halves travel."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from slfac.testbed.hosts.deploy import Ready
from slfac.wire.errors import HostError, KeyFileError
from slfac.wire.keys import read_public


def keys_folder(ready: Ready) -> str:
    """Where a host's keys are.

    Args:
        ready: The host.
    """
    return f"{ready.host.folder}/keys"


async def own_certificate(ready: Ready, owner: Literal["server", "device"]) -> bytes:
    """The public half of a host's key, which is made there if there is none.

    Args:
        ready: The host.
        owner: What it is.

    Returns:
        The certificate.

    Raises:
        HostError: The key cannot be made.
        LinkError: The connection broke.
    """
    folder = keys_folder(ready)
    certificate = await ready.host.read(f"{folder}/{owner}.key")
    if certificate is None:
        await run_slfac(ready, "keys", "new", owner, "--dir", folder)
        certificate = await ready.host.read(f"{folder}/{owner}.key")
    if certificate is None or _public(certificate) is None:
        raise HostError(
            f"{ready.host.name}: {folder}/{owner}.key is no key",
            f"remove {folder} there, and run it again",
        )
    return certificate


async def trust_server(ready: Ready, certificate: bytes) -> None:
    """Give a device the server's public key.

    Args:
        ready: The device's host.
        certificate: The server's.

    Raises:
        HostError: It cannot be written.
        LinkError: The connection broke.
    """
    place = f"{keys_folder(ready)}/server.key"
    if await ready.host.read(place) != certificate:
        await ready.host.write(place, certificate)


async def enroll(server: Ready, name: str, certificate: bytes) -> bool:
    """Have the server let a device in; another key of that name is revoked.

    Args:
        server: The server's host.
        name: The device's name.
        certificate: Its public key.

    Returns:
        Whether it was not let in before.

    Raises:
        HostError: It failed there.
        LinkError: The connection broke.
    """
    folder = keys_folder(server)
    allowed = await server.host.read(f"{folder}/allowed/{name}.key")
    if allowed is not None:
        if _public(allowed) == _public(certificate):
            return False
        await run_slfac(server, "keys", "revoke", name, "--dir", folder)
    place = f"{server.host.folder}/enroll-{name}.key"
    await server.host.write(place, certificate)
    await run_slfac(server, "keys", "enroll", name, place, "--dir", folder)
    return True


async def run_slfac(ready: Ready, *arguments: str) -> str:
    """Run slfac on a host.

    Args:
        ready: The host.
        *arguments: Its arguments.

    Returns:
        What it printed.

    Raises:
        HostError: It failed.
        LinkError: The connection broke.
    """
    command: Sequence[str] = (*ready.program, *arguments)
    done = await ready.host.call("call", command=command, folder=ready.host.folder)
    if done["code"]:
        lines = done["error"].strip().splitlines() or ["it said nothing"]
        raise HostError(f"{ready.host.name}: `slfac {' '.join(arguments[:2])}`: {lines[-1]}")
    out: str = done["out"]
    return out


def _public(certificate: bytes) -> bytes | None:
    with tempfile.TemporaryDirectory(prefix="slfac-") as name:
        file = Path(name) / "some.key"
        file.write_bytes(certificate)
        try:
            return read_public(file)
        except KeyFileError:
            return None

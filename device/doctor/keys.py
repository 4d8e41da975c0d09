"""Is a key folder in order, a device's or a server's?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import zmq

from slfac.device.doctor.finding import Finding
from slfac.wire.errors import KeyFileError
from slfac.wire.keys import NAME, KeyPair, device_keys, read_public, server_keys

_WORLD_WRITABLE = 0o002


def check_keys(folder: Path) -> Iterator[Finding]:
    """Look at everything in a key folder.

    Args:
        folder: The folder.

    Yields:
        What is to be said of a device's key there, a server's, and its allow-list.
    """
    make = f"`slfac keys new device --dir {folder}` makes them, `slfac keys new server` a server's"
    try:
        names = {path.name for path in folder.iterdir()}
        mode = folder.stat().st_mode
    except OSError as error:
        yield Finding("failed", "keys", f"{folder} cannot be read: {error.strerror}", make)
        return
    device = bool(names & {"device.key", "device.key_secret"})
    server = bool(names & {"server.key_secret", "allowed"})
    if not device and not server:
        yield Finding("failed", "keys", f"{folder} holds neither a device's nor a server's", make)
        return
    if mode & _WORLD_WRITABLE:
        yield Finding(
            "warning", "keys", f"anyone may put keys into {folder}", f"chmod o-w {folder}"
        )
    if device:
        yield _device(folder)
    if server:
        yield _server(folder)
        yield from _allowed(folder)


def _device(folder: Path) -> Finding:
    try:
        keys = device_keys(folder)
        _check_pair(folder, "device", keys.own)
    except KeyFileError as error:
        remedy = error.remedy or "copy server.key again, or make new keys: `slfac keys new device`"
        return Finding("failed", "device key", error.what, remedy)
    public = keys.own.public.decode("ascii")
    if keys.server == keys.own.public:
        return Finding(
            "failed",
            "device key",
            f"{folder / 'server.key'} holds this device's own key",
            "copy server.key from the server's key folder",
        )
    server = keys.server.decode("ascii")
    return Finding("ok", "device key", f"{public}, for the server {server}")


def _server(folder: Path) -> Finding:
    try:
        keys = server_keys(folder)
        _check_pair(folder, "server", keys)
    except KeyFileError as error:
        remedy = error.remedy or f"make new keys: `slfac keys new server --dir {folder}`"
        return Finding("failed", "server key", error.what, remedy)
    return Finding("ok", "server key", keys.public.decode("ascii"))


def _check_pair(folder: Path, owner: str, keys: KeyPair) -> None:
    """Check that both halves of the secret file, and the public file, are of one key."""
    secret = folder / f"{owner}.key_secret"
    again = f"delete both and make new ones: `slfac keys new {owner} --dir {folder}`"
    if zmq.curve_public(keys.secret) != keys.public:
        raise KeyFileError(f"the two halves in {secret} do not belong together", again)
    public = folder / f"{owner}.key"
    if not public.is_file():
        raise KeyFileError(f"{public} is missing", again)
    if read_public(public) != keys.public:
        raise KeyFileError(f"{public} does not belong to {secret}", again)


def _allowed(folder: Path) -> Iterator[Finding]:
    allowed, bad = _read_all(folder / "allowed")
    yield from bad
    owners: dict[bytes, list[str]] = {}
    for name, key in allowed.items():
        owners.setdefault(key, []).append(name)
    for names in owners.values():
        if len(names) > 1:
            yield Finding(
                "failed",
                "allow-list",
                f"{' and '.join(names)} have the same key",
                f"`slfac keys revoke {names[-1]} --dir {folder}`, and enroll its own key",
            )
    revoked, bad = _read_all(folder / "revoked")
    yield from bad
    for name, key in revoked.items():
        for enrolled in owners.get(key, ()):
            yield Finding(
                "warning",
                "allow-list",
                f"the key of {enrolled} was revoked as {name}, and is enrolled again",
                f"`slfac keys revoke {enrolled} --dir {folder}` if that is not meant",
            )
    if not allowed:
        remedy = f"`slfac keys enroll NAME device.key --dir {folder}` lets a device in"
        yield Finding("warning", "allow-list", "no device is enrolled", remedy)
        return
    shut_out = f"; revoked: {', '.join(revoked)}" if revoked else ""
    yield Finding("ok", "allow-list", f"enrolled: {', '.join(allowed)}{shut_out}")


def _read_all(folder: Path) -> tuple[dict[str, bytes], list[Finding]]:
    """The keys in a folder by name, and what the server passes over there."""
    keys, bad = {}, []
    try:
        # Not glob, to which a folder that may not be read is an empty one.
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".key")
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        found = f"{folder} cannot be read: {error.strerror}"
        return {}, [Finding("failed", "allow-list", found, f"ls -l {folder.parent}")]
    for path in paths:
        try:
            key = read_public(path)
        except KeyFileError as error:
            bad.append(
                Finding(
                    "warning", "allow-list", error.what, error.remedy or f"enroll {path.stem} again"
                )
            )
            continue
        if NAME.fullmatch(path.stem):
            keys[path.stem] = key
        else:
            found = f"{path} is not named as a device may be, and is passed over"
            bad.append(
                Finding("warning", "allow-list", found, "rename it: a-z, 0-9, '.', '_', '-'")
            )
    return keys, bad

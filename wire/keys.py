"""CURVE keys on disk, and the list of devices a server lets in.

A server's folder holds ``server.key`` (public), ``server.key_secret`` (0600), and the
allow-list: one certificate ``allowed/NAME.key`` a device, moved to ``revoked/`` when it is
revoked. A device's folder holds ``device.key``, ``device.key_secret`` and a copy of the
server's ``server.key``. All are ZeroMQ certificates as czmq and pyzmq write them.
"""

from __future__ import annotations

import logging
import re
import shutil
import struct
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import zmq.auth
from zmq.utils import z85

from slfac.wire.errors import KeyFileError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
Owner = Literal["server", "device"]
_TICK_NS = 100_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyPair:
    """A public key and, where it is ours, its secret key, in Z85.

    Attributes:
        public: 40 characters.
        secret: 40 characters; never shown by ``repr``.
    """

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class DeviceKeys:
    """What a device needs to open its connection.

    Attributes:
        own: Its key pair.
        server: The server's public key.
    """

    own: KeyPair
    server: bytes


def new_keys(folder: Path, owner: Owner, server: Path | None = None) -> Path:
    """Make a key pair in a folder of its own.

    Args:
        folder: Where; made when missing.
        owner: Whose keys: file names begin with it.
        server: A server's public certificate to copy along, for a device.

    Returns:
        Path of the public certificate.

    Raises:
        KeyFileError: There is a key already, the folder cannot be written, or ``server``
            is no certificate.
    """
    public = folder / f"{owner}.key"
    if public.exists() or (folder / f"{owner}.key_secret").exists():
        raise KeyFileError(
            f"{folder} holds a {owner} key already",
            "choose another folder, or delete the key if it should be replaced",
        )
    if server is not None:
        read_public(server)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # create_certificates writes the secret 0644; this folder is 0700 until it is 0600.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as fresh:
            _, secret = zmq.auth.create_certificates(fresh, owner)
            Path(secret).chmod(0o600)
            Path(secret).rename(folder / f"{owner}.key_secret")
            (Path(fresh) / f"{owner}.key").rename(public)
        if server is not None:
            shutil.copyfile(server, folder / "server.key")
    except OSError as error:
        raise KeyFileError(f"cannot write keys into {folder}: {error.strerror}") from error
    return public


def read_public(path: Path) -> bytes:
    """The public key in a certificate.

    Args:
        path: The certificate.

    Raises:
        KeyFileError: The file is missing or holds no key, or holds a secret key too.
    """
    public, secret = _load(path)
    # Whoever takes a public certificate copies it around.
    if secret is not None:
        raise KeyFileError(f"{path} holds a secret key", "give the file whose name ends in .key")
    return public


def server_keys(folder: Path) -> KeyPair:
    """A server's own key pair.

    Args:
        folder: Its key folder.

    Raises:
        KeyFileError: A file is missing, malformed, or readable by others.
    """
    return _own(folder, "server", f"`slfac keys new server --dir {folder}` makes them")


def device_keys(folder: Path) -> DeviceKeys:
    """A device's key pair and its server's public key.

    Args:
        folder: Its key folder.

    Raises:
        KeyFileError: A file is missing, malformed, or readable by others.
    """
    own = own_keys(folder)
    server = folder / "server.key"
    if not server.is_file():
        raise KeyFileError(f"{server} is missing", "copy server.key from the server's key folder")
    return DeviceKeys(own=own, server=read_public(server))


def is_key(key: bytes) -> bool:
    """Whether this is the Z85 form of a key's 32 bytes.

    Args:
        key: What is to be one.
    """
    try:
        return len(key) == 40 and len(z85.decode(key)) == 32
    except (KeyError, struct.error):
        return False


def own_keys(folder: Path) -> KeyPair:
    """A device's own key pair alone.

    Args:
        folder: Its key folder.

    Raises:
        KeyFileError: A file is missing, malformed, or readable by others.
    """
    return _own(folder, "device", f"`slfac keys new device --dir {folder}` makes them")


def check_server_folder(folder: Path) -> Path:
    """Check that a folder is a server's, so that a typing error makes no new one.

    Args:
        folder: A key folder.

    Returns:
        The folder.

    Raises:
        KeyFileError: It holds no ``server.key``.
    """
    if not (folder / "server.key").is_file():
        raise KeyFileError(
            f"{folder} is no server's key folder",
            f"`slfac keys new server --dir {folder}` makes one",
        )
    return folder


class AllowList:
    """The devices that a server lets in, as they stand on disk now.

    The folder is looked at again whenever it has changed, so that an enrolment or a
    revocation holds from the next message on, without a restart.

    Args:
        folder: The server's key folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self._names: dict[str, str] = {}

    def name_of(self, public: str) -> str | None:
        """Name under which a public key is enrolled, or None.

        Args:
            public: The key in Z85.

        Raises:
            KeyFileError: The folder cannot be read.
        """
        self._refresh()
        return self._names.get(public)

    def last_name_of(self, public: str) -> str | None:
        """The same from the list as it was last read; the disk is not touched.

        Args:
            public: The key in Z85.
        """
        return self._names.get(public)

    def names(self) -> list[str]:
        """Every enrolled device, sorted as a person would (pi-2 before pi-10).

        Raises:
            KeyFileError: The folder cannot be read.
        """
        self._refresh()
        return sorted(self._names.values(), key=_natural)

    def enroll(self, name: str, certificate: Path) -> None:
        """Let a device in.

        Args:
            name: What to call it: lower-case letters, digits, ``.``, ``_``, ``-``.
            certificate: Its public certificate.

        Raises:
            KeyFileError: The name is taken or malformed, the key is enrolled already, or
                the certificate cannot be read.
        """
        if not NAME.fullmatch(name):
            raise KeyFileError(
                f"device name {name!r} is malformed",
                "use lower-case letters, digits, '.', '_' and '-', at most 63",
            )
        key = read_public(certificate).decode("ascii")
        known = self.name_of(key)
        if known is not None:
            raise KeyFileError(f"this key is enrolled already, as {known!r}")
        path = self._path("allowed", name)
        if path.exists():
            raise KeyFileError(
                f"a device {name!r} is enrolled already", f"`slfac keys revoke {name}` first"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".new-") as fresh:
                copy = Path(fresh) / path.name
                shutil.copyfile(certificate, copy)
                copy.rename(path)
        except OSError as error:
            raise KeyFileError(f"cannot write {path}: {error.strerror}") from error

    def revoke(self, name: str) -> None:
        """Shut a device out, from its next message on.

        Args:
            name: The device.

        Raises:
            KeyFileError: There is no such device.
        """
        path = self._path("allowed", name)
        if not NAME.fullmatch(name) or not path.exists():
            raise KeyFileError(
                f"no device {name!r} is enrolled", f"enrolled are: {', '.join(self.names()) or '-'}"
            )
        target = self._path("revoked", name)
        try:
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        except OSError as error:
            raise KeyFileError(f"cannot move {path}: {error.strerror}") from error

    def revoked(self) -> list[str]:
        """Every revoked device, sorted."""
        return sorted((path.stem for path in self._folder.glob("revoked/*.key")), key=_natural)

    def _path(self, state: Literal["allowed", "revoked"], name: str) -> Path:
        return self._folder / state / f"{name}.key"

    def _refresh(self) -> None:
        folder = self._folder / "allowed"
        try:
            stat = folder.stat()
        except FileNotFoundError:
            self._names, self._stamp = {}, None
            return
        except OSError as error:
            raise KeyFileError(f"cannot read {folder}: {error.strerror}") from error
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._stamp:
            return
        names = {}
        for path in sorted(folder.glob("*.key")):
            try:
                key = read_public(path).decode("ascii")
            except KeyFileError as error:
                _log.warning("passed over: %s", error)
                continue
            if NAME.fullmatch(path.stem):
                names[key] = path.stem
            else:
                _log.warning("passed over: %s is not named as a device may be", path)
        self._names = names
        # A second change within the clock's tick would leave the same stamp behind.
        self._stamp = stamp if time.time_ns() - stat.st_mtime_ns > _TICK_NS else None


def _own(folder: Path, owner: Owner, remedy: str) -> KeyPair:
    path = folder / f"{owner}.key_secret"
    try:
        mode = path.stat().st_mode & 0o777
    except PermissionError as error:
        raise _not_permitted(path) from error
    except OSError as error:
        raise KeyFileError(f"{path} is missing: {error.strerror}", remedy) from error
    if mode & 0o077:
        raise KeyFileError(f"{path} can be read by others (mode {mode:04o})", f"chmod 600 {path}")
    public, secret = _load(path)
    if secret is None:
        raise KeyFileError(f"{path} holds no secret key", remedy)
    return KeyPair(public=public, secret=secret)


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except PermissionError as error:
        raise _not_permitted(path) from error
    except (OSError, ValueError, IndexError) as error:
        raise KeyFileError(f"{path} is no readable key certificate") from error
    for key in (public, secret):
        if key is not None and not is_key(key):
            raise KeyFileError(f"{path} holds a malformed key")
    return public, secret


def _not_permitted(path: Path) -> KeyFileError:
    return KeyFileError(
        f"{path} may not be read by this user",
        f"run as its owner, or give it to this user: sudo chown -R $USER {path.parent}",
    )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]

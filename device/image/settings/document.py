"""``slfac/device.json``: its form, and what it may hold."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Final

import msgspec
import zmq
from msgspec import Struct

from slfac.device.image.settings.fields import (
    check_country,
    check_hostname,
    check_key,
    check_label,
    check_psk,
    check_ssh_key,
    check_ssid,
    check_timezone,
    refuse,
)
from slfac.device.image.settings.places import DOCUMENT, KEYS
from slfac.device.settings import device_settings
from slfac.wire.errors import SettingsError

SCHEMA: Final = 1
#: Far more than anyone needs; a board with 512 MB reads it whole.
MOST_BYTES: Final = 64 * 1024
_MOST_SSH_KEYS: Final = 64
_PATHS: Final = ("data", "keys", "bundle", "cache", "journal", "energy_report")


class Wifi(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Wi-Fi network.

    Attributes:
        ssid: Its name's bytes, in hexadecimal digits: nothing in it needs escaping.
        psk: Its key, 64 hexadecimal digits; None for an open network.
        country: Whose rules the radio follows.
        hidden: Whether it does not tell its name.
    """

    ssid: str
    psk: str | None = None
    country: str
    hidden: bool = False


class KeyTexts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key pair of the board's, which was made elsewhere.

    Attributes:
        public: 40 characters of Z85.
        secret: The same; never shown.
    """

    public: str
    secret: str

    def __repr__(self) -> str:
        """Without the secret half."""
        return f"KeyTexts(public={self.public!r})"


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes one board of a generic image; everything may be left out.

    Attributes:
        schema: Version of this structure.
        hostname: The board's name.
        timezone: Its time zone.
        ssh_keys: Lines of public keys that may log in.
        wifi: The network to join.
        server_key: The server's public key, in Z85.
        keys: Its own keys; None lets the board make them.
        data_label: Name of the file system with its data, on the card or a USB drive; None
            where its data is a path of the system's.
        config: What ``slfac device --config`` reads there; None for a board that trains not.
    """

    schema: int = SCHEMA
    hostname: str | None = None
    timezone: str | None = None
    ssh_keys: tuple[str, ...] = ()
    wifi: Wifi | None = None
    server_key: str | None = None
    keys: KeyTexts | None = None
    data_label: str | None = None
    config: dict[str, Any] | None = None

    @property
    def has_secrets(self) -> bool:
        """Whether whoever reads it could join the Wi-Fi, or pass for this board."""
        return self.keys is not None or (self.wifi is not None and self.wifi.psk is not None)


class _Version(Struct):
    schema: int


def check_document(document: Document) -> Document:
    """Check every setting.

    Args:
        document: The settings.

    Returns:
        The same.

    Raises:
        SettingsError: One cannot be used.
        AddressError: The server's address is malformed.
    """
    if document.hostname is not None:
        check_hostname(document.hostname)
    if document.timezone is not None:
        check_timezone(document.timezone)
    if len(document.ssh_keys) > _MOST_SSH_KEYS:
        refuse("ssh_keys", len(document.ssh_keys), "too many keys", f"give {_MOST_SSH_KEYS}")
    for line in document.ssh_keys:
        check_ssh_key(line)
    if document.wifi is not None:
        _check_wifi(document.wifi)
    if document.data_label is not None:
        check_label(document.data_label)
    _check_keys(document)
    if document.config is not None:
        _check_config(document.config)
    return document


def pack_document(document: Document) -> bytes:
    """The file's bytes.

    Args:
        document: The settings.

    Raises:
        SettingsError: They are too many.
    """
    data = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    if len(data) > MOST_BYTES:
        raise SettingsError(
            f"the settings have {len(data)} bytes", f"{MOST_BYTES} can be injected: leave some out"
        )
    return data


def unpack_document(data: bytes) -> Document:
    """Read and check the file's bytes.

    Args:
        data: The bytes.

    Raises:
        SettingsError: They are none, of another release, or a setting cannot be used.
        AddressError: The server's address is malformed.
    """
    try:
        if len(data) > MOST_BYTES:
            raise msgspec.ValidationError(f"it has more than {MOST_BYTES} bytes")
        schema = msgspec.json.decode(data, type=_Version).schema
        if schema != SCHEMA:
            raise SettingsError(
                f"{DOCUMENT} is of schema {schema}, this release reads {SCHEMA}",
                "inject the settings again",
            )
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(
            f"{DOCUMENT} holds no settings of a board: {error}", "inject them again"
        ) from error
    return check_document(document)


def _check_wifi(wifi: Wifi) -> None:
    check_ssid(wifi.ssid)
    check_country(wifi.country)
    if wifi.psk is not None:
        check_psk(wifi.psk)


def _check_keys(document: Document) -> None:
    if document.server_key is not None:
        check_key("server_key", document.server_key)
    elif document.config is not None:
        raise SettingsError(
            "setting server_key is missing", "pass --server-key, the server.key of the server"
        )
    if document.keys is None:
        return
    check_key("keys.public", document.keys.public)
    try:
        made = zmq.curve_public(document.keys.secret.encode())
    except (ValueError, zmq.ZMQError):
        made = b""
    if made != document.keys.public.encode():
        raise SettingsError(
            "setting keys is no pair: the public key is not that of the secret key",
            "`slfac keys new device --dir DIR` makes a pair",
        )


def _check_config(config: dict[str, Any]) -> None:
    device_settings(**config)
    for name in _PATHS:
        value = config.get(name)
        if value is None:
            continue
        if not PurePosixPath(value).is_absolute():
            refuse(name, value, "a path on the board begins with /", "write it in full")
        if not value.isprintable():
            refuse(name, value, "a path with control characters", "check it for typos")
    if config.get("keys") != KEYS:
        refuse("keys", config.get("keys"), f"a board has its keys in {KEYS}", "leave it out")

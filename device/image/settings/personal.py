"""The settings of one board, put together from what a person gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slfac.device.image.settings.document import Document, KeyTexts, Wifi, check_document
from slfac.device.image.settings.fields import refuse
from slfac.device.image.settings.places import CACHE, DATA, JOURNAL, KEYS
from slfac.wire.errors import SettingsError

# Nobody sits beside a board: it waits for its server, and for someone to enroll its key.
_PATIENCE = {"connect_timeout_s": 600.0, "wait_enrolled_s": 86400.0}
_WHERE = ("server", "discover")


@dataclass(frozen=True, kw_only=True)
class Personal:
    """What a person gives for one board; everything may be left out.

    Attributes:
        hostname: The board's name.
        timezone: Its time zone.
        ssh_keys: Lines of public keys that may log in.
        wifi: The network to join.
        server: The server's address.
        discover: Whether the board finds the server on its network instead.
        server_key: The server's public key, in Z85.
        keys: The board's own keys.
        data: Where its data is on the board, ``/PATH``, or on a drive, ``LABEL/FOLDER``.
        config: Further fields of :class:`slfac.device.settings.DeviceSettings`.
    """

    hostname: str | None = None
    timezone: str | None = None
    ssh_keys: tuple[str, ...] = ()
    wifi: Wifi | None = None
    server: str | None = None
    discover: bool = False
    server_key: str | None = None
    keys: KeyTexts | None = None
    data: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


def personal_document(personal: Personal) -> Document:
    """Put the settings of a board together, and check them.

    Args:
        personal: What was given.

    Raises:
        SettingsError: A setting is missing or cannot be used.
        AddressError: The server's address is malformed.
    """
    label, config = None, _config(personal)
    if config is not None and personal.data is not None:
        label, config["data"] = _data(personal.data)
    if config is not None and "data" not in config:
        raise SettingsError(
            "setting data is missing: the board has nothing to train on",
            "pass --data DIR to put it onto the card, or --data-at LABEL/FOLDER for a USB drive",
        )
    return check_document(
        Document(
            hostname=personal.hostname,
            timezone=personal.timezone,
            ssh_keys=personal.ssh_keys,
            wifi=personal.wifi,
            server_key=personal.server_key,
            keys=personal.keys,
            data_label=label,
            config=config,
        )
    )


def _config(personal: Personal) -> dict[str, Any] | None:
    """What the board's ``device.toml`` holds; None where nothing says what to train with."""
    given: dict[str, Any] = {}
    if personal.server is not None:
        given["server"] = personal.server
    if personal.discover:
        given["discover"] = True
    config = dict(personal.config)
    if given:
        # Either way to the server goes before both of the file.
        config = {name: value for name, value in config.items() if name not in _WHERE}
    if not given and not config:
        if personal.data is not None or personal.server_key is not None:
            raise SettingsError(
                "setting server is missing", "pass --server ADDRESS, or --discover to find it"
            )
        return None
    places = {"keys": KEYS, "cache": CACHE, "journal": JOURNAL}
    return {**places, **_PATIENCE, **config, **given}


def _data(where: str) -> tuple[str | None, str]:
    """Name of the file system, None for the system's own; and the path on the board."""
    if where.startswith("/"):
        return None, where
    label, _, folder = where.partition("/")
    parts = folder.split("/") if folder else []
    if ".." in parts or "\0" in folder:
        refuse("data", where, "a folder lies below its file system", "such as MYSTICK/mnist")
    return label, "/".join([DATA, *(part for part in parts if part not in ("", "."))])

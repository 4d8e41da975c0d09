"""What each setting of a board may be; errors name the field, its value and the remedy."""

from __future__ import annotations

import base64
import binascii
import difflib
import re
import struct
import zoneinfo
from typing import Any, NoReturn

from slfac.wire.errors import SettingsError
from slfac.wire.keys import is_key

_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9_.-]([A-Za-z0-9 _.-]{0,30}[A-Za-z0-9_.-])?", re.ASCII)
_SSID = re.compile(r"([0-9a-f]{2}){1,32}", re.ASCII)
_PSK = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SSH_TYPES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
)
_LONGEST_SSH = 8192
_SHOWN = 60


def refuse(field: str, value: Any, why: str, remedy: str) -> NoReturn:
    """Say that a setting cannot be used.

    Args:
        field: Its name.
        value: Its value.
        why: What is wrong with it.
        remedy: What to do.

    Raises:
        SettingsError: Always.
    """
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    raise SettingsError(f"setting {field} is {shown}: {why}", remedy)


def check_hostname(name: str) -> None:
    """One label of RFC 1123 in lower case, as a device may be enrolled under it too.

    Args:
        name: The name.

    Raises:
        SettingsError: It is none.
    """
    if name == "localhost" or name.isdigit():
        refuse("hostname", name, "other machines take it for something else", "such as pi-1")
    if not _HOSTNAME.fullmatch(name):
        lower = name.lower()
        refuse(
            "hostname",
            name,
            "a host's name has 1 to 63 lower-case letters, digits and '-', not at its ends",
            f"use {lower!r}" if _HOSTNAME.fullmatch(lower) else "such as pi-1",
        )


def check_timezone(name: str) -> None:
    """A name of the time zone database.

    Args:
        name: Such as ``Europe/Berlin``.

    Raises:
        SettingsError: There is no such zone.
    """
    known = zoneinfo.available_timezones()
    # A workstation without the database leaves the name to the board, which has one.
    if _ZONE.fullmatch(name) and (name in known or not known):
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    refuse(
        "timezone",
        name,
        "there is no such time zone",
        f"the nearest is {near[0]}" if near else "such as Europe/Berlin or UTC",
    )


def check_ssid(digits: str) -> None:
    """The name of a Wi-Fi network: 1 to 32 bytes, whatever they are.

    Args:
        digits: The bytes in hexadecimal digits.

    Raises:
        SettingsError: They are too few or too many, or no such digits.
    """
    if not _SSID.fullmatch(digits):
        refuse("wifi.ssid", digits, f"{len(digits) // 2} bytes", "a network's name has 1 to 32")


def check_psk(digits: str) -> None:
    """The key of a Wi-Fi network.

    Args:
        digits: As :func:`~slfac.device.image.settings.wifi.derive_psk` gives it.

    Raises:
        SettingsError: It is none; the message does not show it.
    """
    if not _PSK.fullmatch(digits):
        raise SettingsError(
            "setting wifi.psk is no key of 64 hexadecimal digits", "inject the settings again"
        )


def check_country(code: str) -> None:
    """The country whose rules the radio follows.

    Args:
        code: Two letters of ISO 3166.

    Raises:
        SettingsError: It is none.
    """
    if code == "UK" or not _COUNTRY.fullmatch(code):
        remedy = "use GB" if code.upper() == "UK" else "such as DE or US"
        refuse("wifi.country", code, "a country is two capital letters of ISO 3166", remedy)


def check_ssh_key(line: str) -> None:
    """One line of a public key file, without options.

    Args:
        line: Such as ``ssh-ed25519 AAAA... me@laptop``.

    Raises:
        SettingsError: It is none.
    """
    if "PRIVATE KEY" in line:
        # Not shown, not even its beginning.
        raise SettingsError("setting ssh_keys holds a private key", "give the file ending in .pub")
    if len(line) > _LONGEST_SSH or not line.isprintable():
        refuse("ssh_keys", line, "no line of a public key", "give the file ending in .pub")
    kind, _, rest = line.partition(" ")
    if kind not in _SSH_TYPES:
        refuse("ssh_keys", line, "its type is not allowed", f"use one of {', '.join(_SSH_TYPES)}")
    try:
        blob = base64.b64decode(rest.split(" ", 1)[0], validate=True)
        (length,) = struct.unpack_from(">I", blob)
    except (binascii.Error, struct.error):
        length, blob = 0, b""
    if length != len(kind) or blob[4 : 4 + length] != kind.encode():
        refuse("ssh_keys", line, "the key is damaged", "give the file ending in .pub again")


def check_key(field: str, key: str) -> None:
    """A public CURVE key.

    Args:
        field: Whose it is.
        key: 40 characters of Z85.

    Raises:
        SettingsError: It is none.
    """
    if not is_key(key.encode()):
        refuse(field, key, "a key has 40 characters of Z85", "copy it from the .key file again")


def check_label(label: str) -> None:
    """The name of a file system.

    Args:
        label: 1 to 32 letters, digits, ``_``, ``.``, ``-`` and blanks inside.

    Raises:
        SettingsError: It is none.
    """
    if not _LABEL.fullmatch(label):
        refuse(
            "data_label",
            label,
            "a file system's name here has letters, digits, '_', '.', '-' and blanks inside",
            "`lsblk -o NAME,LABEL` shows the names of file systems",
        )

"""The key of a Wi-Fi network from its passphrase."""

from __future__ import annotations

import hashlib
import re

from slfac.wire.errors import SettingsError

_KEY = re.compile(rb"[0-9a-fA-F]{64}")


def derive_psk(passphrase: bytes, ssid: bytes) -> str:
    """The pre-shared key, which opens this network only and does not tell the passphrase.

    It serves WPA2, and WPA3 networks that take WPA2 devices too; WPA3 alone (SAE) needs the
    passphrase itself.

    Args:
        passphrase: 8 to 63 characters; or the key itself, 64 hexadecimal digits.
        ssid: Name of the network, to which the key is bound.

    Returns:
        64 hexadecimal digits: PBKDF2 with HMAC-SHA1, 4096 rounds, salted with the SSID (IEEE
        802.11-2020, J.4).

    Raises:
        SettingsError: The passphrase is none; the message does not show it.
    """
    if _KEY.fullmatch(passphrase):
        return passphrase.decode("ascii").lower()
    if not 8 <= len(passphrase) <= 63:
        raise SettingsError(
            f"the Wi-Fi password has {len(passphrase)} bytes", "it has 8 to 63: check it for typos"
        )
    if any(byte < 32 or byte == 127 for byte in passphrase):
        raise SettingsError(
            "the Wi-Fi password holds a control character", "give it on one line, without tabs"
        )
    return hashlib.pbkdf2_hmac("sha1", passphrase, ssid, 4096, 32).hex()

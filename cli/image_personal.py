"""The options that make one board of a generic image, and the settings they make."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.device.image.data_partition import Contents
    from slfac.device.image.settings import KeyTexts, Personal, Wifi

# A password and its end of line.
_MOST_BYTES = 1024
_MOST_SSH_BYTES = 256 * 1024


def add_personal(parser: argparse._ActionsContainer) -> None:
    """Register the options.

    Args:
        parser: Whose they become: a parser, or a group of one.
    """
    add = parser.add_argument
    add("--hostname", metavar="NAME", help="the board's name, such as pi-1")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="ADDRESS", help="tcp://HOST:PORT of the server")
    where.add_argument("--discover", action="store_true", help="find the server on its network")
    add("--server-key", metavar="FILE|KEY", help="the server's server.key, or the key itself")
    add("--preenrolled", type=Path, metavar="DIR", help="key folder of a device that is enrolled")
    add("--wifi", metavar="SSID", help="name of the Wi-Fi network to join")
    password = parser.add_mutually_exclusive_group()
    password.add_argument(
        "--wifi-password-file", type=Path, metavar="FILE", help="file with its password"
    )
    password.add_argument(
        "--wifi-password-stdin", action="store_true", help="read it from standard input"
    )
    password.add_argument("--wifi-open", action="store_true", help="the network has none")
    add("--wifi-country", metavar="XX", help="country whose rules the radio follows, such as DE")
    add("--wifi-hidden", action="store_true", help="the network does not tell its name")
    add(
        "--ssh-key",
        action="append",
        type=Path,
        metavar="FILE",
        help="public key that may log in, such as ~/.ssh/id_ed25519.pub; may be repeated",
    )
    add("--timezone", metavar="ZONE", help="such as Europe/Berlin")
    add("--config", type=Path, metavar="FILE", help="further settings of `slfac device`, in TOML")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", type=Path, metavar="DIR", help="data set to copy onto the card")
    data.add_argument(
        "--data-at",
        metavar="LABEL/FOLDER|/PATH",
        help="where the board finds its data: on a drive of that name, or a path of its own",
    )


def is_personal(args: argparse.Namespace) -> bool:
    """Whether anything was given that makes one board of an image.

    Args:
        args: The parsed command line.
    """
    parser = argparse.ArgumentParser()
    add_personal(parser)
    return any(hasattr(args, name) for name in vars(parser.parse_args([])))


def personal(args: argparse.Namespace, contents: Contents | None) -> Personal:
    """What was given.

    Args:
        args: The parsed command line.
        contents: What the folder of ``--data`` holds; None without.

    Raises:
        SettingsError: Something cannot be read, or does not go together.
        KeyFileError: A key file cannot be read.
    """
    from slfac.device.image.mark import DATA_LABEL
    from slfac.device.image.settings import Personal
    from slfac.wire.settings_file import read_settings

    config: Path | None = getattr(args, "config", None)
    data: str | None = getattr(args, "data_at", None)
    if contents is not None:
        # One .npz file is the data set, and not the folder around it.
        data = f"{DATA_LABEL}/{contents.only if contents.only.endswith('.npz') else ''}"
    keys, server_key = _keys(getattr(args, "preenrolled", None))
    return Personal(
        hostname=getattr(args, "hostname", None),
        timezone=getattr(args, "timezone", None),
        ssh_keys=_ssh_keys(getattr(args, "ssh_key", [])),
        wifi=_wifi(args),
        server=getattr(args, "server", None),
        discover=hasattr(args, "discover"),
        server_key=_server_key(getattr(args, "server_key", None)) or server_key,
        keys=keys,
        data=data,
        config=read_settings(config, paths=(), remedy="docs/device.toml is an example")
        if config is not None
        else {},
    )


def _server_key(given: str | None) -> str | None:
    from slfac.wire.keys import is_key, read_public

    if given is None:
        return None
    if is_key(os.fsencode(given)) and not Path(given).exists():
        return given
    return read_public(Path(given)).decode("ascii")


def _keys(folder: Path | None) -> tuple[KeyTexts | None, str | None]:
    """A device's key pair, and the server's key where it is there too."""
    from slfac.device.image.settings import KeyTexts
    from slfac.wire.keys import own_keys, read_public

    if folder is None:
        return None, None
    pair = own_keys(folder)
    server = folder / "server.key"
    texts = KeyTexts(public=pair.public.decode("ascii"), secret=pair.secret.decode("ascii"))
    return texts, read_public(server).decode("ascii") if server.is_file() else None


def _ssh_keys(files: list[Path]) -> tuple[str, ...]:
    lines = []
    for file in files:
        text = _read(file, _MOST_SSH_BYTES).decode("utf-8", "replace")
        kept = [line.strip() for line in text.splitlines()]
        found = [line for line in kept if line and not line.startswith("#")]
        if not found:
            raise SettingsError(f"{file} holds no public key", "give the file ending in .pub")
        lines.extend(found)
    return tuple(dict.fromkeys(lines))


def _wifi(args: argparse.Namespace) -> Wifi | None:
    from slfac.device.image.settings import Wifi
    from slfac.device.image.settings.fields import check_ssid
    from slfac.device.image.settings.wifi import derive_psk

    name: str | None = getattr(args, "wifi", None)
    if name is None:
        for option in ("password_file", "password_stdin", "open", "country", "hidden"):
            if hasattr(args, f"wifi_{option}"):
                given = f"--wifi-{option.replace('_', '-')}"
                raise SettingsError(f"{given} is given, but no network", "pass --wifi SSID")
        return None
    country: str | None = getattr(args, "wifi_country", None)
    if country is None:
        raise SettingsError(
            "setting wifi_country is missing: without, the radio stays off",
            "pass --wifi-country, the two letters of the country that the board is in",
        )
    # Whatever bytes the shell passed: a network's name need not be text.
    ssid = os.fsencode(name)
    check_ssid(ssid.hex())
    psk = None if hasattr(args, "wifi_open") else derive_psk(_password(args, name), ssid)
    return Wifi(ssid=ssid.hex(), psk=psk, country=country, hidden=hasattr(args, "wifi_hidden"))


def _password(args: argparse.Namespace, network: str) -> bytes:
    """The Wi-Fi's password, which never stands on a command line: others can see that."""
    if hasattr(args, "wifi_password_file"):
        data = _read(args.wifi_password_file, _MOST_BYTES)
    elif hasattr(args, "wifi_password_stdin"):
        data = sys.stdin.buffer.readline(_MOST_BYTES)
    elif sys.stdin.isatty():
        return getpass.getpass(f"password of the Wi-Fi {network!r}: ").encode()
    else:
        raise SettingsError(
            "the password of the Wi-Fi is missing",
            "pass --wifi-password-file FILE or --wifi-password-stdin; or --wifi-open",
        )
    return data.removesuffix(b"\n").removesuffix(b"\r")


def _read(file: Path, most_bytes: int) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(most_bytes + 1)
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}", "check the path") from error
    if len(data) > most_bytes:
        raise SettingsError(f"{file} has more than {most_bytes} bytes", "check the path")
    return data


def described(values: Any) -> list[str]:
    """What is injected, a line each, for people; no secret is among it.

    Args:
        values: The settings, as :class:`slfac.device.image.settings.Document` has them.
    """
    lines = [
        _line("hostname", values.hostname),
        _line("time zone", values.timezone),
        *(_line("may log in", line) for line in values.ssh_keys),
    ]
    if values.wifi is not None:
        name = bytes.fromhex(values.wifi.ssid).decode("utf-8", "backslashreplace")
        safe = "".join(c if c.isprintable() else "?" for c in name)
        how = "open" if values.wifi.psk is None else "key hidden"
        hidden = ", not announced" if values.wifi.hidden else ""
        lines.append(f"Wi-Fi: {safe} ({how}, {values.wifi.country}{hidden})")
    lines.append(_line("server's key", values.server_key))
    if values.keys is not None:
        lines.append(f"its own key: {values.keys.public} (secret half hidden)")
    elif values.config is not None:
        lines.append("its own key: made by the board at its first boot")
    lines.append(_line("data on", values.data_label))
    for name, value in (values.config or {}).items():
        lines.append(f"device.toml: {name} = {value}")
    return [line for line in lines if line]


def _line(name: str, value: str | None) -> str:
    return f"{name}: {value}" if value is not None else ""

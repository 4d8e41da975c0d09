#!/usr/bin/python3
"""Makes one board of a generic image, at its first boot and whenever settings are injected again.

Reads ``slfac/device.json`` from the boot partition, applies it stage by stage, moves its secrets
to ``/etc`` and wipes it. Runs before anything of slfac can be trusted to run: Python's standard
library only, 3.10 or later. Power may go at any time: a file is written whole or not at all, a
stage that is done is taken down, and the next boot goes on from there. Whatever goes wrong is said
on the console and in ``slfac/error.txt`` beside the settings, and the boot goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SCHEMA = 1
MOST_BYTES = 64 * 1024
PROGRAM_S = 600
BOOT = "boot/firmware/slfac"
KEYS = "etc/slfac/keys"
DATA = "/var/lib/slfac/data"
SLFAC = "opt/slfac/current/bin/slfac"
MARK = "# slfac data"
Document = dict[str, Any]


class StageError(Exception):
    """Something cannot be done, and the boot goes on."""


def run_program(command: Sequence[str]) -> int:
    """Run a program; 127 if there is none."""
    try:
        done = subprocess.run(  # noqa: S603 - the stages' own commands; no shell sees them
            command, timeout=PROGRAM_S, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return 127
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StageError(f"{command[0]}: {error}") from error
    return done.returncode


@dataclasses.dataclass
class Board:
    """The system that is set up.

    Attributes:
        root: Its root folder.
        run: Runs a program and gives its exit code.
        state: The ``digest`` of the settings, and the stages of them that are ``done``.
    """

    root: Path
    run: Callable[[Sequence[str]], int] = run_program
    state: dict[str, Any] = dataclasses.field(default_factory=dict)

    def at(self, name: str) -> Path:
        """A path on the board."""
        return self.root / name.lstrip("/")

    def say(self, line: str) -> None:
        """Tell people, on the console."""
        sys.stdout.write(f"slfac: {line}\n")
        sys.stdout.flush()

    def need(self, *command: str) -> None:
        """Run a program that has to succeed."""
        code = self.run(command)
        if code:
            raise StageError(f"`{' '.join(command)}` ended with {code}")

    def write(self, name: str, data: str, mode: int = 0o644, owner: str = "") -> None:
        """Write a file whole or not at all, with its mode and owner from the beginning."""
        path = self.at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(handle, "wb") as stream:  # noqa: PTH123 - pathlib opens no descriptors
            stream.write(data.encode())
            stream.flush()
            os.fsync(handle)
        if owner:
            self.need("chown", owner, str(fresh))
        fresh.replace(path)
        # On FAT the new name has no size yet: that was written for the old one.
        settle(path)
        settle(path.parent)

    def read(self, name: str) -> str:
        """A small file; empty if there is none."""
        try:
            return self.at(name).read_text("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def save(self) -> None:
        """Take down what is done."""
        self.write("var/lib/slfac-firstboot/state.json", json.dumps(self.state))

    def load(self) -> None:
        """What was done before; damaged, it counts as nothing: every stage can be done again."""
        try:
            state = json.loads(self.read("var/lib/slfac-firstboot/state.json") or "{}")
        except ValueError:
            state = {}
        good = isinstance(state, dict) and isinstance(state.get("done", []), list)
        self.state = {"digest": "", "done": [], **(state if good else {})}


def settle(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the medium."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# What the settings may be: device/image/settings/ has the same rules, and better words.

HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", re.ASCII)
LABEL = re.compile(r"[A-Za-z0-9_.-]([A-Za-z0-9 _.-]{0,30}[A-Za-z0-9_.-])?", re.ASCII)
KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}", re.ASCII)
SSH = re.compile(r"(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/=]{40,8000}( [^\x00-\x1f\x7f]*)?")
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
FIELDS = {"hostname": HOSTNAME, "timezone": ZONE, "server_key": KEY, "data_label": LABEL}
WIFI = {
    "ssid": re.compile(r"([0-9a-f]{2}){1,32}", re.ASCII),
    "psk": re.compile(r"[0-9a-f]{64}", re.ASCII),
    "country": re.compile(r"[A-Z]{2}", re.ASCII),
}
OTHERS = {"schema", "ssh_keys", "wifi", "keys", "config"}


def parse(data: bytes) -> Document:
    """The settings in a file's bytes.

    Raises:
        StageError: They are none; the message shows no secret.
    """
    if len(data) > MOST_BYTES:
        raise StageError(f"device.json has more than {MOST_BYTES} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StageError(f"device.json is damaged: {type(error).__name__}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise StageError(f"device.json is not of schema {SCHEMA}")
    unknown = sorted(set(document) - set(FIELDS) - OTHERS)
    if unknown:
        raise StageError(f"device.json has an unknown setting {unknown[0]!r}")
    match(document, FIELDS, "")
    keys, wifi, config = (part(document, name) for name in ("keys", "wifi", "config"))
    match(keys, {"public": KEY, "secret": KEY}, "keys.", all_of=bool(keys))
    match(wifi, WIFI, "wifi.")
    if wifi and not (wifi.get("ssid") and wifi.get("country")):
        raise StageError("setting wifi lacks its ssid or its country")
    lines = document.get("ssh_keys") or []
    if not isinstance(lines, list) or not all(fits(SSH, line) for line in lines):
        raise StageError("setting ssh_keys holds what is no public key")
    if not all(NAME.fullmatch(name) for name in config):
        raise StageError("setting config has a name that is none")
    return document


def part(document: Document, name: str) -> Document:
    """Settings inside of the settings; none are empty."""
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise StageError(f"setting {name} is no object")
    return value


def match(
    values: Document, rules: dict[str, re.Pattern[str]], of: str, *, all_of: bool = False
) -> None:
    """Check texts by their patterns; what is not given is good unless all are needed."""
    for name, pattern in rules.items():
        value = values.get(name)
        if (value is not None or all_of) and not fits(pattern, value):
            raise StageError(f"setting {of}{name} cannot be right")


def fits(pattern: re.Pattern[str], value: object) -> bool:
    """Whether a value is a text of this form."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


# Stages: each can be done again, and is done from its beginning if it was not done to its end.


def set_hostname(board: Board, document: Document) -> None:
    """The board's name, also for programs that look it up."""
    name = document.get("hostname")
    if not name:
        return
    lines = [line for line in board.read("etc/hosts").splitlines() if "127.0.1.1" not in line]
    board.write("etc/hosts", "\n".join([*lines, f"127.0.1.1\t{name}", ""]))
    board.write("etc/hostname", f"{name}\n")
    board.at("proc/sys/kernel/hostname").write_text(name)


def set_timezone(board: Board, document: Document) -> None:
    """The time zone, which only people need."""
    zone = document.get("timezone")
    if not zone:
        return
    if not board.at(f"usr/share/zoneinfo/{zone}").is_file():
        raise StageError(f"this system does not know the time zone {zone}; it keeps its own")
    fresh = board.at("etc/localtime.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(f"/usr/share/zoneinfo/{zone}")
    fresh.replace(board.at("etc/localtime"))
    board.write("etc/timezone", f"{zone}\n")


def allow_ssh(board: Board, document: Document) -> None:
    """Public keys for the user who logs in: the first ordinary one, or root where there is none."""
    lines = document.get("ssh_keys")
    if not lines:
        return
    users = [line.split(":") for line in board.read("etc/passwd").splitlines()]
    users = [user for user in users if len(user) == 7 and user[2] in ("0", "1000")]
    if not users:
        raise StageError("/etc/passwd has no user who could log in")
    name, _, uid, gid, _, home, _ = max(users, key=lambda user: int(user[2]))
    folder = board.at(f"{home}/.ssh")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = f"{home}/.ssh/authorized_keys"
    known = board.read(file).splitlines()
    text = "\n".join([*known, *(line for line in lines if line not in known), ""])
    board.write(file, text, 0o600, f"{uid}:{gid}")
    folder.chmod(0o700)
    board.need("chown", f"{uid}:{gid}", str(folder))
    board.say(f"{len(lines)} SSH keys may log in as {name}")


def join_wifi(board: Board, document: Document) -> None:
    """The Wi-Fi, by what the system has. Names go as numbers: nothing needs escaping."""
    wifi = document.get("wifi")
    if not wifi:
        return
    country = wifi["country"]
    board.write("etc/modprobe.d/slfac-wifi.conf", f"options cfg80211 ieee80211_regdom={country}\n")
    if board.at("usr/sbin/NetworkManager").exists():
        name = "etc/NetworkManager/system-connections/slfac-wifi.nmconnection"
        board.write(name, network_manager(wifi), 0o600)
    elif board.at("usr/sbin/wpa_supplicant").exists():
        board.write("etc/wpa_supplicant/slfac.conf", wpa_supplicant(wifi), 0o600)
        network = "[Match]\nType=wlan\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=yes\n"
        board.write("etc/systemd/network/80-slfac-wifi.network", network)
        board.run(("networkctl", "reload"))
    else:
        raise StageError("no Wi-Fi: neither NetworkManager nor wpa_supplicant is installed")
    # Neither is needed everywhere: some radios start blocked, or in no country.
    board.run(("rfkill", "unblock", "wifi"))
    board.run(("iw", "reg", "set", country))


def network_manager(wifi: Document) -> str:
    """The network as NetworkManager's keyfile."""
    ssid = "".join(f"{byte};" for byte in bytes.fromhex(wifi["ssid"]))
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"slfac wifi {wifi['ssid']}")
    text = f"[connection]\nid=slfac-wifi\nuuid={identity}\ntype=wifi\n\n"
    text += f"[wifi]\nmode=infrastructure\nssid={ssid}\n"
    text += "hidden=true\n" if wifi.get("hidden") else ""
    if wifi.get("psk"):
        text += f"\n[wifi-security]\nkey-mgmt=wpa-psk\npsk={wifi['psk']}\n"
    return f"{text}\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n"


def wpa_supplicant(wifi: Document) -> str:
    """The network as wpa_supplicant's file."""
    text = f"country={wifi['country']}\nnetwork={{\n    ssid={wifi['ssid']}\n"
    text += "    scan_ssid=1\n" if wifi.get("hidden") else ""
    security = f"    psk={wifi['psk']}\n" if wifi.get("psk") else "    key_mgmt=NONE\n"
    return f"{text}{security}}}\n"


def place_keys(board: Board, document: Document) -> None:
    """The server's key and the board's own, which it makes if none came."""
    if not document.get("server_key") and not document.get("keys"):
        return
    folder = board.at(KEYS)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if document.get("keys"):
        keys = document["keys"]
        secret = certificate(keys["public"], keys["secret"])
        board.write(f"{KEYS}/device.key_secret", secret, 0o600, "slfac:slfac")
        board.write(f"{KEYS}/device.key", certificate(keys["public"]), 0o644, "slfac:slfac")
    elif not has_pair(board):
        for name in ("device.key", "device.key_secret"):
            board.at(f"{KEYS}/{name}").unlink(missing_ok=True)
        board.need(str(board.at(SLFAC)), "keys", "new", "device", "--dir", str(folder))
        if not has_pair(board):
            raise StageError("`slfac keys new device` made no keys")
        os.sync()
    if document.get("server_key"):
        text = certificate(document["server_key"])
        board.write(f"{KEYS}/server.key", text, 0o644, "slfac:slfac")
    board.need("chown", "-R", "slfac:slfac", str(folder))
    folder.chmod(0o700)


def certificate(public: str, secret: str = "") -> str:
    """A key as ZeroMQ's tools write it."""
    text = f'metadata\ncurve\n    public-key = "{public}"\n'
    return f'{text}    secret-key = "{secret}"\n' if secret else text


def public_key(board: Board, name: str = "device.key") -> str:
    """The public key in a certificate; empty if there is none."""
    found = re.search(r'^\s*public-key = "(.{40})"$', board.read(f"{KEYS}/{name}"), re.MULTILINE)
    return found[1] if found else ""


def has_pair(board: Board) -> bool:
    """Whether both halves are there, and neither was cut short."""
    secret = re.search(r'secret-key = "(.{40})"', board.read(f"{KEYS}/device.key_secret"))
    return secret is not None and public_key(board) == public_key(board, "device.key_secret") != ""


def mount_data(board: Board, document: Document) -> None:
    """The file system with the data, when somebody looks there: a drive may come later."""
    label = document.get("data_label")
    if not label:
        return
    options = "ro,nosuid,nodev,noexec,nofail,x-systemd.automount,x-systemd.device-timeout=30s"
    source = label.replace(" ", "\\040")
    kept = [line for line in board.read("etc/fstab").splitlines() if MARK not in line]
    kept = [line for line in kept if line.split()[1:2] != [DATA]]
    kept += [MARK, f"LABEL={source} {DATA} auto {options} 0 0", ""]
    board.write("etc/fstab", "\n".join(kept))
    board.at(DATA).mkdir(parents=True, exist_ok=True)
    board.run(("systemctl", "daemon-reload"))
    board.run(("systemctl", "start", "--no-block", "var-lib-slfac-data.automount"))


def write_settings(board: Board, document: Document) -> None:
    """What ``slfac device --config`` reads; the service starts only if it is there."""
    config = document.get("config")
    if config:
        lines = [f"{name} = {toml(value)}" for name, value in config.items()]
        head = "# From the settings that were injected; `slfac device --help` lists others."
        board.write("etc/slfac/device.toml", "\n".join([head, *lines, ""]))


def toml(value: Any) -> str:
    """A value in TOML, whose texts, lists and numbers are those of JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if value is None:
        raise StageError("setting config holds null, which TOML does not know")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


STAGES: dict[str, Callable[[Board, Document], None]] = {
    "hostname": set_hostname,
    "timezone": set_timezone,
    "ssh": allow_ssh,
    "wifi": join_wifi,
    "keys": place_keys,
    "data": mount_data,
    "settings": write_settings,
}
#: Before the settings are wiped, which are nowhere else.
NEEDED = ("ssh", "wifi", "keys", "data", "settings")


def wipe(path: Path) -> None:
    """Overwrite a file where it lies, then delete it. A name of its own tells a half-wiped one."""
    half = path.with_name("device.old")
    if path.exists():
        path.replace(half)
        settle(path.parent)
    if half.exists():
        with half.open("r+b") as stream:
            stream.write(bytes(half.stat().st_size))
            stream.flush()
            os.fsync(stream.fileno())
        half.unlink()
        settle(path.parent)


def show_key(board: Board) -> None:
    """Show the public half, which the server must know: console, log-in screen, boot partition."""
    key = public_key(board)
    if not key:
        return
    name = board.read("etc/hostname").strip()
    name = name if HOSTNAME.fullmatch(name) else "device"
    board.say(f"the key of {name} is {key}")
    board.say(
        f"to let it in, copy slfac/{name}.key from this card's boot partition to the server, and "
        f"there: slfac keys enroll {name} {name}.key --dir keys"
    )
    shown = {
        "etc/issue.d/slfac.issue": f"slfac: the key of {name} is {key}\n",
        f"{BOOT}/{name}.key": board.read(f"{KEYS}/device.key"),
    }
    for file, text in shown.items():
        if board.read(file) != text:
            board.write(file, text)


def apply(board: Board, data: bytes) -> list[str]:
    """Apply settings as far as they are not yet; what went wrong."""
    problems = []
    document = parse(data)
    digest = hashlib.sha256(data).hexdigest()
    if board.state["digest"] != digest:
        board.state |= {"digest": digest, "done": []}
    for name, stage in STAGES.items():
        if name in board.state["done"]:
            continue
        try:
            stage(board, document)
            board.state["done"].append(name)
            board.save()
        except Exception as error:  # noqa: BLE001 - a board that starts can be repaired
            problems.append(f"{name}: {error}")
    if all(name in board.state["done"] for name in NEEDED):
        wipe(board.at(f"{BOOT}/device.json"))
        forget(board)
    return problems


def forget(board: Board) -> None:
    """Take down that nothing is under way: the same settings may be injected again."""
    board.state = {"digest": "", "done": []}
    board.save()


def set_up(board: Board) -> list[str]:
    """Do everything that is to be done; what went wrong."""
    problems: list[str] = []
    board.load()
    path = board.at(f"{BOOT}/device.json")
    try:
        wipe(path.with_name("device.old"))
        if path.exists():
            with path.open("rb") as stream:
                data = stream.read(MOST_BYTES + 1)
            found = apply(board, data)
            problems += found
            if not found:
                board.at(f"{BOOT}/error.txt").unlink(missing_ok=True)
        elif board.state["digest"]:
            forget(board)
        show_key(board)
    except Exception as error:  # noqa: BLE001 - a board that starts can be repaired
        problems.append(str(error))
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Set this board up; always 0, as nothing that starts later may be held up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"), help="the system to set up")
    board = Board(parser.parse_args(arguments).root)
    os.umask(0o022)
    problems = set_up(board)
    for problem in problems:
        board.say(problem)
    if problems:
        try:
            board.write(f"{BOOT}/error.txt", "\n".join([*problems, ""]))
        except OSError as error:
            board.say(f"cannot write error.txt: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

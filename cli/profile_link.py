"""``slfac profile peer`` and ``link``: what the network between two machines carries."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.parsers import add_command, given, integers
from slfac.cli.profile_update import check_texts, figure_fields, load_own_profile, with_entry
from slfac.cli.tables import aligned, print_line
from slfac.wire.errors import SettingsError

if TYPE_CHECKING:
    from slfac.device.profiling.link import LinkMeasured
    from slfac.device.profiling.spread import Figure
    from slfac.wire.keys import DeviceKeys

_PEER_EPILOG = """\
examples:
  slfac profile peer --keys keys                     on the server's machine, with its keys
  slfac profile peer --bind tcp://127.0.0.1:5566 --insecure

It answers devices that are enrolled until Ctrl-C ends it, and needs no torch. What a device then
measures against it: `slfac profile link --help`, docs/calibration.md.
"""
_LINK_EPILOG = """\
examples:
  slfac profile link --peer tcp://10.0.0.5:5566 --keys keys
  slfac profile link --peer tcp://10.0.0.5:5566 --keys keys --profile board.toml --link wifi

On the other machine `slfac profile peer` must run. What the figures are: docs/calibration.md.
"""
_PEER = "tcp://HOST:PORT of a machine that runs `slfac profile peer`"
_DEFAULT_BIND = "tcp://0.0.0.0:5566"


def add_profile_link(actions: Any) -> None:
    """Register the actions that measure a link, and that answer such measurements.

    Args:
        actions: The subparsers of ``slfac profile``.
    """
    peer = add_command(
        actions,
        "peer",
        summary="answer devices that measure their link to this machine",
        epilog=_PEER_EPILOG,
        run=run_peer,
    )
    add = peer.add_argument
    add("--bind", metavar="ADDRESS", help=f"where to listen ({_DEFAULT_BIND})")
    add("--keys", type=Path, metavar="DIR", help="a server's key folder; who is enrolled is let in")
    add("--insecure", action="store_true", help="work without keys, on loopback only")
    link = add_command(
        actions,
        "link",
        summary="measure throughput and round trips to a peer",
        epilog=_LINK_EPILOG,
        run=run_link,
    )
    add_peer_options(link)
    add = link.add_argument
    add("--profile", type=Path, metavar="FILE", help="profile of this board to write it into")
    add("--link", metavar="NAME", help="which link of the profile it is, such as wifi")
    add("--note", metavar="TEXT", help="what a reader must know, such as the access point")
    add("--repetitions", type=int, metavar="N", help="how often, 5 or more (5)")
    add("--repetition-s", type=float, metavar="S", help="how long each stream lasts (0.5)")
    add("--sizes", type=integers, metavar="A,B", help="bytes of the messages (1024,65536)")
    add("--json", action="store_true", help="print one JSON object instead of lines")


def add_peer_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a peer is.

    Args:
        parser: The parser.
    """
    add = parser.add_argument
    add("--peer", required=True, metavar="ADDRESS", help=_PEER)
    add("--keys", type=Path, metavar="DIR", help="this device's key folder")
    add("--insecure", action="store_true", help="work without keys, on loopback only")


def take_peer_keys(values: dict[str, Any]) -> DeviceKeys | None:
    """Take the keys out of what was given.

    Args:
        values: What was given; ``keys`` and ``insecure`` are removed.

    Returns:
        The device's keys; None where it is to work without.

    Raises:
        SettingsError: Neither or both were given.
        KeyFileError: The keys cannot be read.
    """
    from slfac.wire.keys import device_keys

    folder = _take_folder(values, "this device's keys: `slfac keys new device`")
    return device_keys(folder) if folder is not None else None


def _take_folder(values: dict[str, Any], whose: str) -> Path | None:
    folder: Path | None = values.pop("keys", None)
    insecure: bool = values.pop("insecure", False)
    if folder is None and not insecure:
        raise SettingsError("--keys is missing", f"name the folder with {whose}")
    if folder is not None and insecure:
        raise SettingsError("--keys and --insecure do not go together", "give one of them")
    return folder


def run_peer(args: argparse.Namespace) -> int:
    """Run ``slfac profile peer``; Ctrl-C ends it.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        AddressError: The address cannot be bound.
        KeyFileError: The keys cannot be read.
        SettingsError: There are no keys, and the address is not loopback.
    """
    from slfac.device.profiling.link import Peer
    from slfac.wire.keys import AllowList

    values = given(args)
    folder = _take_folder(values, "a server's keys: `slfac keys new server`")
    peer = Peer(values.get("bind", _DEFAULT_BIND), folder, _say_peer)
    try:
        names = AllowList(folder).names() if folder is not None else ["anyone on this machine"]
        _say_peer(f"listening on {peer.address}, for {', '.join(names) or 'nobody yet'}")
        peer.serve()
    finally:
        peer.close()
    return 0


def run_link(args: argparse.Namespace) -> int:
    """Run ``slfac profile link``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting is wrong, or the profile cannot be written.
        LinkError: The peer cannot be reached, refuses, or was lost; its subclasses say which.
    """
    from slfac.device.profiling.link import measure_link

    values = given(args)
    path: Path | None = values.get("profile")
    name: str | None = values.get("link")
    if (path is None) != (name is None):
        raise SettingsError(
            f"--{'profile' if path else 'link'} is given alone",
            "give --profile FILE.toml and --link NAME to write it down, or neither",
        )
    check_texts(values)
    if path is not None:
        load_own_profile(path)
    keys = take_peer_keys(values)
    names = ("repetitions", "repetition_s", "sizes")
    settings = {key: values[key] for key in names if key in values}
    found = measure_link(values["peer"], keys, on_status=_say_link, **settings)
    if values.get("json"):
        print(json.dumps(_as_json(found)))
    else:
        for line in _lines(found):
            print_line(line)
    if path is not None and name is not None:
        _write(found, path, name, values.get("note", ""))
        if not values.get("json"):
            print_line(f"link {name} of {path} is written")
    return 0


def link_values(found: LinkMeasured) -> dict[str, Any]:
    """What a measured link gives a profile's ``link`` table.

    Args:
        found: What was measured.

    Returns:
        ``up_mbits``, ``down_mbits`` and ``rtt_ms``.
    """
    from slfac.hw_profiles import Value

    through = f" through {found.route.interface}" if found.route.interface else ""
    figures = {"up_mbits": found.up_mbits, "down_mbits": found.down_mbits, "rtt_ms": found.rtt_ms}
    source = f"slfac profile link, to the peer at {found.address}{through}"
    return {
        name: Value(**figure_fields(figure, kind="measured", source=source, runs=figure.runs))
        for name, figure in figures.items()
    }


def _write(found: LinkMeasured, path: Path, name: str, note: str) -> None:
    from slfac.hw_profiles import write_profile

    fields = link_values(found) | ({"note": note} if note else {})
    # Read again: others may have written it meanwhile.
    write_profile(with_entry(load_own_profile(path), "links", name, **fields), path)


def _as_json(found: LinkMeasured) -> dict[str, Any]:
    figures = {"up_mbits": found.up_mbits, "down_mbits": found.down_mbits, "rtt_ms": found.rtt_ms}
    return {
        **{name: dataclasses.asdict(figure) for name, figure in figures.items()},
        "peer": found.address,
        "interface": found.route.interface,
    }


def _lines(found: LinkMeasured) -> list[str]:
    rows = [
        ("", "mean", "95 % interval"),
        _row("up", found.up_mbits, "Mbit/s"),
        _row("down", found.down_mbits, "Mbit/s"),
        _row("round trip", found.rtt_ms, "ms"),
    ]
    for size in found.sizes:
        rows.append(_row(f"up, {size.body_bytes} bytes a message", size.up_mbits, "Mbit/s"))
        rows.append(_row(f"down, {size.body_bytes} bytes a message", size.down_mbits, "Mbit/s"))
    lines = [*aligned(rows)]
    for size in found.sizes:
        for way, counts in (("sent", size.sent), ("received", size.received)):
            lines.append(
                f"{way} in messages of {size.body_bytes}: {counts.bytes / 1e6:.2f} MB on TCP, "
                f"{counts.messages} messages, {counts.frames} packets"
            )
    where = found.route.interface or "an unknown interface"
    lines.append(f"peer {found.address} through {where}, slfac {found.software} there")
    if found.route.is_local:
        lines.append("the peer is on this machine: no radio and no cable was measured")
    return lines


def _row(what: str, figure: Figure, unit: str) -> tuple[str, ...]:
    return what, f"{figure.value:.4g} {unit}", f"{figure.low:.4g} to {figure.high:.4g}"


def _say_peer(line: str) -> None:
    print(f"slfac profile peer: {line}", file=sys.stderr, flush=True)


def _say_link(line: str) -> None:
    print(f"slfac profile link: {line}", file=sys.stderr, flush=True)

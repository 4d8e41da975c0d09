"""``slfac testbed emulate`` and its like: hosts and links on this machine."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from slfac.cli.parsers import add_command
from slfac.cli.tables import aligned

if TYPE_CHECKING:
    from slfac.testbed.emulate.lan import Lan

_EMULATE_EPILOG = """\
examples:
  slfac testbed emulate
  slfac testbed emulate lab.yaml --detach
  slfac testbed emulate lab.yaml --stop

Makes a host on this machine for the server, for each device, and one named control, with the links
of the inventory, and keeps them until Ctrl-C. Nothing is left behind: docs/emulation.md.
"""


def add_emulation(actions: Any, add_file: Any) -> None:
    """Register the actions.

    Args:
        actions: The subparsers of ``slfac testbed``.
        add_file: Adds the argument for the inventory to a parser.
    """
    emulate = add_command(
        actions,
        "emulate",
        summary="make an inventory's hosts and links on this machine",
        epilog=_EMULATE_EPILOG,
        run=_emulate,
    )
    add_file(emulate)
    how = emulate.add_mutually_exclusive_group()
    how.add_argument("--detach", action="store_true", help="come back, and leave them up")
    how.add_argument("--stop", action="store_true", help="end hosts that are up")
    emulate.add_argument("--begin", action="store_true", help="count the times of cuts from now on")
    for name, summary, example, run in (
        ("exec", "run a program in an emulated host", "pi-1 -- ip address", _exec),
        ("cut", "cut a device's emulated link", "pi-1 --for 10s", _cut),
        ("restore", "mend a device's emulated link", "pi-1", _restore),
        ("links", "what emulated links have carried", "--json", _links),
    ):
        line = f"slfac testbed {name} {example}"
        named = line.replace(f" {name} ", f" {name} --name lab ", 1)
        epilog = f"examples:\n  {line}\n  {named}\n"
        parser = add_command(actions, name, summary=summary, epilog=epilog, run=run)
        parser.add_argument("--name", metavar="NAME", help="of which testbed (the inventory's)")
        if name != "links":
            parser.add_argument("host", metavar="HOST", help="a device's name")
    actions.choices["exec"].add_argument("program", nargs=argparse.REMAINDER, metavar="-- PROGRAM")
    actions.choices["cut"].add_argument("--for", dest="lasts", metavar="TIME", help="such as 10s")
    actions.choices["links"].add_argument("--json", action="store_true", help="print JSON")


def _emulate(args: argparse.Namespace) -> int:
    from slfac.cli.testbed import inventory_file
    from slfac.testbed.emulate.lan import end_lan, raise_lan
    from slfac.testbed.emulate.plan import plan_of
    from slfac.testbed.inventory import load_inventory

    inventory = load_inventory(inventory_file(args))
    if getattr(args, "stop", False):
        was_up = end_lan(inventory.name)
        print(f"testbed {inventory.name} {'has ended' if was_up else 'was not up'}")
        return 0
    detached = getattr(args, "detach", False)
    with raise_lan(plan_of(inventory), tied=not detached) as lan:
        _show(lan)
        if getattr(args, "begin", False):
            lan.begin()
        if detached:
            print(f"up until `slfac testbed emulate {inventory.file} --stop`", flush=True)
            return 0
        print("up until Ctrl-C", flush=True)
        signal.pause()
    return 0


def _show(lan: Lan) -> None:
    rows = [("host", "address", "reaches the server at")]
    rows += [(host.name, host.address, host.server_address) for host in lan.hosts.values()]
    for line in aligned(rows):
        print(line)
    print(f"links are shaped by {lan.shaper}; TCP's congestion control is {lan.congestion}")
    for limit in lan.limits:
        print(f"note: {limit}")


def _exec(args: argparse.Namespace) -> int:
    from slfac.wire.errors import RunError, SettingsError

    lan = _lan(args)
    program = args.program[args.program[:1] == ["--"] :]
    if args.host not in lan.hosts or not program:
        what = f"there is no host {args.host!r}" if program else "no program is given"
        names = ", ".join(lan.hosts)
        raise SettingsError(what, f"`slfac testbed exec HOST -- PROGRAM`; hosts are {names}")
    command = lan.hosts[args.host].command(program)
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)  # noqa: S606 - a program of the user's, no shell
    except OSError as error:
        raise RunError(f"cannot run {command[0]}: {error.strerror}") from error


def _cut(args: argparse.Namespace) -> int:
    from slfac.testbed.quantities import parse_time

    lasts = getattr(args, "lasts", None)
    _lan(args).cut(args.host, None if lasts is None else parse_time(lasts))
    print(f"the link of {args.host} is cut{'' if lasts is None else f' for {lasts}'}")
    return 0


def _restore(args: argparse.Namespace) -> int:
    was_cut = _lan(args).restore(args.host)
    print(f"the link of {args.host} {'carries again' if was_cut else 'was not cut'}")
    return 0


def _links(args: argparse.Namespace) -> int:
    lan = _lan(args)
    counters = lan.counters()
    if getattr(args, "json", False):
        print(json.dumps({"name": lan.name, "links": counters, "cuts": lan.status()["cuts"]}))
        return 0
    names = ("sent_bytes", "packets", "lost", "overflowed", "cut_off", "late_s")
    rows: list[tuple[str, ...]] = [("device", "way", *names)]
    for device, ways in counters.items():
        for way, traffic in ways.items():
            rows.append((device, way, *(_cell(traffic.get(name)) for name in names)))
    for line in aligned(rows):
        print(line)
    return 0


def _cell(value: int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _lan(args: argparse.Namespace) -> Lan:
    """The testbed that is meant: the one of a name, or the only one of an inventory."""
    from slfac.testbed.emulate.lan import find_lan
    from slfac.testbed.emulate.places import lans
    from slfac.wire.errors import RunError, SettingsError

    name = getattr(args, "name", None)
    if name is not None:
        return find_lan(name)
    up = lans()
    names = [each for each, made_by in up.items() if not made_by]
    if len(names) > 1:
        raise SettingsError(f"{len(names)} testbeds are up", f"give --name: {', '.join(names)}")
    if names:
        return find_lan(names[0])
    if not up:
        raise RunError("no emulated testbed is up", "`slfac testbed emulate` makes one")
    made = ", ".join(f"{each} by `{made_by}`" for each, made_by in up.items())
    raise RunError(
        f"no emulated testbed of an inventory is up, only what was made for one run: {made}",
        f"--name {next(iter(up))} takes it nevertheless; `slfac testbed emulate` makes your own",
    )

"""``slfac testbed up``, ``run``, ``status``, ``logs``, ``collect`` and ``down``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from slfac.testbed.inventory import Inventory

_EMULATE = "make all hosts on this machine, as the inventory's links say (docs/emulation.md)"
_INSTALL = "bring this slfac to devices also where they have one"


def add_host_actions(actions: Any, add_action: Any) -> None:
    """Register the actions that work on hosts.

    Args:
        actions: The subparsers of ``slfac testbed``.
        add_action: Registers one that takes an inventory.
    """
    up = add_action(actions, "up", "check all hosts, bring slfac there, exchange keys", "", _up)
    up.add_argument("--install", action="store_true", help=_INSTALL)
    run = add_action(actions, "run", "train on all hosts, and bring the results here", "", _run)
    run.add_argument("--out", type=Path, metavar="DIR", help="results (runs/NAME-TIME)")
    run.add_argument("--install", action="store_true", help=_INSTALL)
    run.add_argument("--no-baseline", action="store_true", help="do not measure links and clocks")
    run.add_argument(
        "--detach", action="store_true", help="leave once all is started; `collect` ends it"
    )
    status = add_action(actions, "status", "say what runs on each host", "--json", _status)
    status.add_argument("--json", action="store_true", help="print one JSON object")
    logs = add_action(actions, "logs", "show what agents said", "--host pi-1 -f", _logs)
    logs.add_argument("--host", metavar="NAME", help="of one host, such as pi-1 or server")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    logs.add_argument("-n", "--lines", type=int, metavar="N", help="last lines of each (20)")
    collect = add_action(
        actions,
        "collect",
        "bring a run's files here and write its report",
        "--out runs/a",
        _collect,
    )
    collect.add_argument("--out", type=Path, metavar="DIR", help="results (runs/NAME-TIME)")
    down = add_action(actions, "down", "end everything on all hosts", "--purge", _down)
    down.add_argument(
        "--purge", action="store_true", help="remove keys, releases and runs there as well"
    )
    for action in (up, run, status, logs, collect, down):
        action.add_argument("--emulate", action="store_true", help=_EMULATE)


def _up(args: argparse.Namespace) -> int:
    from slfac.testbed.hosts.commands import bring_up
    from slfac.testbed.hosts.emulated import opened

    inventory, console = _begin(args)
    with opened(inventory, emulate=_is(args, "emulate"), make=True, keep=True) as lab:
        bring_up(lab, console, install=_is(args, "install"))
    return 0


def _run(args: argparse.Namespace) -> int:
    from slfac.testbed.hosts.commands import default_out, run
    from slfac.testbed.hosts.emulated import opened
    from slfac.testbed.hosts.run import RunOptions
    from slfac.testbed.hosts.several import run_all

    inventory, console = _begin(args)
    options = RunOptions(
        out=getattr(args, "out", None) or default_out(inventory.name),
        install=_is(args, "install"),
        measure=not _is(args, "no_baseline"),
        detach=_is(args, "detach"),
    )
    emulate = _is(args, "emulate")
    if inventory.matrix:
        return 1 if run_all(inventory, options, console, emulate=emulate) else 0
    with opened(inventory, emulate=emulate, make=True, keep=options.detach) as lab:
        carried = run(lab, options, console)
    return 1 if carried.errors else 0


def _status(args: argparse.Namespace) -> int:
    from slfac.testbed.hosts.emulated import opened
    from slfac.testbed.hosts.inquire import show_status

    inventory, console = _begin(args)
    with opened(inventory, emulate=_is(args, "emulate")) as lab:
        return show_status(lab, console, as_json=_is(args, "json"))


def _logs(args: argparse.Namespace) -> int:
    from slfac.testbed.hosts.emulated import opened
    from slfac.testbed.hosts.inquire import show_logs

    inventory, console = _begin(args)
    with opened(inventory, emulate=_is(args, "emulate")) as lab:
        show_logs(
            lab,
            console,
            host=getattr(args, "host", None),
            follow=_is(args, "follow"),
            lines=getattr(args, "lines", 20),
        )
    return 0


def _collect(args: argparse.Namespace) -> int:
    from slfac.testbed.hosts.commands import collect, default_out
    from slfac.testbed.hosts.emulated import opened

    inventory, console = _begin(args)
    out = getattr(args, "out", None) or default_out(inventory.name)
    with opened(inventory, emulate=_is(args, "emulate")) as lab:
        missing = collect(lab, out, console)
    return 1 if missing else 0


def _down(args: argparse.Namespace) -> int:
    from slfac.testbed.hosts.commands import stop
    from slfac.testbed.hosts.emulated import close_emulated, opened

    inventory, console = _begin(args)
    if _is(args, "emulate"):
        # Whatever runs in emulated hosts ends with them.
        print(close_emulated(inventory))
        return 0
    with opened(inventory, emulate=False) as lab:
        stop(lab, console, purge=_is(args, "purge"))
    return 0


def _is(args: argparse.Namespace, name: str) -> bool:
    return bool(getattr(args, name, False))


def _begin(args: argparse.Namespace) -> tuple[Inventory, Console]:
    from rich.console import Console

    from slfac.cli.testbed import inventory_file
    from slfac.testbed.inventory import load_inventory

    return load_inventory(inventory_file(args)), Console()

"""``slfac testbed``: hosts, links and runs from one inventory file."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command
from slfac.cli.testbed_emulate import add_emulation
from slfac.cli.testbed_goodput import add_goodput
from slfac.cli.testbed_hosts import add_host_actions

_EPILOG = """\
examples:
  slfac testbed init
  slfac testbed check
  slfac testbed up
  slfac testbed run lab.yaml --out runs/first
  slfac testbed run lab.yaml --emulate
  slfac testbed down
  slfac testbed inventory lab.yaml --ansible
  slfac testbed emulate lab.yaml
  slfac testbed cut pi-1 --for 10s
  slfac testbed goodput

The inventory is testbed.yaml of the current folder, or the file that is named.
"""
_DEFAULT = Path("testbed.yaml")


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "testbed",
        summary="hosts, links and runs from one inventory file",
        epilog=_EPILOG,
        run=_init,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_action(actions, "init", "write an inventory to fill in", "", _init)
    check = add_action(
        actions, "check", "check an inventory, and whether its hosts answer", "--no-probe", _check
    )
    check.add_argument("--no-probe", action="store_true", help="read the file, talk to no host")
    check.add_argument("--json", action="store_true", help="print one JSON object in the end")
    listed = add_action(
        actions, "inventory", "print an inventory for another program", "--ansible", _inventory
    )
    listed.add_argument(
        "--ansible", action="store_true", required=True, help="as Ansible reads it, in YAML"
    )
    add_emulation(actions, _add_file)
    add_goodput(actions)
    add_host_actions(actions, add_action)


def add_action(
    actions: Any, name: str, summary: str, example: str, run: Any
) -> argparse.ArgumentParser:
    """Register an action that takes an inventory.

    Args:
        actions: The subparsers of ``slfac testbed``.
        name: Its name.
        summary: One line for its help.
        example: Arguments of an example, besides the file's name.
        run: Runs it.

    Returns:
        The parser, to add arguments to.
    """
    line = " ".join(f"slfac testbed {name} lab.yaml {example}".split())
    epilog = f"examples:\n  slfac testbed {name}\n  {line}\n"
    if example:
        epilog = f"example:\n  {line}\n"
    parser = add_command(actions, name, summary=summary, epilog=epilog, run=run)
    _add_file(parser)
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=_DEFAULT,
        metavar="FILE",
        help=f"the inventory ({_DEFAULT})",
    )


def inventory_file(args: argparse.Namespace) -> Path:
    """The file that an action is about.

    Args:
        args: The parsed command line.
    """
    file: Path = args.file
    return file


def _init(args: argparse.Namespace) -> int:
    from slfac.testbed.inventory import write_template

    file = inventory_file(args)
    write_template(file)
    print(f"{file}: fill in your hosts, then run `slfac testbed check {file}`")
    return 0


def _check(args: argparse.Namespace) -> int:
    from slfac.cli.findings import show_findings
    from slfac.device.doctor.finding import Finding
    from slfac.testbed.inventory import load_inventory
    from slfac.testbed.inventory.probe import probe

    inventory = load_inventory(inventory_file(args))
    findings = [Finding("ok", "inventory", f"{inventory.file}: {len(inventory.devices)} devices")]
    probes = () if getattr(args, "no_probe", False) else probe(inventory)
    return show_findings(chain(findings, probes), as_json=getattr(args, "json", False))


def _inventory(args: argparse.Namespace) -> int:
    from slfac.testbed.inventory import ansible_inventory, load_inventory

    print(ansible_inventory(load_inventory(inventory_file(args))), end="")
    return 0

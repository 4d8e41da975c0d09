"""``slfac keys``: make CURVE keys, and say which devices a server lets in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from slfac.cli.parsers import add_command

_EPILOG = """\
example, on the server:
  slfac keys new server --dir keys
on each device (copy keys/server.key from the server first):
  slfac keys new device --dir keys --server server.key
and on the server again, with the device's public key:
  slfac keys enroll pi-1 device.key --dir keys
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "keys",
        summary="make keys, enroll and revoke devices",
        epilog=_EPILOG,
        run=run,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = actions.add_parser("new", help="make a key pair")
    new.add_argument("owner", choices=("server", "device"), help="whose keys")
    new.add_argument(
        "--server", type=Path, default=None, metavar="FILE", help="the server's server.key to copy"
    )
    enroll = actions.add_parser("enroll", help="let a device in")
    enroll.add_argument("name", help="what to call it, such as pi-1")
    enroll.add_argument("certificate", type=Path, metavar="FILE", help="its device.key")
    actions.add_parser("list", help="show which devices are let in")
    revoke = actions.add_parser("revoke", help="shut a device out, at once")
    revoke.add_argument("name", help="the device")
    for action in actions.choices.values():
        action.add_argument("--dir", type=Path, required=True, metavar="DIR", help="key folder")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    from slfac.wire.keys import AllowList, check_server_folder, new_keys, read_public

    if args.action == "new":
        public = new_keys(args.dir, args.owner, args.server)
        print(f"{public}  {read_public(public).decode()}")
        if args.owner == "device" and args.server is None:
            print(f"copy server.key from the server's key folder into {args.dir} as well")
        return 0
    allowed = AllowList(check_server_folder(args.dir))
    if args.action == "enroll":
        allowed.enroll(args.name, args.certificate)
        print(f"enrolled {args.name}")
    elif args.action == "revoke":
        allowed.revoke(args.name)
        print(f"revoked {args.name}; a running server refuses its next message")
    else:
        for name in allowed.names():
            print(f"{name}  enrolled")
        for name in allowed.revoked():
            print(f"{name}  revoked")
    return 0

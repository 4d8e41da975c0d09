"""What ``slfac testbed`` does on hosts, one function an action."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

from rich.console import Console

from slfac.testbed.hosts.collect import check_folder
from slfac.testbed.hosts.lab import Lab, failure
from slfac.testbed.hosts.run import Carried, RunOptions, carry_out, collect_all, ready_hosts
from slfac.testbed.hosts.show import Show
from slfac.testbed.hosts.stop import stop_all
from slfac.wire.errors import SlfacError


def bring_up(lab: Lab, console: Console, *, install: bool) -> None:
    """Make all hosts ready; those that fail are told, and the others are ready none the less.

    Args:
        lab: The testbed.
        console: Where to show it.
        install: Whether to bring slfac also where it is found.

    Raises:
        SlfacError: A branch of it: some host cannot be used.
    """

    async def work() -> None:
        with Show(console, lab.names) as show:
            async with ready_hosts(lab, show, install=install, least_devices=1):
                pass
            if show.errors:
                raise failure(lab, show.errors)

    asyncio.run(work())


def run(lab: Lab, options: RunOptions, console: Console) -> Carried:
    """Carry a run out; however it ends, nothing of it runs on.

    Args:
        lab: The testbed.
        options: How.
        console: Where to show it.

    Returns:
        What came of it.

    Raises:
        SlfacError: A branch of it: hosts cannot be used, or the run failed.
    """
    try:
        carried = asyncio.run(carry_out(lab, options, console))
        if options.detach:
            return carried
    except BaseException as error:
        _stop_after(lab, console, error)
        raise
    left = _stop_what_can_be(lab, console)
    if left is not None:
        carried.errors["down"] = str(left)
    _report(options.out, console)
    return carried


def stop(lab: Lab, console: Console, *, purge: bool = False, quiet: bool = False) -> None:
    """End everything on all hosts.

    Args:
        lab: The testbed.
        console: Where to show it.
        purge: Whether to remove all that was put there.
        quiet: Whether to say only what fails.

    Raises:
        SlfacError: A branch of it: something could not be ended, or a host not be reached.
    """

    async def work() -> None:
        with Show(console, lab.names, quiet=quiet) as show:
            await stop_all(lab, show, purge=purge)

    asyncio.run(work())


def collect(lab: Lab, out: Path, console: Console) -> dict[str, str]:
    """Bring a run's files here, stop it if it has ended, and write its report.

    Args:
        lab: The testbed.
        out: Where to.
        console: Where to show it.

    Returns:
        Hosts whose files could not be had, and why.

    Raises:
        SlfacError: A branch of it: the server's files cannot be had.
    """
    check_folder(out)

    async def work() -> dict[str, str]:
        with Show(console, lab.names) as show:
            return await collect_all(lab, out, show)

    missing = asyncio.run(work())
    _report(out, console)
    return missing


def default_out(name: str) -> Path:
    """Where a run's results go unless somebody says otherwise.

    Args:
        name: The testbed's name.
    """
    now = dt.datetime.now(dt.timezone.utc)
    return Path("runs") / f"{name}-{now:%Y%m%d-%H%M%S}"


def _report(out: Path, console: Console) -> None:
    # What draws takes seconds to load.
    from slfac.testbed.report.order import write_order  # noqa: PLC0415

    write_order(console, folders=[out], out=out / "report.html", command=f"slfac report {out}")


def _stop_after(lab: Lab, console: Console, error: BaseException) -> None:
    """Stop what a run has begun; what then fails is told, and hides nothing."""
    interrupted = isinstance(error, KeyboardInterrupt)
    why = "interrupted" if interrupted else "the run failed"
    console.print(f"{why}: stopping what it started; Ctrl-C again leaves that running")
    _stop_what_can_be(lab, console)


def _stop_what_can_be(lab: Lab, console: Console) -> SlfacError | None:
    """Stop all hosts; why some could not be, which is told."""
    try:
        stop(lab, console, quiet=True)
    except SlfacError as left:
        console.print(f"{left}; `slfac testbed down` tries again", markup=False, highlight=False)
        return left
    return None

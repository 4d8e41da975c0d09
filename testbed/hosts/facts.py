"""What is kept of a run beside its metrics: hosts, links, clocks, sources."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path
from typing import Any, Final

import slfac
from slfac.testbed.collect import machine, versions
from slfac.testbed.hosts.lab import Lab, Members
from slfac.testbed.inventory import Link

#: In the run's folder on the server's host, and in that of the results.
FACTS_FILE: Final = "testbed.json"
_KEPT: Final = (
    *("python", "machine", "system", "libc", "host_name", "model", "boot", "free_bytes"),
    "image",
)


def facts_of(lab: Lab, members: Members, before: dict[str, Any]) -> dict[str, Any]:
    """What there is to say of a testbed as a run begins.

    Args:
        lab: The testbed.
        members: Its hosts.
        before: Links and clocks; empty where they were not measured.

    Returns:
        JSON values.
    """
    emulated = lab.lan is not None
    return {
        "name": lab.inventory.name,
        "started": dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds"),
        "kind": "emulated" if lab.lan is not None else "hosts",
        "inventory": lab.inventory.file.read_text("utf-8", "replace"),
        "slfac": slfac.__version__,
        "revision": revision(),
        "versions": versions(),
        "machine": machine(),
        "shaper": lab.lan.shaper if lab.lan is not None else "",
        "congestion": lab.lan.congestion if lab.lan is not None else "",
        "links": {
            device.name: link_words(lab.inventory.link(device.name)) if emulated else ""
            for device in lab.inventory.devices
        },
        "hosts": {
            ready.host.name: {
                "slfac": ready.version,
                "manager": ready.manager,
                **{name: ready.facts[name] for name in _KEPT},
            }
            for ready in members.all
        },
        "baseline": {"before": before, "after": {}},
        "cuts": [],
    }


def revision() -> str:
    """Commit of the sources, ``+`` where they were changed since; empty where there are none."""
    folder = Path(slfac.__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return ""
    asked = ("git", "-C", str(folder))
    try:
        commit = _said(*asked, "rev-parse", "HEAD")
        changed = _said(*asked, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + "+" * bool(changed)


def link_words(link: Link) -> str:
    """A link in a few words, as :func:`slfac.testbed.link.parse_link` reads them where it can.

    Args:
        link: The link.
    """
    words = []
    if link.rate is not None:
        up, down = (f"{rate / 1e6:g}Mbit" for rate in link.rate)
        words += [up] if up == down else [up, down]
    words += [f"{1e3 * link.delay_s:g}ms"] * bool(link.delay_s)
    words += [f"{100 * link.loss:g}%"] * bool(link.loss)
    words += [f"jitter {1e3 * link.jitter_s:g}ms"] * bool(link.jitter_s)
    return "/".join(words) or "no limit"


def _said(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed arguments
        command, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()

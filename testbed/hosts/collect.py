"""Brings a run's files here: metrics, checkpoints, logs, and what is known of its hosts."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from slfac.testbed.hosts.agents import OUT_FOLDER, RUN_FOLDER
from slfac.testbed.hosts.facts import FACTS_FILE
from slfac.testbed.hosts.host import Host
from slfac.testbed.hosts.pool import OnError, each
from slfac.testbed.hosts.remote.state import EVENTS_FILE, LOG_FILE, STATE_FILE
from slfac.testbed.hosts.targets import SERVER
from slfac.testbed.write import replace_file
from slfac.wire.errors import HostError, RunError

METRICS_NAME: Final = "metrics.jsonl"
_LEFT_OUT: Final = ("journal", "lock", "stop", "cache")
_KEPT: Final = (EVENTS_FILE, STATE_FILE, "energy.json", "supervisor.log")


def check_folder(out: Path) -> None:
    """Refuse a folder that holds something else, before a run of hours.

    Args:
        out: Where results are to go.

    Raises:
        RunError: It holds a run, or cannot be made.
    """
    if (out / METRICS_NAME).exists():
        raise RunError(f"{out} holds an earlier run", "choose another folder, or remove that one")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out} cannot be made: {error.strerror}", "choose another") from error


async def collect_files(hosts: Sequence[Host], out: Path, on_error: OnError) -> list[str]:
    """Bring the files of all hosts here.

    Args:
        hosts: The hosts, connected and prepared.
        out: Where to; what is there already is replaced.
        on_error: Told of each host whose files cannot be had.

    Returns:
        Names of hosts whose files are here.
    """

    async def one(host: Host) -> None:
        with tempfile.TemporaryDirectory(prefix="slfac-collect-") as name:
            packed, folder = Path(name) / "run.tar.gz", Path(name) / "run"
            await host.fetch(packed, folder=f"{host.folder}/{RUN_FOLDER}", leave_out=_LEFT_OUT)
            try:
                await asyncio.to_thread(_unpack, packed, folder)
                await asyncio.to_thread(_sort, host.name, folder, out)
            except (OSError, EOFError, tarfile.TarError) as error:
                raise HostError(f"{host.name}: its files cannot be had: {error}") from error

    return list(await each(hosts, one, lambda host: host.name, on_error))


def _unpack(packed: Path, folder: Path) -> None:
    """Unpack what a host sent, which is not to be trusted with paths of its own."""
    folder.mkdir()
    with tarfile.open(packed, "r:gz") as archive:
        for member in archive:
            place = Path(member.name)
            if (
                place.is_absolute()
                or ".." in place.parts
                or not (member.isfile() or member.isdir())
            ):
                continue
            target = folder / place
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            source = archive.extractfile(member)
            if source is not None:
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file)


def _sort(name: str, folder: Path, out: Path) -> None:
    """Put a host's files where a reader looks for them."""
    if name == SERVER:
        if (folder / OUT_FOLDER).is_dir():
            shutil.copytree(folder / OUT_FOLDER, out, dirs_exist_ok=True)
        for file in (FACTS_FILE, "server.toml"):
            if (folder / file).is_file():
                shutil.copyfile(folder / file, out / file)
    (out / "logs").mkdir(parents=True, exist_ok=True)
    if (folder / LOG_FILE).is_file():
        shutil.copyfile(folder / LOG_FILE, out / "logs" / f"{name}.log")
    place = out / "hosts" / name
    place.mkdir(parents=True, exist_ok=True)
    for file in _KEPT:
        if (folder / file).is_file():
            shutil.copyfile(folder / file, place / file)


def write_facts(out: Path, facts: dict[str, Any]) -> None:
    """Write what a report reads beside the metrics.

    Args:
        out: Folder of the results, with the hosts' files.
        facts: What is known of the testbed.

    Raises:
        RunError: It cannot be written.
    """
    replace_file(out / FACTS_FILE, _json(facts))
    about = {
        "dataset": "",
        "backend": "emulated hosts" if facts["kind"] == "emulated" else "hosts",
        "link": list(facts["links"].values()) if facts["kind"] == "emulated" else [],
    }
    replace_file(out / "about.json", _json(about))
    tables = [_hosts_table(facts), *_link_table(facts), *_agents_table(out, facts)]
    replace_file(out / "tables.json", _json(tables))
    lines = [json.dumps(_cut(cut)) + "\n" for cut in facts["cuts"]]
    replace_file(out / "injected.jsonl", "".join(lines).encode())


def _cut(cut: Mapping[str, Any]) -> dict[str, Any]:
    begun = dt.datetime.fromtimestamp(cut["from_s"], dt.timezone.utc)
    lasted_s = cut["until_s"] - cut["from_s"] if cut["until_s"] is not None else None
    words = f"its link was cut{f' for {lasted_s:.1f} s' if lasted_s is not None else ''}"
    return {
        "time": begun.isoformat(timespec="milliseconds"),
        "who": cut["device"],
        "what": words,
        "recovered_s": None if lasted_s is None else round(lasted_s, 3),
    }


def _hosts_table(facts: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for name, host in facts["hosts"].items():
        what = host["model"] or f"{host['system']} {host['machine']}"
        rows.append((name, what, host["python"], host["slfac"], host["manager"]))
    columns = ("host", "what it is", "Python", "slfac", "run by")
    return {"title": "Hosts", "columns": columns, "rows": rows, "note": ""}


def _link_table(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What links and clocks were like before and after the run."""
    rows = []
    for name in facts["links"]:
        for when in ("before", "after"):
            found = facts["baseline"][when].get(name)
            if found is not None:
                rows.append((name, facts["links"][name], when, *_link_row(found)))
    columns = (
        *("device", "link", "when", "up, Mbit/s", "down, Mbit/s", "round trip, ms"),
        "clock ahead of the server's, ms",
    )
    note = "one stream of 64 KiB messages each way, with nothing else under way; mean and 95 %"
    table = {"title": "Links and clocks", "columns": columns, "rows": rows, "note": note}
    return [table] if rows else []


def _link_row(found: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in found:
        return "unknown", "unknown", "unknown", "unknown"
    figures = [_figure(found[name]) for name in ("up_mbits", "down_mbits", "rtt_ms")]
    clock = f"{found['clock_offset_ms']:+.1f} ± {found['clock_error_ms']:.1f}"
    return *figures, clock


def _figure(figure: Mapping[str, Any]) -> str:
    if figure["low"] is None:
        return f"{figure['value']:.3g}"
    return f"{figure['value']:.3g} ({figure['low']:.3g} to {figure['high']:.3g})"


def _agents_table(out: Path, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every end of an agent that was none of its own, and each start after one."""
    rows = []
    for name in facts["hosts"]:
        for event in _events(out / "hosts" / name / EVENTS_FILE):
            words = _words(event)
            if words:
                rows.append((str(event.get("time", "")), name, words))
    columns = ("time", "host", "what")
    table = {"title": "Agents that were started again", "columns": columns, "rows": sorted(rows)}
    return [{**table, "note": ""}] if rows else []


def _events(path: Path) -> list[dict[str, Any]]:
    events = []
    if path.is_file():
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
    return events


def _words(event: Mapping[str, Any]) -> str:
    kind = event.get("event")
    if kind == "agent_ended" and event.get("code") != 0:
        how = event.get("signal") or f"exit code {event.get('code')}"
        return f"agent ended by {how}"
    if kind == "agent_started" and event.get("start", 1) > 1:
        return "agent started again"
    if kind == "supervisor_restarted":
        return "host started again" if event.get("after") == "reboot" else "supervisor goes on"
    return ""


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"

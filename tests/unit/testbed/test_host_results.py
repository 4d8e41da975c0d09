"""What is written for hosts, and what is read of what they send."""

import asyncio
import io
import json
import tarfile

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from slfac.testbed.hosts.agents import toml_text
from slfac.testbed.hosts.collect import check_folder, collect_files, write_facts
from slfac.testbed.hosts.facts import link_words
from slfac.testbed.inventory import Link
from slfac.testbed.link import parse_link
from slfac.testbed.report.folders import read_run
from slfac.wire.errors import RunError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | TEXTS | st.floats(allow_nan=False, width=32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True), VALUES, max_size=5))
def test_settings_are_read_as_they_were_written(values):
    assert tomli.loads(toml_text(values)) == values


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ({}, "no limit"),
        ({"rate": "20Mbit"}, "20Mbit"),
        ({"rate": "1Mbit/10Mbit", "delay": "20ms", "loss": "0.5%"}, "1Mbit/10Mbit/20ms/0.5%"),
    ],
)
def test_links_are_named_as_reports_read_them(link, words):
    assert link_words(Link(**link)) == words
    if link:
        assert parse_link(words).down_bit_per_s == Link(**link).rate.down_bit_per_s


class Sender:
    """A host that sends an archive, whatever is in it."""

    def __init__(self, name, members):
        self.name, self.folder = name, "/somewhere"
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for path, data in members.items():
                entry = tarfile.TarInfo(path)
                if isinstance(data, bytes):
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
                else:
                    entry.type, entry.linkname = tarfile.SYMTYPE, data
                    archive.addfile(entry)
        self.data = stream.getvalue()

    async def fetch(self, file, *, folder, leave_out):
        assert folder == "/somewhere/run"
        assert "journal" in leave_out
        file.write_bytes(self.data)


def collected(sender, out):
    errors = {}
    names = asyncio.run(collect_files([sender], out, errors.__setitem__))
    return names, errors


def test_a_host_that_sends_paths_of_its_own_writes_nowhere_else(tmp_path):
    members = {
        "../evil": b"x",
        "/etc/evil": b"x",
        "out/../../evil": b"x",
        "link": str(tmp_path),
        "link/evil": b"x",
        "out/metrics.jsonl": b"{}\n",
        "agent.log": b"it said\n",
    }
    out = tmp_path / "results" / "out"
    assert collected(Sender("server", members), out) == (["server"], {})
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "logs/server.log",
        "metrics.jsonl",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


@pytest.mark.parametrize("cut", [0, 5, 100])
def test_an_archive_that_is_cut_short_is_told_of(tmp_path, cut):
    sender = Sender("pi-1", {"agent.log": bytes(range(256)) * 50})
    sender.data = sender.data[:cut]
    names, errors = collected(sender, tmp_path / "out")
    assert names == []
    assert "pi-1: its files cannot be had" in str(errors["pi-1"])


def test_a_folder_with_a_run_is_refused_before_another(tmp_path):
    check_folder(tmp_path / "new")
    (tmp_path / "new" / "metrics.jsonl").touch()
    with pytest.raises(RunError, match="holds an earlier run"):
        check_folder(tmp_path / "new")


def test_a_report_reads_links_clocks_agents_and_cuts(tmp_path):
    figure = {"value": 19.2, "low": 19.0, "high": 19.4, "runs": 5}
    before = {
        "pi-1": {
            **dict.fromkeys(("up_mbits", "down_mbits", "rtt_ms"), figure),
            "clock_offset_ms": 1.25,
            "clock_error_ms": 0.5,
        }
    }
    host = {"model": "Pi", "system": "Linux", "machine": "aarch64", "python": "3.13.5"}
    facts = {
        "kind": "emulated",
        "links": {"pi-1": "20Mbit/20ms"},
        "hosts": {"pi-1": {**host, "slfac": "0.1.0", "manager": "system"}},
        "baseline": {"before": before, "after": {"pi-1": {"error": "it was gone"}}},
        "cuts": [{"device": "pi-1", "from_s": 1_800_000_010.0, "until_s": 1_800_000_020.5}],
    }
    events = [
        {"event": "agent_started", "time": "t", "start": 1},
        {"event": "agent_ended", "time": "t", "signal": "SIGKILL", "last_line": ""},
        {"event": "agent_started", "time": "t", "start": 2},
    ]
    place = tmp_path / "hosts" / "pi-1"
    place.mkdir(parents=True)
    (place / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events) + "{nonsense")
    begun = {"event": "run", "run": "a", "time": "2027-01-15T08:00:00+00:00", "settings": {}}
    (tmp_path / "metrics.jsonl").write_text(
        json.dumps({**begun, "model": "cnn", "cut": "c"}) + "\n"
    )
    write_facts(tmp_path, facts)
    report = read_run(tmp_path)
    assert report.links == ("20Mbit/20ms",)
    assert [(fault.who, fault.recovered_s, fault.injected) for fault in report.faults] == [
        ("pi-1", 10.5, True)
    ]
    assert {table.title for table in report.tables} == {
        *("Hosts", "Links and clocks", "Agents that were started again")
    }
    cells = {cell for table in report.tables for row in table.rows for cell in row}
    assert {"19.2 (19 to 19.4)", "+1.2 ± 0.5", "unknown", "agent ended by SIGKILL"} <= cells

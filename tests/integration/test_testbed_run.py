"""Runs on hosts over real SSH: through kills, reboots, lost connections and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from harness.lab import Bench
from harness.sshd import loopback_hosts, with_sshd
from slfac.export import export_bundle
from slfac.testbed.follow import Follower
from slfac.testbed.hosts.commands import run, stop
from slfac.testbed.hosts.remote.processes import MARK
from slfac.testbed.hosts.remote.state import read_state
from slfac.testbed.hosts.run import RunOptions
from slfac.testbed.mnist5k import fetch_mnist5k
from slfac.wire.errors import LinkError, RunError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
_PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle that needs no proof here: others prove exports."""
    out = tmp_path_factory.mktemp("export") / "bundle"
    export_bundle(
        model="cnn", cut="pool1", input_shape=(1, 28, 28), num_classes=10, out=out, prove=False
    )
    return out


@pytest.fixture
def bench(tmp_path, bundle):
    with loopback_hosts(tmp_path, ["pi-1", "pi-2", "pi-3"]) as (hosts, key, known):
        bench = Bench(tmp_path, hosts, key, known, fetch_mnist5k())
        bench.values["run"] |= {"bundle": str(bundle)}
        del bench.values["run"]["model"]
        yield bench
        assert bench.left() == []


def options(bench, **more):
    return RunOptions(out=bench.folder / "out", **{"measure": False, **more})


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


class Mischief(threading.Thread):
    """Does something to a run once its devices have made some steps."""

    def __init__(self, bench, steps, do):
        super().__init__(daemon=True)
        self._follower = Follower(bench.place("server") / "run" / "out" / "metrics.jsonl")
        self._steps, self._do = steps, do
        self.error = None

    def run(self):
        try:
            steps, deadline_s = 0, time.monotonic() + _PATIENCE_S
            while steps < self._steps:
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
                steps += sum(event["event"] == "step" for event in self._follower.new_events())
            self._do()
        except BaseException as error:
            self.error = error
            raise

    def finish(self):
        self.join(_PATIENCE_S)
        assert self.error is None


def kill(pids, number=signal.SIGKILL):
    assert pids
    for pid in pids:
        os.kill(pid, number)


def test_a_run_goes_on_through_a_kill_and_a_reboot_and_says_so(bench):
    bench.values["run"] |= {"rounds": 3, "steps_per_round": 60}
    place = {name: bench.place(name) / "run" for name in ("pi-1", "pi-2", "pi-3")}

    def do():
        kill([read_state(place["pi-1"])["agent"]])
        # All that a reboot ends; what it starts is SSH alone.
        state = read_state(place["pi-2"])
        bench.hosts["pi-2"].stop()
        kill([state["supervisor"], state["agent"]])
        bench.hosts["pi-2"].start()
        # SSH alone is lost here, and nobody minds.
        bench.hosts["pi-3"].stop()
        bench.hosts["pi-3"].start()

    mischief = Mischief(bench, 90, do)
    mischief.start()
    run(bench.lab(), options(bench, measure=True), bench.console)
    mischief.finish()
    out = bench.folder / "out"
    events = metrics(out)
    assert events[-1]["event"] == "end"
    assert {e["device"] for e in events if e["event"] == "resumed"} == {"pi-1", "pi-2"}
    said = bench.said()
    assert "pi-1    agent ended by SIGKILL" in said
    assert "pi-2    connection lost, trying again" in said
    assert "pi-2    reached again after" in said
    assert "pi-2    its supervisor goes on" in said
    facts = json.loads((out / "testbed.json").read_text())
    for when in ("before", "after"):
        assert {"pi-1", "pi-2", "pi-3"} == facts["baseline"][when].keys()
        assert all(link["up_mbits"]["value"] > 1 for link in facts["baseline"][when].values())
        assert all(abs(link["clock_offset_ms"]) < 1000 for link in facts["baseline"][when].values())
    page = (out / "report.html").read_text()
    assert "agent ended by SIGKILL" in page
    assert "Links and clocks" in page
    assert not list(out.rglob("*_secret"))
    assert {path.name for path in (out / "logs").iterdir()} == {
        *("server.log", "pi-1.log", "pi-2.log", "pi-3.log")
    }


def test_enough_devices_are_enough_where_the_inventory_says_so(bench):
    bench.hosts["pi-3"].stop()
    with pytest.raises(LinkError, match="pi-3: SSH cannot be reached"):
        run(bench.lab(), options(bench), bench.console)
    assert not (bench.folder / "out" / "metrics.jsonl").exists()
    bench.values["run"] |= {"min_devices": 2, "join_timeout_s": 120}
    carried = run(bench.lab(), options(bench), bench.console)
    # What it cannot reach it cannot stop either, and says so.
    assert "pi-3" in carried.errors["down"]
    assert (bench.folder / "out" / "report.html").is_file()
    assert metrics(bench.folder / "out")[-1]["event"] == "end"
    stopped = [n for n in ("pi-1", "pi-2") if read_state(bench.place(n) / "run")["state"] == "done"]
    assert stopped == ["pi-1", "pi-2"]


def test_a_run_whose_device_fails_for_good_says_why_and_stops_the_others(bench):
    bench.values["devices"][1]["data"] = str(bench.folder)
    with pytest.raises(RunError, match="pi-2 failed for good: slfac device: "):
        run(bench.lab(), options(bench), bench.console)
    assert bench.left() == []


def test_a_server_that_is_killed_goes_on_from_its_checkpoint(bench):
    bench.values["run"] |= {"rounds": 3, "steps_per_round": 30}
    server = bench.place("server") / "run"

    def do():
        assert (server / "out" / "checkpoint").is_dir()
        kill([read_state(server)["agent"]])

    mischief = Mischief(bench, 100, do)
    mischief.start()
    run(bench.lab(), options(bench), bench.console)
    mischief.finish()
    events = metrics(bench.folder / "out")
    assert "restarted" in {event["event"] for event in events}
    assert [e["round"] for e in events if e["event"] == "round"] == [0, 1, 2]


def slfac(*arguments):
    return [sys.executable, "-m", "slfac.cli", "testbed", *map(str, arguments)]


@pytest.fixture
def emulated(tmp_path, bundle):
    """An inventory whose hosts are emulated without root, and a cache of its own for them."""
    with_sshd()
    data = fetch_mnist5k()
    values = {
        "name": f"run-{os.getpid()}",
        "emulate": {"shaper": "relay"},
        "defaults": {"data": str(data)},
        "server": {"data": str(data)},
        "devices": [{"name": "pi-1"}, {"name": "pi-2"}],
        "links": {"default": {"rate": "50Mbit"}},
        "run": {
            "model": {"name": "cnn", "cut": "pool1", "input": "1x28x28", "classes": 10},
            "rounds": 2,
            "steps_per_round": 3,
            "partition": "iid",
        },
    }
    file = tmp_path / "testbed.yaml"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def write(**run):
        values["run"] |= run
        if "bundle" in run:
            values["run"].pop("model", None)
        file.write_text(yaml.safe_dump(values))
        return file

    yield write, environment, bundle
    subprocess.run(slfac("down", write(), "--emulate"), env=environment, check=True)
    assert not (tmp_path / "cache" / "slfac" / "emulated").exists() or not any(
        (tmp_path / "cache" / "slfac" / "emulated").iterdir()
    )
    assert left_below(tmp_path) == []


def left_below(folder):
    """Processes that work for a folder, or for one below it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"{MARK}={folder}".encode() in environment:
            found.append((entry.name, (entry / "cmdline").read_bytes()))
    return found


def test_from_up_to_down_by_commands(emulated, tmp_path):
    write, environment, _ = emulated

    def call(*arguments, code=0):
        done = subprocess.run(
            slfac(*arguments), env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout

    file = write()
    assert call("up", file, "--emulate").count("ready: ") == 3
    states = json.loads(call("status", file, "--emulate", "--json"))
    assert {state["state"] for state in states.values()} == {"none"}
    call("run", file, "--emulate", "--detach", "--no-baseline")
    deadline_s = time.monotonic() + _PATIENCE_S
    while {state["state"] for state in states.values()} != {"done"}:
        assert time.monotonic() < deadline_s, states
        states = json.loads(call("status", file, "--emulate", "--json"))
    logs = call("logs", file, "--emulate", "--host", "pi-1", "-n", "1")
    assert logs.startswith("slfac device: done: 2 rounds, 6 steps")
    out = tmp_path / "results"
    call("collect", file, "--emulate", "--out", out)
    assert metrics(out)[-1]["event"] == "end"
    assert (out / "report.html").is_file()
    assert "has ended" in call("down", file, "--emulate")
    assert "was not up" in call("down", file, "--emulate")


def test_a_matrix_is_run_compared_and_not_run_again(emulated, tmp_path):
    write, environment, bundle = emulated
    out = tmp_path / "results"

    def call(*more, code, **run):
        file = write(**run, bundle=str(bundle))
        file.write_text(file.read_text() + "matrix: {codec: [none, slfac]}\n")
        command = slfac("run", file, "--emulate", "--no-baseline", "--out", out, *more)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    assert "leave out --detach" in call("--detach", code=2).stderr
    said = call(code=0, rounds=1).stdout
    assert "2/2  codec slfac" in said
    for codec in ("none", "slfac"):
        told = metrics(out / f"codec-{codec}")[0]["settings"]
        assert told["codec_up"].partition(":")[0] == codec
    page = (out / "report.html").read_text()
    assert "<td>none</td>" in page
    assert "<td>slfac" in page
    before = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")}
    assert "2 runs, 2 of them are there already" in call(code=0).stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    refused = call(code=60, rounds=2)
    assert "holds an earlier run; choose another folder" in refused.stderr


@pytest.mark.parametrize("steps", [0, 5], ids=["while it begins", "in mid-round"])
def test_ctrl_c_leaves_nothing_running(emulated, tmp_path, steps):
    write, environment, bundle = emulated
    file = write(rounds=50, steps_per_round=200, bundle=str(bundle))
    command = slfac("run", file, "--emulate", "--no-baseline", "--out", tmp_path / "out")
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        found = list((tmp_path / "cache").glob("slfac/emulated/*/work/*/server"))
        deadline_s = time.monotonic() + _PATIENCE_S
        while not found:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
            found = list((tmp_path / "cache").glob("slfac/emulated/*/work/*/server"))
        follower, seen = Follower(found[0] / "run" / "out" / "metrics.jsonl"), 0
        while seen < steps:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
            seen += sum(event["event"] == "step" for event in follower.new_events())
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 130, (out, said)
    assert said.splitlines()[-1] == "slfac testbed: stopped"
    assert left_below(tmp_path) == []
    done = subprocess.run(slfac("status", file, "--emulate"), env=environment, check=False)
    assert done.returncode == RunError.exit_code


def test_stopping_what_never_began(bench):
    stop(bench.lab(), bench.console)
    assert "nothing ran" in bench.said()

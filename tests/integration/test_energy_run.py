"""Whole runs that measure where their joules go; sensors are trees of files."""

import errno
import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.boards import nano, orin_nano, pi4, pi4_ina226
from harness.chaos import bundle_with_everything
from harness.relay import Relay
from harness.site import Site, start_cli
from slfac.device.energy.report import decode_report

SETTINGS = {"rounds": 3, "batch_size": 12, "seed": 4, "codec_up": "randtopk:ratio=0.3"}
PHASES = {"load", "forward", "encode", "send", "wait", "decode", "backward", "update"}


def weights(server):
    folder = server.finished().checkpoint
    halves = [load_file(folder / f"{half}.safetensors") for half in ("front", "back")]
    return {**halves[0], **halves[1]}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def train(site, boards=(), **settings):
    """A run in which each device that has a board measures it; its link is cut meanwhile."""
    with site.server(**{**SETTINGS, **settings}) as server, Relay(server.address) as relay:
        if boards:
            relay.cut_after(60_000)
        devices = []
        for name, board in itertools.zip_longest(site.names, boards):
            more = {"host": board.live, "energy": True} if board is not None else {}
            report = site.root / f"{name}.json"
            more |= {"energy_report": report} if board is not None else {}
            devices.append(site.device(name, relay.address, **more).start())
        results = [device.finish() for device in devices]
    server.finished()
    return server, devices, results


@pytest.mark.parametrize("kind", ["parallel", "micro-batches", "u-shaped"])
def test_measuring_leaves_no_trace_in_the_weights(kind, tmp_path, cnn_bundle, digits):
    settings, bundle = {}, cnn_bundle
    if kind == "micro-batches":
        settings = {"micro_batches": 4, "batch_size": 24}
    elif kind == "u-shaped":
        bundle = bundle_with_everything(tmp_path / "bundle", "u-shaped")
        settings = {"mode": "u-shaped", "allow_factories": ("harness.dropping",), "data": None}
    plain = Site.make(tmp_path / "plain", bundle, digits, devices=2)
    undisturbed, *_ = train(plain, **settings)
    site = Site.make(tmp_path / "measured", bundle, digits, devices=2)
    boards = [orin_nano(tmp_path / "orin"), pi4_ina226(tmp_path / "pi")]
    server, devices, results = train(site, boards, **settings)
    assert same(weights(server), weights(undisturbed))
    check_device(devices[0], results[0], site)
    check_server(server, results)


def check_device(device, result, site):
    """What a device says of its run, and writes down."""
    rounds = [line for line in device.lines if line.startswith("round ")]
    assert len(rounds) == SETTINGS["rounds"]
    # A busy machine may read so seldom that a round's energy is not known.
    told = re.compile(r"training loss [\d.]+, (\S+ k?J \(5\.19 W, module.*\)|joules unknown .*)")
    assert all(told.search(line) for line in rounds)
    energy = result.energy
    found = {one.phase: one for one in energy.phases}
    assert found.keys() >= PHASES | {"step"}
    assert energy.steps == result.steps
    held_up_ms = sum(found[name].ms for name in PHASES - {"send"})
    assert held_up_ms <= 1.02 * found["step"].ms
    report = decode_report((site.root / f"{result.name}.json").read_bytes(), "report")
    assert report.device == result.name
    assert report.steps == energy.steps
    assert report.total.joules == energy.total.joules
    assert [entry.round for entry in report.rounds] == [0, 1, 2]
    assert report.recently.spans.keys() >= PHASES | {"idle"}
    assert len(report.recently.steps) == result.steps


def check_server(server, results):
    """What the server makes of it: the same joules, each scope for itself."""
    run = server.finished()
    assert list(run.energy) == ["module", "board"]
    for one, result in zip(run.energy.values(), results, strict=True):
        assert one.devices == 1
        assert one.joules == pytest.approx(result.energy.total.joules)
    for scope, result in zip(run.energy, results, strict=True):
        spent = [one.spent for one in result.energy.rounds]
        assert sum(one.joules or 0.0 for one in spent) < run.energy[scope].joules
        for round_, one in zip(run.rounds, spent, strict=True):
            told = round_.energy.get(scope)
            assert (told.joules if told else None) == (one.known and pytest.approx(one.known))
    for number, round_ in enumerate(run.rounds):
        unknown = sum(one.energy.rounds[number].spent.known is None for one in results)
        assert round_.energy_unknown == unknown
    lines = [e for e in server.seen if e["event"] == "energy"]
    assert len(lines) == 2 * (SETTINGS["rounds"] + 1)
    # All steps of the other board may have been throttled.
    (last,) = [e for e in lines if e["round"] is None and e["device"] == results[0].name]
    assert last["phases"].keys() >= PHASES | {"step"}


def test_a_sensor_that_fails_amid_a_run_makes_joules_unknown_and_harms_nothing(
    tmp_path, cnn_bundle, digits
):
    site = Site.make(tmp_path, cnn_bundle, digits, devices=2)
    boards = [orin_nano(tmp_path / "orin"), nano(tmp_path / "nano")]
    server = site.server(**SETTINGS)

    def hold(event):
        if event["event"] == "round" and event["round"] == 0:
            boards[0].failing["in1_input"] = errno.EIO
            for folder in boards[1].root.glob("sys/devices/i2c/*/iio:device*"):
                boards[1].remove(folder)

    server.hold = hold
    with server:
        devices = [
            site.device(name, server.address, energy=True, host=board.live).start()
            for name, board in zip(site.names, boards, strict=True)
        ]
        results = [device.finish() for device in devices]
    run = server.finished()
    assert all(result.rounds == SETTINGS["rounds"] for result in results)
    assert run.rounds[-1].energy == {}
    assert run.rounds[-1].energy_unknown == 2
    assert run.energy["module"].missing_s > 0
    for device, result in zip(devices, results, strict=True):
        assert any("joules unknown (" in line for line in device.lines)
        assert result.energy.failures > 0
        assert result.energy.total.known is None
        assert result.energy.total.joules == pytest.approx(
            next(
                e["total"]["module"]["joules"]
                for e in server.of_kind("energy")[::-1]
                if e["device"] == result.name
            ),
            abs=1e-5,
        )


def test_without_a_sensor_a_run_has_times_and_no_joules(tmp_path, cnn_bundle, digits):
    site = Site.make(tmp_path, cnn_bundle, digits, devices=2)
    boards = [pi4(tmp_path / "pi"), orin_nano(tmp_path / "orin")]
    server, devices, results = train(site, boards)
    assert any("no joules: no power sensor was found" in line for line in devices[0].lines)
    assert not any("joules unknown" in line for line in devices[0].lines)
    found = {one.phase: one for one in results[0].energy.phases}
    assert found["forward"].ms > 0
    assert all(one.joules is None for one in found.values())
    run = server.finished()
    assert run.energy["module"].devices == 1
    assert (run.energy_unknown, run.rounds[0].energy_unknown) == (1, 1)
    text = json.loads((site.root / "d0.json").read_text())
    assert text["sensor"]["scope"] is None
    assert text["total"]["known"] is None


def test_the_command_measures_a_meters_file_and_prints_a_table(site, tmp_path):
    meter = tmp_path / "meter.txt"
    meter.write_text("power_w\n4.5\n")
    with site.server(rounds=2, batch_size=24) as server:
        other = site.device("d1", server.address).start()
        report = tmp_path / "energy.json"
        options = ("--energy", "--energy-report", str(report), "--meter-file", str(meter))
        process = site.device_process("d0", server.address, *options, "--meter-hz", "50")
        while process.poll() is None:
            with meter.open("a") as lines:
                lines.write("4.5\n")
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
        other.finish()
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert "slfac device: measuring energy: sensor meter, of the board" in said
    assert "(4.5 W, board" in said
    lines = [line.removeprefix("slfac device: ") for line in said.splitlines()]
    head = next(number for number, line in enumerate(lines) if line.startswith("phase "))
    assert lines[head].split() == [
        "phase",
        "ms",
        "a",
        "step",
        "J",
        "a",
        "step",
        "95",
        "%",
        *("interval", "W"),
    ]
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == ["load", "forward", "encode"]
    assert any(line.startswith("total: ") for line in lines)
    assert decode_report(report.read_bytes(), "report").sensor.name == "meter"
    assert server.finished().energy_unknown == 1


def test_a_named_sensor_that_cannot_be_read_ends_the_command_before_it_connects(tmp_path):
    arguments = ("device", "--server", "tcp://127.0.0.1:9", "--insecure", "--data", str(tmp_path))
    missing = start_cli(*arguments, "--energy", "--meter-file", str(tmp_path / "none.txt"))
    _, said = missing.communicate(timeout=60)
    assert (missing.returncode, said.count("\n")) == (70, 2), said
    assert "none.txt" in said
    # Not without --energy, nor out of range.
    for more, code in ((("--plug", "http://10.0.0.9"), 2), (("--energy", "--meter-hz", "-1"), 2)):
        refused = start_cli(*arguments, *more)
        _, said = refused.communicate(timeout=60)
        assert refused.returncode == code, said
        assert "setting" in said


def test_without_energy_nothing_of_it_is_imported():
    code = (
        "import sys, slfac.device.agent; from slfac.device import device_settings;"
        "device_settings(server='tcp://127.0.0.1:9', data='x', insecure=True);"
        "print([m for m in sys.modules if 'slfac.device.energy' in m or m in ('torch', 'onnx')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

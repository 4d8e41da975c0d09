"""What a running server shows is what it does, and showing it changes nothing."""

import itertools
import logging
import re
import shutil
import signal

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.live import ask, make_older, read_board, state_of
from harness.site import Site, run_site, start_cli
from harness.viewer import Viewer
from slfac.server import Server, server_settings
from slfac.wire.errors import AddressError, TrainingError


def values_of(text):
    """Samples of an exposition by name and device."""
    return {
        (sample.name, sample.labels.get("device")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def watched(tmp_path_factory, cnn_bundle, digits):
    """A whole run that somebody watched, and one that nobody did."""
    root = tmp_path_factory.mktemp("watched")
    site = Site.make(root / "a", cnn_bundle, digits, devices=2)
    codecs = {"codec_up": "slfac", "codec_down": "fp16", "rounds": 3}
    with site.server(page="0", prometheus="0", tensorboard=True, **codecs) as server:
        viewer = Viewer(server.await_event("live"))
        # However fast the run is, the page is looked at while it trains.
        server.hold = lambda event: (
            viewer.await_state("training") if event["event"] == "step" else None
        )
        devices = [site.device(name, server.address).start() for name in site.names]
        for device in devices:
            device.finish()
    last = viewer.finish()
    other = Site.make(root / "b", cnn_bundle, digits, devices=2)
    unseen, _ = run_site(other, **codecs)
    return site, server, viewer, last, unseen


def test_watching_a_run_changes_nothing_in_it(watched):
    _, server, _, _, unseen = watched
    front, other = server.finished().front, unseen.finished().front
    assert all(np.array_equal(front[name], other[name]) for name in front)
    assert [e["event"] for e in unseen.seen if e["event"] == "live"] == []


def test_the_page_ends_with_what_the_run_hands_back(watched):
    _, server, viewer, last, _ = watched
    result = server.finished()
    assert (last["state"], last["ended"]) == ("ended", "finished")
    assert last["rounds"] == 3
    assert last["by_round"]["accuracy"] == pytest.approx(
        [one.score.accuracy for one in result.rounds], rel=1e-4
    )
    assert last["by_round"]["train_loss"] == pytest.approx(
        [one.train_loss for one in result.rounds], rel=1e-4
    )
    for told, device in zip(result.devices, last["devices"], strict=True):
        assert (device["name"], device["state"]) == (told.name, "finished")
        assert (device["bytes_up"], device["bytes_down"]) == (told.bytes_up, told.bytes_down)
        assert device["float32_bytes_up"] == told.float32_bytes_up
        assert device["float32_bytes_down"] == told.float32_bytes_down
        assert (device["steps"], device["samples"]) == (told.totals.steps, told.totals.samples)
    assert last["steps"] == len(server.of_kind("step")) == 48
    assert last["seconds"] == pytest.approx(result.seconds, rel=1e-4)
    assert last["facts"]["mode"] == "parallel"
    assert last["notices"][0][1] == "the run has finished"
    states = [state["state"] for state in viewer.states]
    assert states == sorted(states, key=["waiting", "training", "ended"].index)
    assert "training" in states


def test_prometheus_reads_what_the_run_hands_back(watched):
    _, server, viewer, _, _ = watched
    result, values = server.finished(), values_of(viewer.scrapes[-1])
    assert values["slfac_running", None] == 0
    assert values["slfac_rounds_total", None] == 3
    assert values["slfac_accuracy", None] == pytest.approx(result.accuracy, rel=1e-5)
    assert values["slfac_refused_keys_total", None] == 0
    for told in result.devices:
        assert values["slfac_steps_total", told.name] == told.totals.steps
        assert values["slfac_samples_total", told.name] == told.totals.samples
        assert values["slfac_bytes_up_total", told.name] == told.bytes_up
        assert values["slfac_bytes_down_total", told.name] == told.bytes_down
        assert values["slfac_float32_bytes_up_total", told.name] == told.float32_bytes_up
        for phase, total_ms in told.totals.phase_ms.items():
            spent_s = values[f"slfac_{phase}_seconds_sum", told.name]
            assert spent_s == pytest.approx(total_ms / 1e3, rel=1e-3, abs=1e-5)
            assert values[f"slfac_{phase}_seconds_count", told.name] == told.totals.steps
        assert values["slfac_server_train_seconds_sum", told.name] > 0
    scraped = [values_of(text) for text in viewer.scrapes]
    assert max(one["slfac_devices_connected", None] for one in scraped) == 2
    assert scraped[0]["slfac_running", None] == 1
    for one, after in itertools.pairwise(scraped):
        assert all(after[key] >= one[key] for key in one if key[0].endswith("_total"))


def test_metrics_have_no_label_but_the_device_and_the_cause(watched):
    for family in text_string_to_metric_families(watched[2].scrapes[-1]):
        for sample in family.samples:
            one = len(sample.labels) <= 1 and set(sample.labels) <= {"device", "cause"}
            assert one or family.name == "slfac_run_info"


def test_tensorboard_has_each_step_and_round(watched):
    site, server, _, _, _ = watched
    steps = server.of_kind("step")
    losses = read_board(site.root / "out/tensorboard/steps")
    expected = [(n, e["loss"]) for n, e in enumerate(steps) if e["device"] == "d0"]
    assert [step for step, _ in losses["loss/d0"]] == [step for step, _ in expected]
    assert [x for _, x in losses["loss/d0"]] == pytest.approx([x for _, x in expected], rel=1e-6)
    rounds = read_board(site.root / "out/tensorboard/rounds")
    assert [step for step, _ in rounds["round/balanced_accuracy"]] == [0, 1, 2]


def test_a_run_that_goes_on_shows_what_was_before_and_doubles_nothing(site):
    run_site(site, tensorboard=True)
    out = site.root / "out"
    # The power went after the first round's checkpoint.
    shutil.rmtree(out / "checkpoint/round-000002")
    (out / "checkpoint/best").unlink()
    make_older(out / "tensorboard")
    with site.server(resume=True, tensorboard=True, page="0", prometheus="0") as server:
        places = server.await_event("live")
        viewer = Viewer(places)
        before, scrape = state_of(places["page"]), values_of(ask(places["prometheus"])[2].decode())
        devices = [site.device(name, server.address).start() for name in site.names]
        for device in devices:
            device.finish()
    last = viewer.finish()
    assert server.finished().rounds[0].round == 0
    assert (before["rounds"], before["steps"], before["by_round"]["round"]) == (1, 16, [1])
    assert scrape["slfac_steps_total", "d0"] == scrape["slfac_encode_seconds_count", "d0"] == 8
    assert (last["steps"], last["by_round"]["round"]) == (32, [1, 2])
    assert last["devices"][0]["steps"] == 16
    assert last["by_round"]["step"] == [16, 32]
    steps = read_board(out / "tensorboard/steps")
    assert [n for n, _ in sorted(steps["loss/d0"] + steps["loss/d1"])] == list(range(32))
    rounds = read_board(out / "tensorboard/rounds")
    assert [n for n, _ in rounds["round/accuracy"]] == [0, 1]


def test_the_page_says_why_a_run_failed(site):
    with site.server(page="0", join_timeout_s=1.5) as server:
        viewer = Viewer(server.await_event("live"))
    with pytest.raises(TrainingError, match="0 of 2 devices came"):
        server.finished()
    last = viewer.finish()
    assert last["state"] == "failed"
    assert last["ended"].startswith("0 of 2 devices came within 1.5 s")
    assert [device["state"] for device in last["devices"]] == ["expected", "expected"]


def test_a_taken_port_is_refused_before_anything_is_written(site):
    values = {**site.server(rounds=1).values, "page": "0"}
    with Server(server_settings(**values)) as first:
        port = first.places["page"].rstrip("/").rpartition(":")[2]
        for name in ("page", "prometheus"):
            out = site.root / f"out-{name}"
            with pytest.raises(AddressError, match=f"127.0.0.1:{port}"):
                Server(server_settings(**{**values, "page": "", name: port, "out": out}))
            assert not out.exists()


def test_beyond_loopback_it_says_who_can_read(site, caplog):
    caplog.set_level(logging.WARNING)
    everywhere = "0.0.0.0:0"
    values = {**site.server(rounds=1).values, "page": everywhere, "prometheus": "0"}
    with Server(server_settings(**values)) as server:
        port = server.places["page"].rstrip("/").rpartition(":")[2]
        assert ask(f"http://127.0.0.1:{port}/")[0] == 200
    (said,) = [record.message for record in caplog.records]
    assert re.search(r"whoever reaches 0\.0\.0\.0:\d+ can read", said)


@pytest.mark.slow
@pytest.mark.timeout(400)  # it exports a model and starts two processes
def test_the_demo_shows_its_page_until_ctrl_c(tmp_path, digits):
    process = start_cli(
        *("demo", "--page", "0", "--data", str(digits), "--devices", "1", "--rounds", "1"),
        *("--out", str(tmp_path / "demo"), "--codec", "fp16", "--steps-per-round", "4"),
    )
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("page: "):
            page = line.split()[1]
            assert state_of(page)["state"] == "waiting"
        if line.startswith("the page stays"):
            break
    state = state_of(page)
    assert (state["state"], state["rounds"], state["facts"]["codec_up"]) == ("ended", 1, "fp16")
    assert state["bytes_up"] < 0.6 * state["float32_bytes_up"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (lines, out, err)

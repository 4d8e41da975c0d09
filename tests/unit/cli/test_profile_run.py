"""``slfac profile run`` and ``report``: what is refused at first, what a measurement becomes."""

import importlib.util
import json

import msgspec
import pytest

from harness.boards import BOARDS
from harness.measured_board import interval, phase, record, sections
from slfac.cli import main
from slfac.cli.profile_board import name_board
from slfac.cli.profile_values import above_idle_w, profile_of
from slfac.device.energy.host import host_at
from slfac.device.profiling.record import encode_record
from slfac.hw_profiles import load_profile, write_profile
from slfac.wire.errors import TrainingError

pytestmark = pytest.mark.device


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs ``slfac profile`` in a folder of its own: exit code, output lines and errors."""
    monkeypatch.chdir(tmp_path)

    def profile(*arguments):
        code = main(["profile", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return profile


@pytest.fixture
def host(tmp_path):
    cpufreq = tmp_path / "tree/sys/devices/system/cpu/cpufreq/policy0"
    cpufreq.mkdir(parents=True)
    (cpufreq / "cpuinfo_max_freq").write_text("1510400\n")
    return host_at(tmp_path / "tree")


@pytest.fixture
def never(monkeypatch):
    """Measuring fails the test: what is refused must be refused before."""

    def refuse(*_, **__):
        raise AssertionError("it was measured")

    monkeypatch.setattr("slfac.device.profiling.run.Recorder", refuse)


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--out", "board.json"], 2, "--out is 'board.json'"),
        (["--out", "nowhere/board.toml"], 2, "its folder cannot be written"),
        (["--out", "taken.toml"], 2, "would replace taken.toml, which is a folder"),
        (["--out", "other.toml"], 2, "would replace other.html, which is a folder"),
        (["--out", "a.toml", "--repetitions", "4"], 2, "setting repetitions is 4"),
        (["--out", "a.toml", "--codec", "nope"], 2, "codec is 'nope'"),
        (["--out", "a.toml", "--bundle", "nowhere"], 20, "cannot read nowhere/manifest.json"),
        (["--out", "a.toml", "--sensor", "rapl@9"], 2, "setting sensor is 'rapl@9'"),
        (["--out", "a.toml", "--keys", "keys"], 2, "--keys needs --peer"),
        (["--out", "a.toml", "--peer", "tcp://127.0.0.1:1"], 2, "--keys is missing"),
        (["--out", "a.toml", "--peer", "nonsense", "--insecure"], 31, "nonsense"),
    ],
)
def test_what_cannot_end_well_is_refused_before_anything_is_measured(
    arguments, code, said, run, tmp_path
):
    for name in ("taken.toml", "other.html"):
        (tmp_path / name).mkdir()
    given, out, err = run("run", "--sensor", "none", *arguments)
    assert (given, out) == (code, [])
    assert said in err[-1]
    assert err[-1].startswith("slfac profile: ")
    assert "; " in err[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.html", "taken.toml"]


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize("file", ["manifest.json", "forward.onnx", "front.safetensors"])
def test_a_damaged_bundle_is_named_before_anything_is_measured(file, run, tmp_path):
    import shutil

    from harness.offline import KEPT

    shutil.copytree(KEPT, tmp_path / "cut")
    (tmp_path / "cut" / file).write_bytes(b"{}")
    code, _, err = run("run", "--bundle", "cut", "--sensor", "none", "--out", "a.toml")
    assert code == 20
    assert file in err[-1]


@pytest.mark.usefixtures("never")
def test_data_that_does_not_fit_is_named_before_anything_is_measured(run):
    from harness.offline import KEPT

    options = ("--bundle", KEPT, "--sensor", "none", "--out", "a.toml")
    code, _, err = run("run", *options, "--data", "nowhere")
    assert code == 10
    assert "nowhere" in err[-1]


def test_ctrl_c_leaves_no_files_and_one_line(run, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("slfac.device.profiling.run.measure_kernel", interrupt)
    options = ("--sensor", "none", "--idle-s", "0", "--out", "a.toml")
    code, out, err = run("run", *options)
    assert (code, out) == (130, [])
    assert err[-1] == "slfac profile: stopped"
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_middle_leaves_no_files(run, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise TrainingError("onnxruntime failed")

    monkeypatch.setattr("slfac.device.profiling.run.measure_kernel", fail)
    code, _, err = run("run", "--sensor", "none", "--idle-s", "0", "--out", "a.toml")
    assert code == 50
    assert err[-1] == "slfac profile: onnxruntime failed"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "board"),
    [
        *(("pi4", "pi-4b"), ("pi5", "pi-5"), ("orin_nano", "orin-nano"), ("orin_nx", "orin-nx")),
        *(("xavier_nx", "xavier-nx"), ("thor", "thor"), ("agx_orin", "agx-orin")),
        *(("nano", "jetson-nano"), ("tx2", "quill"), ("agx_xavier", "jetson-agx")),
    ],
)
def test_a_board_is_named_by_its_device_tree(name, board, tmp_path):
    found = name_board(BOARDS[name](tmp_path).host)
    assert found.name == board
    assert bool(found.model_match) == (board not in ("quill", "jetson-agx"))
    assert found.title == found.model


def test_a_machine_without_a_device_tree_is_named_by_its_kind(tmp_path, monkeypatch):
    import platform

    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert name_board(host_at(tmp_path)).name == "x86"
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert name_board(host_at(tmp_path)).name == "riscv64"


def test_every_figure_of_a_profile_is_measured_and_says_by_what(host, tmp_path):
    write_profile(profile_of(record(), host), tmp_path / "board.toml")
    profile = load_profile(tmp_path / "board.toml")
    (mode,) = profile.modes
    assert (mode.name, mode.nvpmodel_id) == ("MAXN_SUPER", 2)
    assert (mode.idle_w.value, mode.idle_w.scope, mode.idle_w.runs) == (2.5, "module", 10)
    one, four = mode.compute
    assert (one.threads, one.dtype, one.power_w.value) == (1, "fp32", 5.0)
    assert four.gflops.value == pytest.approx(20.0, rel=1e-3)
    assert four.gflops.low < four.gflops.value < four.gflops.high
    (front,) = mode.fronts
    assert (front.model, front.cut, front.batch, front.threads) == ("cnn", "pool1", 32, 1)
    assert [getattr(front, f"{p}_ms").value for p in ("forward", "backward", "update")] == [
        *(30.0, 60.0, 10.0)
    ]
    assert front.peak_mib.value == pytest.approx(90.4)
    (codec,) = mode.codecs
    assert codec.spec.startswith("slfac:theta=")
    assert codec.encode_mbs.value == pytest.approx(2e6 * 10 / 0.6 / 1e6, rel=1e-3)
    drawn = {one.name: one.dynamic_w.value for one in mode.phases}
    assert drawn == {"forward": 4.0, "encode": 2.5, "decode": 3.0, "backward": 5.0}
    assert profile.hardware.memcpy_gbs.value == pytest.approx(10.0, rel=1e-3)
    assert profile.hardware.clock_mhz.value == 1510.4
    (link,) = profile.links
    assert (link.name, link.up_mbits.value, link.rtt_ms.high) == ("wifi", 42.0, 3.5)
    (sensor,) = profile.sensors
    assert (sensor.driver, sensor.scope, sensor.total) == ("jetson", "module", ("VDD_IN",))
    from slfac.hw_profiles import profile_entries

    known = [entry.value for entry in profile_entries(profile) if entry.value is not None]
    assert len(known) > 20
    assert {value.kind for value in known} == {"measured"}
    assert {value.date for value in known} == {"2026-11-23"}
    assert all(value.source.startswith("slfac profile run: ") for value in known)
    assert all(value.runs for value in known)
    made = profile.provenance
    assert made.command == record().command
    assert (made.origin, made.runs, made.throttled) == ("measured", 5, False)
    assert made.note.startswith("batches were seeded noise; this profile cannot predict fronts")


def test_without_a_sensor_a_profile_holds_no_power(host, tmp_path):
    write_profile(profile_of(record(sensor=False), host), tmp_path / "board.toml")
    text = (tmp_path / "board.toml").read_text()
    assert "_w = " not in text
    assert "[[sensor]]" not in text
    assert "forward_ms" in text
    assert "no sensor: times only" in text


def test_whether_the_board_was_throttled_is_said_or_unknown(host):
    def throttled(mark):
        changed = [
            msgspec.structs.replace(
                section,
                repetitions=tuple(
                    msgspec.structs.replace(one, throttled=mark) for one in section.repetitions
                ),
            )
            for section in sections()
        ]
        return profile_of(record(sections=tuple(changed)), host)

    assert throttled(None).provenance.throttled is None
    assert throttled(False).provenance.throttled is False
    assert throttled(True).provenance.throttled is True
    (mode,) = throttled(True).modes
    assert (mode.idle_w, mode.fronts[0].forward_ms) == (None, None)


def test_fronts_of_one_model_and_cut_are_told_apart(host, tmp_path):
    first = record().fronts[0]
    twice = (first, msgspec.structs.replace(first, name="cut1-wide"))
    front = sections()[5]
    both = (*sections(), msgspec.structs.replace(front, front=1))
    write_profile(profile_of(record(fronts=twice, sections=both), host), tmp_path / "b.toml")
    (mode,) = load_profile(tmp_path / "b.toml").modes
    assert [front.model for front in mode.fronts] == ["cnn (cut1)", "cnn (cut1-wide)"]


def test_hostile_texts_do_not_keep_a_profile_from_being_written(host, tmp_path):
    evil = 'a"\n\\]\t\x00[b]\u202e' + "x" * 2000
    board = msgspec.structs.replace(record().board, title=evil, model=evil)
    changed = record(
        command=evil, board=board, notes=(evil,), machine={"cores": evil}, versions={"a": evil}
    )
    write_profile(profile_of(changed, host), tmp_path / "board.toml")
    assert load_profile(tmp_path / "board.toml").board.title.startswith('a"?\\')


def test_power_above_idle_holds_every_sections_interval():
    found = above_idle_w([phase("forward", 0.1, 6.5), phase("forward", 0.3, 7.5)])
    assert found.value == pytest.approx((0.1 * 4.0 + 0.3 * 5.0) / 0.4)
    assert (found.low, found.high) == pytest.approx((3.96, 5.04))
    assert found.runs == 2
    assert above_idle_w([phase("forward", 0.1, 6.5, unresolved="no")]) is None
    nothing = msgspec.structs.replace(
        phase("update", 0.1, 2.5), above_idle_joules_per_step=interval(-0.001, 0.004)
    )
    assert above_idle_w([nothing]).value == 0.0
    less = msgspec.structs.replace(nothing, above_idle_joules_per_step=interval(-0.1, 0.004))
    assert above_idle_w([less]) is None


def test_a_board_without_matplotlib_says_how_to_see_the_report(run, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (tmp_path / "board.json").write_bytes(encode_record(record()))
    code, _, err = run("report", "board.json")
    assert code == 3
    assert err == ["slfac profile: matplotlib is missing; pip install 'slfac[report]'"]


def test_what_is_no_measurement_is_refused(run, tmp_path):
    (tmp_path / "board.json").write_text(json.dumps({"schema": 7}))
    code, _, err = run("report", "board.json")
    assert (code, len(err)) == (2, 1)
    assert "board.json: schema is 7" in err[0]


def test_help_has_an_example(capsys):
    for action in ("run", "report"):
        with pytest.raises(SystemExit) as ended:
            main(["profile", action, "--help"])
        assert ended.value.code == 0
        assert f"slfac profile {action} " in capsys.readouterr().out


def costs_of(scale):
    """A front of one convolution."""
    from slfac.wire.costs import Costs, Layer

    sizes = {
        *("forward_flop", "backward_flop", "forward_bytes", "backward_bytes", "weight_bytes"),
    }
    layer = Layer(name="conv", kind="conv", **dict.fromkeys(sizes, scale * 1_000_000))
    return Costs(layers=(layer,), residual_bytes=scale * 1000)


def ladder(count):
    """Fronts that take twice as long each as the one before, and codecs that do."""
    front, codec = sections()[5:7]
    found = []
    for index in range(count):
        scale = 2**index
        for section in (front, codec):
            repeated = tuple(
                msgspec.structs.replace(
                    one, seconds={name: scale * s for name, s in one.seconds.items()}
                )
                for one in section.repetitions
            )
            found.append(
                msgspec.structs.replace(
                    section,
                    repetitions=repeated,
                    front=index,
                    amount=section.amount * scale,
                    label=f"{section.label} {index}",
                )
            )
    first = record().fronts[0]
    fronts = tuple(
        msgspec.structs.replace(first, name=f"cut{n}", cut=f"c{n}") for n in range(count)
    )
    return record(fronts=fronts, sections=tuple(found))


def test_enough_fronts_with_costs_give_fits_that_predict_others(host, tmp_path):
    costs = [costs_of(2**index) for index in range(6)]
    write_profile(profile_of(ladder(6), host, costs), tmp_path / "board.toml")
    (mode,) = load_profile(tmp_path / "board.toml").modes
    phases = {phase.name: phase for phase in mode.phases}
    assert phases["forward"].spread.value < 0.05
    assert phases["forward"].spread.kind == "calibrated"
    assert phases["forward"].threads == 1
    # What a phase draws stands beside what it takes.
    assert phases["forward"].dynamic_w.value > 0
    assert phases["encode"].dynamic_w.value == 2.5
    assert len({front.costs for front in mode.fronts}) == 6
    (codec,) = mode.codecs
    assert codec.encode_mbs.value == pytest.approx(2e6 / 0.06 / 1e6, rel=0.01)
    assert codec.spread.value < 0.01
    assert codec.encode_t0_ms is None
    assert len(mode.memories) == 1


def test_too_few_fronts_or_no_costs_give_no_fits_and_it_is_said(host):
    for costs, different in (([costs_of(1)] * 6, 1), ([None] * 6, 0), ([], 0)):
        profile = profile_of(ladder(6), host, costs)
        (mode,) = profile.modes
        assert {phase.t0_ms for phase in mode.phases} == {None}
        assert mode.memories == ()
        assert f"and {different} were measured" in profile.provenance.note


def test_the_largest_measurement_there_is_can_be_read_back(host, tmp_path):
    count = 64
    first, front, codec = record().fronts[0], sections()[5], sections()[6]
    fronts = tuple(
        msgspec.structs.replace(first, name=f"{'n' * 60}{n}", model="m" * 200, cut=f"c{n}")
        for n in range(count)
    )
    many = [msgspec.structs.replace(front, front=n) for n in range(count)]
    specs = [f"uniform:bits={n + 1}" for n in range(8)]
    many += [
        msgspec.structs.replace(codec, front=n, codec=spec, amount=1e4 * (n + 1))
        for n in range(count)
        for spec in specs
    ]
    changed = record(fronts=fronts, sections=tuple(many), command="slfac " + "--bundle x " * 300)
    write_profile(
        profile_of(changed, host, [costs_of(n + 1) for n in range(count)]), tmp_path / "b.toml"
    )
    (mode,) = load_profile(tmp_path / "b.toml").modes
    assert (len(mode.fronts), len(mode.codecs)) == (count, 8)

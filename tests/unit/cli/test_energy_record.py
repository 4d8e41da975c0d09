"""``slfac profile report`` draws what ``slfac device --energy-report`` wrote."""

import msgspec
import numpy as np
import pytest

from harness.boards import pi4
from harness.powertrace import PHASES, Scene, simulate
from slfac.cli.energy_record import record_of
from slfac.cli.main import main
from slfac.device.energy.attribution import attribute
from slfac.device.energy.base import SensorInfo
from slfac.device.energy.conditions import read_conditions
from slfac.device.energy.means import Means
from slfac.device.energy.outcome import RoundEnergy, RunEnergy, Stretch
from slfac.device.energy.pool import Segment
from slfac.device.energy.report import write_report
from slfac.device.energy.reporting import make_report
from slfac.device.energy.sampler import SamplerCost
from slfac.device.profiling.record import Record
from slfac.wire.errors import SettingsError

INFO = SensorInfo("jetson", "jetson", "module", "power", ("VDD_IN",), ("VDD_IN",), "a tree")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The account of a simulated run of 120 steps."""
    scene = simulate(Scene(steps=120, idle_s=3.0), seed=1)
    means = Means()
    means.add(attribute(scene.timeline, scene.trace))
    spent = Stretch(scene.total_joules, scene.timeline.end_s - scene.timeline.begin_s, 0.0)
    energy = RunEnergy(
        sensor=INFO,
        waiting=Stretch(),
        total=spent,
        rounds=(RoundEnergy(0, spent),),
        phases=means.phases(),
        steps=means.steps,
        readings=means.readings,
        idle_w=means.idle_w(),
        lag_s=None,
        dropped=means.dropped(),
        failures=0,
        error="",
        lost=False,
        cost=SamplerCost(100, 0.1, 0.2, 40.0),
        looking_s=0.1,
        recent=Segment(scene.timeline, scene.trace, np.zeros((0, 2))),
        begin_s=scene.timeline.begin_s + 1.0,
    )
    state = read_conditions(pi4(tmp_path_factory.mktemp("pi4")).host)
    return make_report(energy, run="r1", device="d0", bundle="b", before=state, after=state)


def test_a_record_holds_the_steps_their_phases_and_the_readings(report):
    record = msgspec.convert(msgspec.to_builtins(record_of(report, "x.json")), Record)
    (section,) = record.sections
    assert record.sensor.scope == "module"
    assert record.readings.watts == report.recently.readings.watts
    assert record.readings.t_s[0] == pytest.approx(0.1, abs=0.2), "from the record's beginning"
    assert 0 <= section.begin_s < section.end_s <= record.seconds
    (steps,) = section.repetitions
    assert steps.count == 120
    assert steps.seconds.keys() == PHASES.keys()
    assert steps.seconds["forward"] == pytest.approx(120 * 0.08, rel=0.05)
    told = {one.phase: one for one in section.energy}
    assert told["forward"].joules_per_step.value == pytest.approx(0.08 * 6.3, rel=0.1)
    assert section.step.seconds_per_step == pytest.approx(0.265, rel=0.05)
    assert len(section.spans["step"]) == 3
    assert any(
        begin <= t <= end for t in record.readings.t_s for begin, end in section.spans["step"]
    )
    assert record.notes[0].startswith("A training run of 1 rounds and 120 steps: ")


def test_the_command_draws_it(report, tmp_path, capsys):
    write_report(report, tmp_path / "energy.json")
    assert main(["profile", "report", str(tmp_path / "energy.json")]) == 0
    page = (tmp_path / "energy.html").read_text()
    assert "d0 in a run" in page
    assert "Power and phases of some steps" in page
    assert (tmp_path / "energy.png").read_bytes().startswith(b"\x89PNG")
    assert "energy.html" in capsys.readouterr().out


def test_a_run_without_steps_cannot_be_drawn(report):
    for recently in (None, msgspec.structs.replace(report.recently, steps=())):
        empty = msgspec.structs.replace(report, recently=recently)
        with pytest.raises(SettingsError, match=r"x\.json has no steps"):
            record_of(empty, "x.json")


def test_what_is_neither_is_refused_as_before(tmp_path, capsys):
    (tmp_path / "x.json").write_text('{"schema": 1}')
    assert main(["profile", "report", str(tmp_path / "x.json")]) == 2
    assert "is no record of a measurement" in capsys.readouterr().err
    assert main(["profile", "report", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_times_alone_can_be_drawn(report):
    told = msgspec.structs.replace(report.sensor, name="none", scope=None, gives="nothing")
    assert record_of(msgspec.structs.replace(report, sensor=told), "x.json").sensor is None

"""What devices say that they have spent: counted once, never mixed, never made up."""

import dataclasses
import json

import pytest

from harness.offline import front_parts, kept_bundle
from harness.script import BYE, Script, run_script
from slfac.server.energy import (
    DeviceEnergy,
    Gained,
    RoundEnergies,
    ScopeEnergy,
    Spent,
    energy_words,
    total_energies,
)
from slfac.server.events import Left, Lost, Restarted
from slfac.server.resume import newest_standing
from slfac.wire.messages import Bye, Energy, PhaseEnergy

PHASE = PhaseEnergy("forward", 80.0, 0.5, 0.4, 0.6)


def told(joules, *, meter=1, scope="module", covered_s=None, missing_s=0.0, phases=()):
    seconds = covered_s if covered_s is not None else (joules or 0.0) / 5
    return Energy(meter, scope, joules, seconds, missing_s, 7, phases)


def test_what_is_told_twice_counts_once_and_what_never_came_is_in_the_next():
    device = DeviceEnergy()
    assert device.take(told(100.0)) == Gained("module", Spent(100.0, 20.0, 0.0), 100.0)
    assert device.take(told(100.0)).spent == Spent()
    assert device.take(told(250.0)).joules == 150.0
    # One that was told meanwhile was lost with the server's memory.
    assert device.take(told(600.0), last=True).joules == 350.0
    assert device.spent == {"module": Spent(600.0, 120.0, 0.0)}
    assert device.lost == 0


def test_unknown_is_not_zero():
    device = DeviceEnergy()
    assert device.take(told(None, missing_s=10.0)).joules is None
    assert device.seen == {}
    assert device.take(told(0.0, covered_s=30.0, missing_s=10.0)).joules == 0.0
    assert device.seen == {"module": Spent(0.0, 30.0, 10.0)}


def test_a_round_that_readings_hardly_cover_is_unknown_and_its_joules_are_in_the_total():
    device = DeviceEnergy()
    assert device.take(told(95.0, covered_s=19.0, missing_s=1.0)).joules == 95.0
    assert device.take(told(105.0, covered_s=21.0, missing_s=3.0)).joules is None
    assert device.spent["module"] == Spent(105.0, 21.0, 3.0)


def test_what_a_killed_process_had_not_told_is_missed_and_said():
    device = DeviceEnergy()
    device.take(told(100.0, meter=1))
    assert device.take(told(30.0, meter=2)).joules is None, "what it lacks nobody knows"
    assert device.spent["module"].joules == 130.0
    assert device.lost == 1
    assert device.take(told(50.0, meter=2), last=True).joules == 20.0
    # One that said goodbye has told all.
    assert device.take(told(10.0, meter=3)).joules == 10.0
    assert device.lost == 1
    # One that was killed before it told anything.
    device.take(told(10.0, meter=3), last=True)
    device.gone()
    assert device.take(told(1.0, meter=4)).joules is None
    assert device.lost == 2


def test_a_device_that_lies_changes_nothing():
    device = DeviceEnergy()
    device.take(told(100.0))
    assert device.take(told(5.0)).spent == Spent()
    assert device.take(told(1e15, covered_s=1.0)).spent == Spent()
    assert device.spent == {"module": Spent(100.0, 20.0, 0.0)}
    for meter in range(2, 2000):
        device.take(told(1e15, meter=meter, covered_s=1e12, missing_s=1e12))
    assert json.loads(json.dumps(dataclasses.asdict(device), allow_nan=False))
    assert len(json.dumps(dataclasses.asdict(device))) < 1000


def test_scopes_are_listed_and_never_added_up():
    energies = RoundEnergies()
    energies.add("a", Gained("module", Spent(10.0, 2.0), 10.0))
    energies.add("b", Gained("wall", Spent(30.0, 2.0), 30.0))
    energies.add("c", Gained("module", Spent(12.0, 2.0), 12.0))
    energies.add("d", Gained("module", Spent(99.0, 1.0, 1.0), None))
    energies.miss("f")
    energies.miss("c")
    energies.add("c", Gained("module", Spent(1.0, 0.5), 1.0))
    assert energies.close(["a", "b", "c", "d", "e"]) == (
        {"module": ScopeEnergy(23.0, 2), "wall": ScopeEnergy(30.0, 1)},
        3,
    )
    assert energies.close(["a"]) == ({}, 1), "the next round begins anew"
    both = DeviceEnergy()
    both.take(told(5.0, meter=1, scope="module"), last=True)
    both.take(told(7.0, meter=2, scope="wall"))
    other = DeviceEnergy()
    other.take(told(20.0, scope="wall", covered_s=4.0, missing_s=3.0))
    sums = total_energies([both, other, DeviceEnergy()], ended=False)
    assert sums == {"module": ScopeEnergy(5.0, 1), "wall": ScopeEnergy(27.0, 2, 3.0)}
    assert energy_words(sums, 1) == (
        "5 J (module, 1 device), at least 27 J (wall, 2 devices), 1 unknown"
    )
    # Once the run has ended, what the other devices never told is lost.
    sums = total_energies([both, other, DeviceEnergy()], ended=True)
    assert sums == {
        "module": ScopeEnergy(5.0, 1, lost=1),
        "wall": ScopeEnergy(27.0, 2, 3.0, lost=2),
    }
    assert energy_words({}, 3) == ""
    assert energy_words({"soc": ScopeEnergy(12345.6, 1)}) == "12.35 kJ (soc, 1 device)"


class Measuring(Script):
    """Devices that say what they have spent: so many joules more with each front.

    Attributes:
        scopes: What each device's sensor measures; devices that are not in it do not measure.
        meters: Number of each device's process.
        spent: Joules so far.
    """

    def __init__(self, scopes):
        super().__init__()
        self.scopes = scopes
        self.meters = {index: 10 + index for index in scopes}
        self.spent = dict.fromkeys(scopes, 0.0)

    def energy(self, index):
        if index not in self.scopes:
            return ()
        scope, joules = self.scopes[index], self.spent[index]
        return (told(joules, meter=self.meters[index], scope=scope, phases=(PHASE,)),)

    def front(self, index, samples=2, **changes):
        if index in self.scopes:
            self.spent[index] += 10.0 * (index + 1)
        parts = front_parts({**kept_bundle().front_state(), **changes})
        self.ask(index, "front", parts, samples=samples, energy=self.energy(index))

    def leave(self, index):
        self.spent[index] += 1.0
        self.events.put(Left(index, Bye(0, True, BYE.timings, BYE.summary, self.energy(index))))


def test_a_run_has_the_joules_of_its_rounds_and_all_of_them_at_its_end(tmp_path):
    script = Measuring({0: "module", 1: "module", 2: "wall"})
    for index in range(4):
        script.obey(index)
        obedient = script.then[index]

        def then(header, index=index, obedient=obedient):
            if header.directive == "stop" and index in script.scopes:
                script.leave(index)
            else:
                obedient(header)

        script.then[index] = then
        script.join(index)
    trainer = run_script(tmp_path, script, devices=4)
    for round_ in trainer.rounds:
        assert round_.energy == {"module": ScopeEnergy(30.0, 2), "wall": ScopeEnergy(30.0, 1)}
        assert round_.energy_unknown == 1
    totals = [entry.energy for entry in trainer.ledger.totals.values()]
    assert total_energies(totals, ended=True) == {
        "module": ScopeEnergy(62.0, 2),
        "wall": ScopeEnergy(61.0, 1),
    }
    lines = [e for e in trainer.told if e["event"] == "energy"]
    assert [(e["round"], e["joules"]) for e in lines if e["device"] == "d1"] == [
        (0, 20.0),
        (1, 20.0),
        (None, 1.0),
    ]
    assert lines[0]["phases"] == {"forward": [80.0, 0.5, 0.4, 0.6]}
    rounds = [e for e in trainer.told if e["event"] == "round"]
    assert rounds[0]["energy"]["wall"] == {
        "joules": 30.0,
        "devices": 1,
        "missing_s": 0.0,
        "lost": 0,
    }
    assert rounds[0]["energy_unknown"] == 1


# Nobody knows that it measures before it has told something, which is when it comes back.
@pytest.mark.parametrize(
    ("event", "rounds"),
    [
        (Restarted(1), [(10.0, 0), (10.0, 1), (30.0, 0)]),
        (Lost(1, "gone"), [(10.0, 0), (10.0, 0), (10.0, 1)]),
    ],
    ids=["restarted", "lost"],
)
def test_a_device_that_was_killed_is_unknown_in_that_round_alone(tmp_path, event, rounds):
    script = Measuring({0: "module", 1: "module"})
    for index in range(2):
        script.obey(index)
        script.join(index)
    obedient = script.then[1]

    def killed_amid_its_round(header):
        if header.kind == "step":
            script.obey(1)
            script.meters[1], script.spent[1] = 99, 0.0
            script.events.put(event)
            script.join(1, session=50)
        else:
            obedient(header)

    script.then[1] = killed_amid_its_round
    trainer = run_script(tmp_path, script, rounds=3)
    assert trainer.ledger.totals["d1"].energy.lost == 1
    assert [(r.energy["module"].joules, r.energy_unknown) for r in trainer.rounds] == rounds
    told_in_all = 30.0 + script.spent[1]
    told = [e.energy for e in trainer.ledger.totals.values()]
    assert total_energies(told, ended=False) == {"module": ScopeEnergy(told_in_all, 2, lost=1)}


def test_a_device_that_lost_its_session_and_comes_back_is_known(tmp_path):
    script = Measuring({0: "module", 1: "module"})
    for index in range(2):
        script.obey(index)
        script.join(index)
    obedient = script.then[1]

    def breaks_off(header):
        if header.kind == "step" and header.round == 1:
            script.obey(1)
            script.spent[1] += 5.0
            script.events.put(Restarted(1))
            script.join(1, session=50)
        else:
            obedient(header)

    script.then[1] = breaks_off
    trainer = run_script(tmp_path, script, rounds=4)
    # It tells nothing in the second round; in the third it tells of both.
    assert [r.energy["module"].joules for r in trainer.rounds] == [30.0, 10.0, 35.0, 30.0]
    assert [r.energy_unknown for r in trainer.rounds] == [0, 1, 0, 0]
    assert trainer.ledger.totals["d1"].energy.lost == 0


def test_a_server_that_starts_again_goes_on_counting_and_counts_nothing_twice(tmp_path):
    script = Measuring({0: "module"})
    script.obey(0)
    script.join(0)
    trainer = run_script(tmp_path, script, devices=1, rounds=2)
    assert trainer.ledger.totals["d0"].energy.spent["module"].joules == 20.0
    assert newest_standing(tmp_path).totals["d0"].energy == trainer.ledger.totals["d0"].energy
    # A third round: the device's process has gone on, and has made a lost round again.
    again = Measuring({0: "module"})
    again.spent[0] = 35.0
    again.obey(0)
    again.join(0)
    resumed = run_script(tmp_path, again, devices=1, rounds=3, resume=True)
    assert [r.energy["module"].joules for r in resumed.rounds] == [10.0, 10.0, 25.0]
    assert resumed.ledger.totals["d0"].energy.spent["module"].joules == 45.0
    assert resumed.ledger.totals["d0"].energy.lost == 0


def test_a_checkpoint_of_an_older_release_knows_of_no_energy(tmp_path):
    script = Script()
    script.obey(0)
    script.join(0)
    run_script(tmp_path, script, devices=1, rounds=1)
    (state,) = tmp_path.glob("checkpoint/round-000001/state.json")
    values = json.loads(state.read_text())
    del values["totals"]["d0"]["energy"], values["sha256"]
    for entry in values["rounds"]:
        del entry["energy"], entry["energy_unknown"]
    state.write_text(json.dumps(values))
    standing = newest_standing(tmp_path)
    assert standing.totals["d0"].energy == DeviceEnergy()
    assert standing.rounds[0].energy == {}

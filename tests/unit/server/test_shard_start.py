"""What ranks settle before they train: who is who, who serves whom, and where they begin."""

import os
import threading

import numpy as np
import psutil
import pytest

from harness.ranks import on_ranks
from slfac.server import server_settings
from slfac.server.evaluate import Evaluator, Score
from slfac.server.peers import Peers
from slfac.server.scores import class_scores
from slfac.server.seat import Seat
from slfac.server.shard.agreement import agree
from slfac.server.shard.evaluator import SharedEvaluator
from slfac.server.shard.folder import RankFolder
from slfac.server.shard.group import RankLostError
from slfac.server.shard.places import own_bind, own_listen, share_out, told_address
from slfac.server.shard.seat import ShardSeat, is_final
from slfac.server.shard.torchrun import Torchrun, under_torchrun
from slfac.wire.errors import (
    AddressError,
    BundleError,
    RunError,
    SettingsError,
    TrainingError,
)

VARIABLES = {
    "TORCHELASTIC_RUN_ID": "job-7",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
}


def rank(number=0, world=2, *, local_world=None, launch="job"):
    local = local_world or world
    return Torchrun(
        rank=number, world=world, local_rank=number % local, local_world=local, launch=launch
    )


def settings(out, **changes):
    return server_settings(bundle="b", out=out, keys="k", **changes)


def test_a_process_of_torchrun_knows_its_rank():
    assert under_torchrun({}) is None
    assert under_torchrun({"RANK": "0", "WORLD_SIZE": "2"}) is None
    found = under_torchrun(VARIABLES)
    assert found == Torchrun(rank=3, world=4, local_rank=1, local_world=2, launch="job-7")


def test_a_torchrun_without_a_name_goes_by_its_process():
    found = under_torchrun({**VARIABLES, "TORCHELASTIC_RUN_ID": "none"})
    parent = psutil.Process(os.getppid())
    assert found.launch == f"{parent.pid}@{parent.create_time():.2f}"


@pytest.mark.parametrize("change", [{"RANK": "first"}, {"LOCAL_WORLD_SIZE": ""}])
def test_variables_that_are_no_numbers_are_an_error_of_their_own(change):
    with pytest.raises(SettingsError, match=r"not whole: .*start the server with `torchrun"):
        under_torchrun({**VARIABLES, **change})


@pytest.mark.parametrize(
    ("devices", "world", "shards", "expected"),
    [
        (4, 2, (), [0, 0, 1, 1]),
        (5, 3, (), [0, 0, 1, 1, 2]),
        (1, 2, (), [0]),
        (4, 2, (3, 1), [0, 0, 0, 1]),
        (2, 3, (0, 2, 0), [1, 1]),
    ],
)
def test_devices_are_shared_out_as_neighbours(devices, world, shards, expected):
    assert share_out(devices, world, shards) == expected


@pytest.mark.parametrize("shards", [(4,), (1, 1), (2, 1, 1)])
def test_shards_that_do_not_fit_are_refused(shards):
    with pytest.raises(SettingsError, match="this run has 2 with 4"):
        share_out(4, 2, shards)


def test_each_rank_of_a_machine_has_a_port_of_its_own():
    assert own_bind("tcp://0.0.0.0:5555", rank(1)) == "tcp://0.0.0.0:5556"
    assert own_bind("tcp://[::]:5555", rank(3, 4, local_world=2)) == "tcp://[::]:5556"
    assert own_bind("tcp://10.0.0.1:*", rank(1)) == "tcp://10.0.0.1:*"
    assert own_listen("0.0.0.0:8080", rank(1)) == "0.0.0.0:8081"
    assert own_listen("8080", rank()) == "127.0.0.1:8080"
    assert (own_listen("", rank(1)), own_listen("0", rank(1))) == ("", "0")
    with pytest.raises(SettingsError, match="rank 1 would listen on port 65536"):
        own_bind("tcp://0.0.0.0:65535", rank(1))


@pytest.mark.parametrize(
    ("bound", "advertise", "machines", "told"),
    [
        ("tcp://0.0.0.0:5556", "", 1, "tcp://*:5556"),
        ("tcp://[::]:5556", "", 1, "tcp://*:5556"),
        ("tcp://10.0.0.5:5556", "", 2, "tcp://10.0.0.5:5556"),
        ("tcp://0.0.0.0:5556", "board.lan", 2, "tcp://board.lan:5556"),
    ],
)
def test_devices_are_told_where_a_rank_is(bound, advertise, machines, told):
    assert told_address(bound, advertise, rank(1, local_world=2 // machines)) == told


def test_a_rank_that_devices_could_not_find_is_refused():
    with pytest.raises(SettingsError, match="pass --advertise HOST on each machine"):
        told_address("tcp://0.0.0.0:5555", "", rank(1, local_world=1))
    with pytest.raises(AddressError, match=r"tcp://a b:1"):
        settings("o", advertise="a b")
    with pytest.raises(SettingsError, match="not a loopback address"):
        server_settings(bundle="b", out="o", insecure=True, devices=("a",),
                        bind="tcp://127.0.0.1:1", advertise="10.0.0.1")  # fmt: skip


def test_a_folder_is_taken_once_for_a_run_and_again_by_its_own_torchrun(tmp_path):
    folder = RankFolder(tmp_path, rank(1))
    assert folder.path == tmp_path / "rank-1"
    assert folder.take(resume=False) == "afresh"
    (folder.path / "metrics.jsonl").write_text("")
    assert RankFolder(tmp_path, rank(1)).take(resume=False) == "again"
    other = RankFolder(tmp_path, rank(1, launch="another"))
    with pytest.raises(SettingsError, match=r"holds an earlier run; .*--resume"):
        other.take(resume=False)
    assert RankFolder(tmp_path, rank(1)).take(resume=False) == "again"
    assert other.take(resume=True) == "resume"
    assert other.take(resume=False) == "again"


def test_a_run_that_cannot_go_on_is_not_tried_again_until_somebody_says_so(tmp_path):
    folder = RankFolder(tmp_path, rank())
    folder.take(resume=False)
    folder.give_up("training diverged")
    with pytest.raises(RunError, match="cannot go on: training diverged; no restart cures"):
        RankFolder(tmp_path, rank()).take(resume=False)
    assert RankFolder(tmp_path, rank(launch="later")).take(resume=True) == "resume"


def test_only_as_many_ranks_as_there_were_go_on(tmp_path):
    RankFolder(tmp_path, rank()).take(resume=False)
    with pytest.raises(SettingsError, match="a run of 2 ranks, and torchrun started 3"):
        RankFolder(tmp_path, rank(world=3, launch="x")).take(resume=True)
    with pytest.raises(SettingsError, match="holds nothing of rank 1"):
        RankFolder(tmp_path, rank(1, launch="x")).take(resume=True)
    (tmp_path / "rank-0" / "rank.json").write_text("{")
    with pytest.raises(SettingsError, match="holds nothing of rank 0"):
        RankFolder(tmp_path, rank(launch="x")).take(resume=True)


def outcomes(world, work):
    """What work returns on each rank, or what it says when it fails."""

    def attempt(group):
        try:
            return work(group)
        except SettingsError as error:
            return error.what

    return on_ranks(world, attempt)


@pytest.mark.parametrize(
    ("rounds", "runs", "expected"),
    [
        ([(), ()], ["", ""], None),
        ([(7, 6), (6, 5)], ["r", "r"], 6),
        ([(2, 1), (2, 1), (2,)], ["r"] * 3, 2),
        # One was killed while it wrote the checkpoint before the first round.
        ([(0,), ()], ["r", ""], None),
        (
            [(3, 2), ()],
            ["r", ""],
            "no checkpoint is whole on all ranks: rank 0 after rounds 2, 3; rank 1 after rounds -",
        ),
        ([(3,), (3,)], ["a", "b"], "the ranks' folders hold runs a, b"),
    ],
)
def test_ranks_begin_at_the_newest_round_that_all_have(rounds, runs, expected):
    given = settings("o")
    found = outcomes(
        len(rounds), lambda group: agree(group, given, runs[group.rank], rounds[group.rank])
    )
    assert found == [expected] * len(rounds)


def test_ranks_must_have_the_same_settings_but_for_what_is_their_machines_own():
    def work(batch_size):
        return lambda group: agree(
            group,
            settings(
                "o",
                batch_size=batch_size if group.rank else 32,
                bind=f"tcp://10.0.0.{group.rank}:5555",
                threads=group.rank,
            ),
            "",
            (),
        )

    assert outcomes(2, work(32)) == [None, None]
    what = "setting batch_size is 32 on rank 0 and 16 on rank 1"
    assert outcomes(2, work(16)) == [what, what]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"mode": "sfl-v2"}, "setting mode is 'sfl-v2', which one server must do alone"),
        ({"mode": "async:staleness=2"}, "which one server must do alone"),
        ({"micro_batches": 4}, "setting micro_batches is 4, but ranks train whole batches"),
    ],
)
def test_what_ranks_cannot_do_together_is_refused(change, what, tmp_path):
    with pytest.raises(SettingsError, match=what):
        ShardSeat(settings(tmp_path, **change), rank(), Peers())
    assert list(tmp_path.iterdir()) == []


def test_ranks_agree_on_their_run_and_send_each_others_devices_on(tmp_path, bn_bundle):
    def work(group):
        given = settings(tmp_path, shards=(2, 1))
        seat = ShardSeat(given, rank(group.rank), group)
        address = f"tcp://0.0.0.0:{7000 + group.rank}"
        assert seat.settings.out == tmp_path / f"rank-{group.rank}"
        assert seat.settings.bind == f"tcp://0.0.0.0:{5555 + group.rank}"
        assert (seat.resumed, seat.keep_bytes) == (None, None)
        return seat.run, seat.elsewhere(bn_bundle, ("a", "b", "c"), address)

    (run, first), (same, second) = on_ranks(2, work)
    assert run == same
    assert first == {2: "tcp://*:7001"}
    assert second == {0: "tcp://*:7000", 1: "tcp://*:7000"}
    # The same torchrun starts them again before any checkpoint was written: from the beginning.
    again = on_ranks(2, lambda g: ShardSeat(settings(tmp_path), rank(g.rank), g))
    assert [(seat.resumed, seat.keep_bytes) for seat in again] == [(None, 0)] * 2


def test_ranks_with_other_devices_are_told_apart(tmp_path, bn_bundle):
    def work(group):
        seat = ShardSeat(settings(tmp_path), rank(group.rank), group)
        return seat.elsewhere(bn_bundle, ("a", "b" * (group.rank + 1)), "tcp://10.0.0.1:1")

    assert outcomes(2, work) == ["rank 1 has another list of devices than rank 0"] * 2


def test_a_server_that_is_alone_takes_no_part_of_a_run(tmp_path):
    with pytest.raises(SettingsError, match=r"shards is .*only one; start it with `torchrun"):
        Seat(settings(tmp_path, shards=(1, 1)))
    (tmp_path / "rank-0").mkdir()
    alone = settings(tmp_path).model_copy(update={"resume": True})
    with pytest.raises(SettingsError, match="one of several ranks; start it with `torchrun"):
        Seat(alone)


def test_a_rank_bids_farewell_only_when_nobody_will_start_it_again(tmp_path):
    seat = ShardSeat(settings(tmp_path), rank(world=1), Peers())
    assert seat.farewell(None) is None
    assert seat.farewell(KeyboardInterrupt()) is None
    assert seat.farewell(RankLostError("gone")) is None
    assert seat.farewell(TrainingError("diverged", "lower it")) == ("diverged", "lower it")
    assert seat.farewell(RankLostError("rank 1: diverged", final=True)) == ("rank 1: diverged", "")
    assert not is_final(AddressError("taken"))


def score():
    classes = class_scores(np.array([0, 1]), np.array([0, 0]), 2)
    return Score(loss=float("nan"), accuracy=0.5, samples=2, classes=classes)


class Given(Evaluator):
    """Finds what it was told to find, on one thread."""

    def __init__(self, found):
        self.found = found
        self.threads = []

    def __len__(self):
        return 2

    def score(self, front, back):
        self.threads.append((threading.get_ident(), front, back))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_one_rank_evaluates_for_all():
    own = Given(score())
    shared = on_ranks(
        3, lambda g: SharedEvaluator(own if g.rank == 0 else None, g).score({"w": 1}, "back")
    )
    assert [repr(each) for each in shared] == [repr(score())] * 3
    assert [entry[1:] for entry in own.threads] == [({"w": 1}, "back")]


@pytest.mark.parametrize("error", [OSError("gone"), BundleError("no graph")])
def test_all_ranks_learn_that_a_round_cannot_be_evaluated(error):
    def work(group):
        shared = SharedEvaluator(Given(error) if group.rank == 0 else None, group)
        with pytest.raises((OSError, BundleError)) as caught:
            shared.score({}, None)
        return str(caught.value)

    told = on_ranks(2, work)
    assert told == [str(error), "the first rank could not evaluate; see its metrics"]

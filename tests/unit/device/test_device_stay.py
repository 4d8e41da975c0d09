"""A device's stay under a server that answers what a test says."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.offline import arrive, front_parts, kept_bundle, plan
from slfac.device.asking import Exchanged
from slfac.device.engine import OnnxEngine
from slfac.device.front import Front
from slfac.device.journal import Journal
from slfac.device.stay import Stay
from slfac.wire.errors import ProtocolError
from slfac.wire.messages import Reply, Timings, Welcome
from slfac.wire.transfer import Part

pytestmark = pytest.mark.device

BUNDLE = kept_bundle()
WELCOME = Welcome(1, False, "boot", "run-1", "d0", 0, 1, BUNDLE.id, 1 << 20, plan())


class Link:
    """Answers each request with the next directive, and a front where there is one."""

    def __init__(self, *directives: str) -> None:
        self.directives = list(directives)

    def request(self, kind, *_parts, **_fields):
        directive = self.directives.pop(0)
        told: list[Part] = [] if directive == "join" else front_parts(BUNDLE.front_state())
        reply = Reply(1, 1, kind, 0, directive, 0.0, 0.0, 0.0, 0.0, ())
        return Exchanged(arrive(reply, told), 0.0, 0.0, (0, 0), (0, 0))


def stay(folder: Path, *directives: str) -> Stay:
    return Stay(
        Link(*directives),
        WELCOME,
        BUNDLE,
        samples=SimpleNamespace(batches_per_pass=1, place=lambda: {"epoch": 0, "position": 0}),
        engine=OnnxEngine(Front(BUNDLE)),
        journal=Journal(folder, "run-1", "d0", BUNDLE.id, "sgd:lr=0.1"),
        on_status=lambda _line: None,
    )


def test_the_directive_of_a_front_tells_whether_to_go_on(tmp_path):
    one = stay(tmp_path, "train", "train", "stop")
    assert one.enter()
    assert one.finish_round(Timings())
    assert not one.finish_round(Timings())
    assert list(tmp_path.iterdir()) == [], "the run is over: nothing is kept of it"


def test_the_word_to_join_is_no_end_of_the_run(tmp_path):
    with pytest.raises(ProtocolError, match="answered a join request with the word to join"):
        stay(tmp_path, "join").enter()
    one = stay(tmp_path, "train", "join")
    assert one.enter()
    kept = sorted(tmp_path.rglob("round-*"))
    with pytest.raises(ProtocolError, match="answered a front request with the word to join"):
        one.finish_round(Timings())
    assert sorted(tmp_path.rglob("round-*")) == kept != []

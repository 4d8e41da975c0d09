"""Parts of a run without sockets: the kept bundle, its variants, and requests for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from slfac.codec import make_codec
from slfac.wire.bundle import Bundle, open_bundle, pack_state, write_bundle
from slfac.wire.manifest import MANIFEST_NAME, Manifest
from slfac.wire.messages import Kind, Partition, Plan, Request, Timings
from slfac.wire.transfer import Frames, Inbox, Part, Transfer, cut_transfer

KEPT = Path(__file__).parents[1] / "data" / "bundles" / "cnn-8x8"
KEPT_HEAD = KEPT.with_name("cnn-8x8-head")
RUN = "run-1"
SESSION = 77


def kept_bundle() -> Bundle:
    """The CNN for 1x8x8 and four classes: smashed data of 4x4x4, no BatchNorm."""
    return open_bundle(KEPT)


def kept_head_bundle() -> Bundle:
    """The same CNN, cut again at its hidden layer of 8: the head is one linear layer."""
    return open_bundle(KEPT_HEAD)


def variant(out: Path, **changes: object) -> Bundle:
    """The kept bundle with fields of its manifest changed."""
    kept = kept_bundle()
    files = {name: data for name, data in kept.contents().items() if name != MANIFEST_NAME}
    return write_bundle(out, msgspec.structs.replace(kept.manifest, **changes), files)


def manifest_with(**changes: object) -> Manifest:
    return msgspec.structs.replace(kept_bundle().manifest, **changes)


def plan(**changes: object) -> Plan:
    values = {
        "rounds": 2,
        "batch_size": 4,
        "steps_per_round": 0,
        "optimizer": "sgd:lr=0.1",
        "codec_up": "none",
        "codec_down": "none",
        "seed": 0,
        "partition": Partition(),
    }
    return Plan(**{**values, **changes})


def request(kind: Kind, seq: int = 1, **changes: object) -> Request:
    """A request's header, its sections still empty."""
    values = {
        "session": SESSION,
        "seq": seq,
        "run": RUN,
        "kind": kind,
        "round": 0,
        "step": 0,
        "samples": 0,
        "timings": Timings(),
        "sections": (),
    }
    return Request(**{**values, **changes})


def step_parts(smashed: np.ndarray, target: np.ndarray, codec: str = "none") -> list[Part]:
    """The sections of a step request."""
    return [
        Part("smashed", "smashed", make_codec(codec).encode(smashed)),
        Part("target", "target", make_codec("none").encode(target)),
    ]


def front_parts(state: dict[str, np.ndarray]) -> list[Part]:
    """The section of a front request."""
    return [Part("front", "front", pack_state(state))]


def collect(frames: Frames) -> Transfer:
    """What the other end makes of messages that arrive whole and in order."""
    from slfac.wire.frame import decode_header

    inbox: Inbox = Inbox(1 << 24)
    transfer = None
    for head, body in frames:
        header = decode_header(head)
        take = inbox.chunk if hasattr(header, "offset") else inbox.begin
        transfer = take(header, memoryview(body))
    assert transfer is not None, "the payload is not complete"
    return transfer


def arrive(header: Request, parts: list[Part]) -> Transfer[Request]:
    """A request as it comes out of the network."""
    return collect(cut_transfer(header, parts))

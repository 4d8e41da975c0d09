"""Header frames frozen when the protocol was: they read and write the same forever.

A case is ``NAME.bin`` (the frame) and ``NAME.json`` (the message's name and its fields).
To freeze a new case, add it to ``CASES`` and run this file with ``SLFAC_REGENERATE=1``;
files that exist are rewritten, so look at the difference before committing it.
"""

import json
import math
import os
from pathlib import Path

import msgspec
import pytest

from slfac.wire import messages
from slfac.wire.frame import decode_header, encode_header
from slfac.wire.messages import (
    Bye,
    Chunk,
    Clock,
    Credit,
    Echo,
    Energy,
    Hello,
    Partition,
    PhaseEnergy,
    Ping,
    Plan,
    Probe,
    Refusal,
    Reply,
    Request,
    Section,
    Summary,
    Timings,
    Welcome,
)

pytestmark = pytest.mark.device

FOLDER = Path(__file__).parent / "golden" / "v1" / "wire"
BUNDLE = "0123456789abcdef" * 4
SESSION = 0x123456789ABCDEF
TIMINGS = Timings(0.25, 4.5, 1.125, 2.0, 30.75, 0.5, 5.25, 0.125, 44.75)
SMASHED = Section("smashed", "pool1", "slfac", (32, 16, 14, 14), "float32", 12345, 0xDEADBEEF)
TARGET = Section("target", "target", "none", (32,), "int64", 262, 0x01020304)
MIDDLE = Section("smashed", "middle", "slfac", (32, 64), "float32", 2345, 0x0BADCAFE)
MIDDLE_GRADIENT = Section("gradient", "middle", "slfac", (32, 64), "float32", 3456, 0x0BADF00D)
FILE = Section("bundle", "manifest.json", "", (), "", 4096, 0)
PLAN = Plan(
    10, 32, 0, "sgd:lr=0.05,momentum=0.9", "slfac", "none", 7, Partition(), "cosine:warmup=2", 4, 1
)
ENERGY = Energy(
    2**63 - 1,
    "module",
    812.25,
    165.5,
    0.5,
    299,
    (
        PhaseEnergy("forward", 80.5, 0.5, 0.4375, 0.5625),
        PhaseEnergy("update", 0.125),
        PhaseEnergy("step", 265.25, 1.25, -0.125, 2.625),
    ),
)
CASES = {
    "hello": Hello(SESSION, False, 1 << 20, "0.1.0", "pi-1", ""),
    "hello-resume": Hello(1, True, 131072, "0.1.0", "device", BUNDLE),
    "welcome": Welcome(
        SESSION, False, "9f8e7d6c", "20260101-a1b2", "pi-1", 0, 3, BUNDLE, 1 << 20, PLAN, "0.1.0"
    ),
    "welcome-dirichlet": Welcome(
        2**63 - 1,
        True,
        "b",
        "r",
        "pi-é",
        2,
        3,
        BUNDLE,
        131072,
        Plan(10**6, 65536, 10**9, "", "fp16", "fp16", 2**32 - 1, Partition("dirichlet", 0.3, 10)),
    ),
    "request-step": Request(
        SESSION, 2, "20260101-a1b2", "step", 0, 1, 32, TIMINGS, (SMASHED, TARGET)
    ),
    "request-step-part": Request(
        SESSION, 5, "r", "step", 3, 12, 8, Timings(), (SMASHED, TARGET), 3, 4, 32
    ),
    "request-join": Request(SESSION, 1, "20260101-a1b2", "join", 0, 0, 0, Timings(), ()),
    "request-resume": Request(SESSION, 1, "r", "resume", 7, 210, 0, Timings(), ()),
    "request-front": Request(
        SESSION,
        300,
        "r",
        "front",
        9,
        299,
        9600,
        TIMINGS,
        (Section("front", "front", "safetensors", (), "", 70000, 5),),
        clock=(Clock(-1234.5, 0.75),),
    ),
    "request-front-energy": Request(
        SESSION,
        300,
        "r",
        "front",
        9,
        299,
        9600,
        TIMINGS,
        (Section("front", "front", "safetensors", (), "", 70000, 5),),
        energy=(ENERGY,),
    ),
    "request-front-energy-unknown": Request(
        SESSION,
        301,
        "r",
        "front",
        10,
        310,
        320,
        TIMINGS,
        (Section("front", "front", "safetensors", (), "", 70000, 5),),
        energy=(Energy(7, "wall", None, 0.0, 61.5),),
    ),
    "request-head": Request(
        SESSION, 3, "r", "head", 0, 1, 32, Timings(), (MIDDLE_GRADIENT,), loss=2.25
    ),
    "request-evaluate": Request(SESSION, 4, "r", "evaluate", 9, 300, 32, Timings(), (SMASHED,)),
    "request-score": Request(
        SESSION,
        5,
        "r",
        "score",
        9,
        300,
        1000,
        Timings(),
        (),
        loss=0.75,
        accuracy=0.5,
        balanced_accuracy=0.375,
    ),
    "reply-outputs": Reply(SESSION, 2, "step", 0, "train", math.nan, 0.5, 4.25, 0.75, (MIDDLE,)),
    "reply-evaluate": Reply(SESSION, 301, "front", 9, "evaluate", math.nan, 0.0, 0.0, 0.0, ()),
    "reply-step": Reply(
        SESSION,
        2,
        "step",
        0,
        "train",
        2.25,
        0.75,
        8.5,
        1.25,
        (Section("gradient", "pool1", "slfac", (32, 16, 14, 14), "float32", 9876, 0xCAFEBABE),),
    ),
    "reply-bundle": Reply(SESSION, 1, "bundle", 0, "train", math.nan, 0.0, 0.0, 0.0, (FILE,) * 2),
    "reply-join": Reply(SESSION, 1, "resume", 6, "join", math.nan, 0.0, 0.0, 0.0, ()),
    "reply-stop": Reply(SESSION, 301, "front", 10, "stop", math.nan, 0.0, 0.0, 0.0, ()),
    "chunk": Chunk(SESSION, 2, 65536),
    "credit": Credit(SESSION, 524288),
    "ping": Ping(SESSION),
    "refusal": Refusal(SESSION, "this device's key is not enrolled", "enroll it"),
    "refusal-elsewhere": Refusal(SESSION, "it is served there", "", "tcp://*:5556"),
    "bye": Bye(
        SESSION,
        True,
        TIMINGS,
        Summary(False, 90_000_000, 5_000_000_000, 1, "3.11.2", "1.31.1", "aarch64", 20_000, "cuda"),
    ),
    "bye-energy": Bye(
        SESSION,
        False,
        TIMINGS,
        Summary(False, 90_000_000, 5_000_000_000, 1, "3.11.2", "1.31.1", "aarch64", 20_000, "cpu"),
        (ENERGY,),
    ),
    "probe": Probe(SESSION, 3, 65536),
    "echo": Echo(SESSION, 3, "0.1.0", 1_800_000_000_123_456_789),
}
# Frames of writers that knew fewer fields; what they leave out reads as its default.
OLDER = (
    "bye-without-energy",
    "bye-without-provider",
    "refusal-without-address",
    "request-front-without-energy",
    "request-step-without-parts",
    "welcome-without-parts",
    "welcome-without-schedule",
    "welcome-without-software",
)


def described(value):
    """A message as JSON values: structs as objects, so that every field has its name."""
    if isinstance(value, msgspec.Struct):
        return {name: described(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [described(item) for item in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def whole(message):
    return {"message": type(message).__name__, "fields": described(message)}


@pytest.fixture(scope="module", autouse=True)
def _frozen():
    if os.environ.get("SLFAC_REGENERATE") == "1":
        for name, message in CASES.items():
            (FOLDER / f"{name}.bin").write_bytes(encode_header(message))
            text = json.dumps(whole(message), indent=2, ensure_ascii=False) + "\n"
            (FOLDER / f"{name}.json").write_text(text, "utf-8")


@pytest.mark.parametrize("name", [*CASES, *OLDER])
def test_a_frozen_frame_reads_as_it_did(name):
    expected = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert whole(decode_header((FOLDER / f"{name}.bin").read_bytes())) == expected


@pytest.mark.parametrize("name", CASES)
def test_a_message_is_written_as_it_was(name):
    assert encode_header(CASES[name]) == (FOLDER / f"{name}.bin").read_bytes()


def test_every_message_type_is_frozen():
    frozen = {json.loads(path.read_text("utf-8"))["message"] for path in FOLDER.glob("*.json")}
    assert frozen == {kind.__name__ for kind in messages.Message.__args__}


def test_no_frozen_file_is_without_a_case():
    expected = {f"{name}.{suffix}" for name in [*CASES, *OLDER] for suffix in ("bin", "json")}
    assert {path.name for path in FOLDER.iterdir()} == expected

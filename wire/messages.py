"""The messages that cross the network, as msgspec array structs.

Array structs may grow fields at their end without breaking older readers; a field is never
removed or given another meaning within one protocol version. ``docs/wire-format.md`` is
normative.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_SECTIONS = 16
MAX_PARTS = 16
MAX_PHASES = 16

U63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Text = Annotated[str, Meta(max_length=64)]
Name = Annotated[str, Meta(max_length=256)]
LongText = Annotated[str, Meta(max_length=512)]
Spec = Annotated[str, Meta(max_length=256)]
BundleId = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Dim = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Millis = Annotated[float, Meta(ge=0, le=1e12)]
Parts = Annotated[int, Meta(ge=1, le=MAX_PARTS)]
Role = Literal["smashed", "gradient", "target", "front", "bundle"]
Kind = Literal["bundle", "join", "resume", "step", "head", "front", "evaluate", "score"]
Directive = Literal["train", "stop", "join", "evaluate"]
Scope = Literal["soc", "module", "board", "wall"]
Phase = Literal[
    "load",
    "forward",
    "encode",
    "send",
    "wait",
    "decode",
    "backward",
    "update",
    "idle",
    "other",
    "step",
]
Joules = Annotated[float, Meta(ge=0, le=1e15)]
# An estimate, or a side of its interval, may lie below zero.
Bound = Annotated[float, Meta(ge=-1e15, le=1e15)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]


class Section(Struct, array_like=True, frozen=True):
    """One named part of a payload.

    Attributes:
        role: What it is.
        name: Tensor or file name.
        codec: Spec of the codec that wrote it; the payload itself is self-describing.
        shape: Shape of the array inside; empty for bytes.
        dtype: Its NumPy dtype; empty for bytes.
        length: Bytes of the section.
        crc: CRC-32 of them.
    """

    role: Role
    name: Name
    codec: Spec
    shape: Annotated[tuple[Dim, ...], Meta(max_length=8)]
    dtype: Annotated[str, Meta(max_length=16)]
    length: U32
    crc: U32


class Timings(Struct, array_like=True, frozen=True):
    """Milliseconds a device spent in each phase of one step.

    The phases are what the device itself did, one after the other, summed over the parts of
    the step. What the network and the server do meanwhile is in none of them.

    Attributes:
        load_ms: Reading and preprocessing the batch.
        forward_ms: Running the forward graph.
        encode_ms: Encoding the smashed data.
        send_ms: Handing requests to the socket, credit waits included.
        wait_ms: Waiting for replies, with nothing left to send or to compute.
        decode_ms: Decoding the gradient.
        backward_ms: Running the backward graph.
        update_ms: The optimiser's step.
        step_ms: The whole step, from its first moment to its last.
    """

    load_ms: Millis = 0.0
    forward_ms: Millis = 0.0
    encode_ms: Millis = 0.0
    send_ms: Millis = 0.0
    wait_ms: Millis = 0.0
    decode_ms: Millis = 0.0
    backward_ms: Millis = 0.0
    update_ms: Millis = 0.0
    step_ms: Millis = 0.0


class Clock(Struct, array_like=True, frozen=True):
    """How far the server's clock is from a device's.

    Attributes:
        offset_ms: The server's clock minus the device's, give or take half the round trip.
        round_trip_ms: Of the probe that said so, the quickest of several.
    """

    offset_ms: Annotated[float, Meta(ge=-1e15, le=1e15)]
    round_trip_ms: Millis


class PhaseEnergy(Struct, array_like=True, frozen=True):
    """What one phase of a device's step takes, in the mean of its steps.

    Attributes:
        phase: A phase; ``other`` for what no phase accounts for, ``step`` for all of a step.
        ms: How long it runs in a step.
        joules: Its energy in a step; None where that is not resolved.
        low: Lower side of its 95 % interval; likewise.
        high: Upper side; likewise.
    """

    phase: Phase
    ms: Millis
    joules: Bound | None = None
    low: Bound | None = None
    high: Bound | None = None


class Energy(Struct, array_like=True, frozen=True):
    """What a device has spent since its process was first let in.

    All of it goes on counting until the process ends, so that what is told twice, or never
    comes, does no harm: the next one says it all again.

    Attributes:
        meter: Random number of the process that counts.
        scope: What its sensor measures the power of.
        joules: Energy of the time that readings cover; None where they cover nothing.
        covered_s: How long that time is.
        missing_s: The rest, of which nothing is known.
        steps: Steps that the phases are the mean of.
        phases: What phases take; empty where that is not known yet.
    """

    meter: U63
    scope: Scope
    joules: Joules | None
    covered_s: Seconds
    missing_s: Seconds
    steps: U63 = 0
    phases: Annotated[tuple[PhaseEnergy, ...], Meta(max_length=MAX_PHASES)] = ()


class Partition(Struct, array_like=True, frozen=True):
    """Which part of a data set that all devices hold is this device's.

    Attributes:
        scheme: ``own`` (everything it has), ``iid`` or ``dirichlet``.
        beta: Concentration of the Dirichlet scheme.
        min_samples: Fewest samples a device may get.
    """

    scheme: Literal["own", "iid", "dirichlet"] = "own"
    beta: Annotated[float, Meta(gt=0, le=1e6)] = 0.5
    min_samples: Annotated[int, Meta(ge=2, le=10**6)] = 2


class Plan(Struct, array_like=True, frozen=True):
    """What the server tells each device about the run.

    Attributes:
        rounds: Rounds in all.
        batch_size: Samples a device puts into one step.
        steps_per_round: Steps a device makes in a round; 0 means one pass of its data.
        optimizer: Spec of the device's optimiser.
        codec_up: Codec of the smashed data.
        codec_down: Codec of the gradients.
        seed: Seed of partition, batch order and anything random.
        partition: How the data is shared out.
        schedule: Schedule of the learning rates of both halves.
        micro_batches: Parts of a step, each of which is trained as soon as it is in.
        stream_blocks: Parts of a step that are trained as one.
    """

    rounds: Annotated[int, Meta(ge=1, le=10**6)]
    batch_size: Annotated[int, Meta(ge=1, le=65536)]
    steps_per_round: Annotated[int, Meta(ge=0, le=10**9)]
    optimizer: Spec
    codec_up: Spec
    codec_down: Spec
    seed: U32
    partition: Partition
    schedule: Spec = "constant"
    micro_batches: Parts = 1
    stream_blocks: Parts = 1


class Summary(Struct, array_like=True, frozen=True):
    """What a device says about itself when it leaves.

    Attributes:
        torch_imported: Whether torch was found in its process.
        peak_rss_bytes: Highest resident memory of its process.
        sent_bytes: Bytes it handed to its socket, every frame counted.
        received_bytes: Bytes its socket handed to it.
        python: Version of Python.
        onnxruntime: Version of onnxruntime.
        machine: ``platform.machine()``.
        samples: Training samples it holds.
        provider: What computed its front: ``cpu`` or ``cuda``; empty where it did not begin.
    """

    torch_imported: bool
    peak_rss_bytes: U63
    sent_bytes: U63
    received_bytes: U63
    python: Text
    onnxruntime: Text
    machine: Text
    samples: U32
    provider: Text = ""


class Hello(Struct, array_like=True, frozen=True, tag=1):
    """Device -> server, first on every connection.

    Attributes:
        session: Random number of the device's process (and of its rejoins).
        resume: Whether this session has spoken on an earlier connection.
        window_bytes: Payload bytes the device takes in before it grants more.
        software: Release of slfac on the device.
        device: Name it goes by; only a server without keys believes it.
        bundle: Id of the bundle it holds; empty for none.
    """

    session: U63
    resume: bool
    window_bytes: U32
    software: Text
    device: Text
    bundle: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]


class Welcome(Struct, array_like=True, frozen=True, tag=2):
    """Server -> device, the answer to HELLO.

    Attributes:
        session: The device's.
        resumed: Whether the server still knows this session.
        boot: Random id of the server's process.
        run: Id of the run.
        device: Name under which the key is enrolled.
        index: Index of the device in the run.
        devices: How many devices the run counts.
        bundle: Id of the bundle to train.
        window_bytes: Payload bytes the server takes in before it grants more.
        plan: The run's settings.
        software: Release of slfac on the server; empty where older writers leave it out.
    """

    session: U63
    resumed: bool
    boot: Text
    run: Text
    device: Text
    index: U32
    devices: U32
    bundle: BundleId
    window_bytes: U32
    plan: Plan
    software: Text = ""


class Request(Struct, array_like=True, frozen=True, tag=3):
    """Device -> server: something that gets exactly one reply.

    Attributes:
        session: The device's.
        seq: Counts the session's requests from 1; a resend keeps its number.
        run: Id of the run.
        kind: ``bundle`` (send me the bundle), ``join`` (let me in at the next round),
            ``resume`` (take me back; I have what I was at the beginning of ``round``),
            ``step`` (smashed data, and targets where the loss is the server's), ``head``
            (gradients of what the middle gave for that step), ``front`` (the round is done
            here), ``evaluate`` (smashed data of samples that nobody trains on), ``score``
            (what they came to).
        round: Round, from 0.
        step: The device's own step since it joined, from 0.
        samples: Samples behind it: of the part of the batch, of the whole round, or of the
            test split.
        timings: Phases of the step before this one.
        sections: What the payload holds, in order.
        part: Which part of the step, from 0.
        parts: In how many parts the step comes.
        step_samples: Samples of all parts; 0 stands for ``samples``.
        clock: What the device last measured, where it has not said so yet; nothing where
            older writers leave it out.
        loss: Mean loss of those samples where the device computes it; else NaN.
        accuracy: Share of them classified correctly, with ``score``; else NaN.
        balanced_accuracy: Mean of the classes' recalls on them, with ``score``; else NaN.
        energy: What the device has spent, with ``front``; nothing where it does not measure.
    """

    session: U63
    seq: U63
    run: Text
    kind: Kind
    round: U32
    step: U32
    samples: U32
    timings: Timings
    sections: Annotated[tuple[Section, ...], Meta(max_length=MAX_SECTIONS)]
    part: Annotated[int, Meta(ge=0, le=MAX_PARTS - 1)] = 0
    parts: Parts = 1
    step_samples: U32 = 0
    clock: Annotated[tuple[Clock, ...], Meta(max_length=1)] = ()
    loss: float = math.nan
    accuracy: float = math.nan
    balanced_accuracy: float = math.nan
    energy: Annotated[tuple[Energy, ...], Meta(max_length=1)] = ()


class Reply(Struct, array_like=True, frozen=True, tag=4):
    """Server -> device: the one answer to a request.

    Attributes:
        session: The device's.
        seq: The request's.
        kind: The request's.
        round: Round to work in from now on.
        directive: ``train`` (go on), ``stop`` (the run is over), ``join`` (resume in
            ``round`` instead, or join), ``evaluate`` (evaluate this front first).
        loss: Mean loss of the request's samples, or of the whole step where its parts are
            trained as one; NaN where there is none.
        decode_ms: Server time spent decoding this request.
        train_ms: Server time of the step it was part of.
        encode_ms: Server time spent encoding this reply.
        sections: What the payload holds, in order.
    """

    session: U63
    seq: U63
    kind: Kind
    round: U32
    directive: Directive
    loss: float
    decode_ms: Millis
    train_ms: Millis
    encode_ms: Millis
    sections: Annotated[tuple[Section, ...], Meta(max_length=MAX_SECTIONS)]


class Chunk(Struct, array_like=True, frozen=True, tag=5):
    """Either way: the next bytes of the payload that a request or reply announced.

    Attributes:
        session: The device's.
        seq: The request's or reply's.
        offset: Where in the payload these bytes belong.
    """

    session: U63
    seq: U63
    offset: U32


class Credit(Struct, array_like=True, frozen=True, tag=6):
    """Either way: how much payload the sender of this has taken in.

    Attributes:
        session: The device's.
        consumed_bytes: Payload bytes taken in on this connection, in all.
    """

    session: U63
    consumed_bytes: U63


class Ping(Struct, array_like=True, frozen=True, tag=7):
    """Server -> device: are you there? Its delivery is the answer.

    Attributes:
        session: The device's.
    """

    session: U63


class Refusal(Struct, array_like=True, frozen=True, tag=8):
    """Server -> device: the session is over, and why.

    Attributes:
        session: The device's.
        reason: What is wrong.
        remedy: What to do about it.
        address: Where this device is served instead, ``tcp://HOST:PORT``, with ``*`` for the
            host at which it reached this server; empty for nowhere.
    """

    session: U63
    reason: LongText
    remedy: LongText
    address: Name = ""


class Bye(Struct, array_like=True, frozen=True, tag=9):
    """Device -> server: leaving.

    Attributes:
        session: The device's.
        finished: Whether it leaves because the server said stop.
        timings: Phases of its last step.
        summary: What it says about itself.
        energy: What it has spent; nothing where it does not measure.
    """

    session: U63
    finished: bool
    timings: Timings
    summary: Summary
    energy: Annotated[tuple[Energy, ...], Meta(max_length=1)] = ()


class Probe(Struct, array_like=True, frozen=True, tag=10):
    """Device -> server: answer at once, so that I can measure the link.

    Attributes:
        session: The device's, in whose traffic the probe is then counted; or a random number
            that stands for none.
        seq: Counts its probes.
        reply_bytes: Length of the body that the answer is to have.
    """

    session: U63
    seq: U63
    reply_bytes: Annotated[int, Meta(ge=0, le=65536)]


class Echo(Struct, array_like=True, frozen=True, tag=11):
    """Server -> device, the answer to a probe.

    Attributes:
        session: The probe's.
        seq: The probe's.
        software: Release of slfac on the server.
        time_ns: The server's clock when it answered, nanoseconds since 1970 in UTC.
    """

    session: U63
    seq: U63
    software: Text
    time_ns: U63


Message = Hello | Welcome | Request | Reply | Chunk | Credit | Ping | Refusal | Bye | Probe | Echo
Tensors = Request | Reply

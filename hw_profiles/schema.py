"""The tables of a profile. A field that is None is unknown: never zero, never a guess."""

from __future__ import annotations

from typing import Literal

import msgspec

from slfac.hw_profiles.values import Kind, Power, Scope, Value

SCHEMA = 1
Device = Literal["cpu", "cuda"]
Dtype = Literal["fp64", "fp32", "fp16", "int8"]
#: ``peak`` is what a maker claims. It is for the record: nothing is predicted from it.
Workload = Literal["gemm", "hpl", "front", "peak"]
Phase = Literal["load", "forward", "encode", "send", "wait", "decode", "backward", "update", "idle"]

__all__ = ["Kind", "Power", "Scope", "Value"]


class _Table(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What all tables have in common."""


class Board(_Table, frozen=True):
    """Which board it is.

    Attributes:
        name: What ``load_profile`` and ``--board`` call it.
        title: What people call it.
        model_match: A piece of ``/proc/device-tree/model`` of such boards; empty for none.
        processor: Its chip and cores, in words.
        note: What a reader must know, such as which variant it is.
    """

    name: str
    title: str
    model_match: str = ""
    processor: str = ""
    note: str = ""


class Hardware(_Table, frozen=True):
    """What does not depend on a power mode.

    Attributes:
        cores: CPU cores.
        clock_mhz: Highest clock of the CPU.
        gpu_clock_mhz: Highest clock of the GPU.
        memory_mib: Memory of CPU and, on a Jetson, GPU together.
        memory_peak_gbs: What the memory's interface can move, for the record.
        memcpy_gbs: Copied in CPU memory, 10**9 bytes a second.
        memset_gbs: Set in CPU memory.
    """

    cores: Value | None = None
    clock_mhz: Value | None = None
    gpu_clock_mhz: Value | None = None
    memory_mib: Value | None = None
    memory_peak_gbs: Value | None = None
    memcpy_gbs: Value | None = None
    memset_gbs: Value | None = None


class Compute(_Table, frozen=True):
    """How fast something is computed, and what is drawn meanwhile.

    Attributes:
        device: Where.
        dtype: Of which numbers.
        workload: By what; ``hpl`` is the LINPACK benchmark, in fp64.
        threads: With how many threads; None where not known.
        gflops: 10**9 operations a second, an addition and a multiplication being two.
        gbs: 10**9 bytes a second that it reads and writes.
        power_w: Drawn meanwhile, idle power included.
    """

    device: Device
    dtype: Dtype
    workload: Workload
    threads: int | None = None
    gflops: Value | None = None
    gbs: Value | None = None
    power_w: Power | None = None

    @property
    def label(self) -> str:
        """Its name among its like."""
        threads = "" if self.threads is None else f"-{self.threads}"
        return f"{self.device}-{self.dtype}-{self.workload}{threads}"


class PhaseCost(_Table, frozen=True):
    """What a phase of a training step costs, fitted over fronts of which the costs are known.

    Its time is ``t0_ms``, what layers cost and, for each speed, what there is to do over that
    speed. A speed that is left out was too high to be told.

    Attributes:
        name: Which phase.
        device: Where.
        threads: With how many threads; None where not known.
        t0_ms: What it costs however little there is to do.
        layer_ms: What each layer with weights costs besides; in the phase ``update`` alone.
        conv_gflops: 10**9 operations a second of convolutions, depthwise ones left out.
        depthwise_gflops: The same of depthwise convolutions.
        matmul_gflops: The same of products of matrices.
        gbs: 10**9 bytes a second that are read and written; in the phase ``update``, of weights.
        spread: What is predicted with these may be off by a factor of one and this, either way,
            with 95 %: each front was left out once and predicted from the others.
        unseen_spread: The same of a model of which no front was measured: each model was left out
            once, with all its fronts. None of a single model.
        dynamic_w: Drawn above the idle power.
    """

    name: Phase
    device: Device = "cpu"
    threads: int | None = None
    t0_ms: Value | None = None
    layer_ms: Value | None = None
    conv_gflops: Value | None = None
    depthwise_gflops: Value | None = None
    matmul_gflops: Value | None = None
    gbs: Value | None = None
    spread: Value | None = None
    unseen_spread: Value | None = None
    dynamic_w: Power | None = None

    @property
    def label(self) -> str:
        """Its name among its like."""
        threads = "" if self.threads is None else f"-{self.threads}"
        return self.name + ("" if self.device == "cpu" else f"-{self.device}") + threads


class CodecCost(_Table, frozen=True):
    """How fast a codec is.

    Attributes:
        spec: The codec with its settings, as ``--codec`` takes it.
        threads: With how many threads; None where not known.
        encode_t0_ms: What encoding costs however small the tensor is; left out for nothing.
        decode_t0_ms: The same of decoding.
        encode_mbs: 10**6 bytes of float32 a second that it encodes, beyond that.
        decode_mbs: The same, decoded.
        spread: What is predicted with these may be off by a factor of one and this, either way,
            with 95 %: each tensor was left out once and predicted from the others.
    """

    spec: str
    threads: int | None = None
    encode_t0_ms: Value | None = None
    decode_t0_ms: Value | None = None
    encode_mbs: Value | None = None
    decode_mbs: Value | None = None
    spread: Value | None = None

    @property
    def label(self) -> str:
        """Its name among its like."""
        return self.spec if self.threads is None else f"{self.spec}-{self.threads}"


class FrontCost(_Table, frozen=True):
    """How long a front takes for a batch.

    Attributes:
        model: The model, as ``slfac export --model`` takes it.
        cut: Where it is cut.
        device: Where it runs.
        batch: Samples in a batch.
        threads: With how many threads; None where not known.
        costs: ``slfac.wire.costs.costs_id`` of what the front costs, which tells fronts apart
            whatever their weights are; empty where not known.
        gflop: 10**9 operations of a batch's forward pass.
        forward_ms: Forward pass of a batch.
        backward_ms: Backward pass of a batch.
        update_ms: The optimiser's step.
        peak_mib: Memory of the process at its peak.
    """

    model: str
    cut: str
    device: Device
    batch: int
    threads: int | None = None
    costs: str = ""
    gflop: Value | None = None
    forward_ms: Value | None = None
    backward_ms: Value | None = None
    update_ms: Value | None = None
    peak_mib: Value | None = None

    @property
    def label(self) -> str:
        """Its name among its like."""
        threads = "" if self.threads is None else f"-{self.threads}"
        return f"{self.model}-{self.cut}-{self.device}-{self.batch}{threads}"


class MemoryCost(_Table, frozen=True):
    """What a process holds at its peak that trains a front, fitted over fronts.

    ``base_mib``, and the bytes of the front's trainable weights times ``per_weight``, and the bytes
    that a batch holds between the two passes times ``per_residual``.

    Attributes:
        device: Where the front runs.
        base_mib: Held for however small a front.
        per_weight: Bytes held for a byte of weights: gradients, momentum and copies.
        per_residual: Bytes held for a byte of residuals.
        spread: What is predicted with these may be off by a factor of one and this, either way,
            with 95 %: each front was left out once and predicted from the others.
    """

    device: Device = "cpu"
    base_mib: Value | None = None
    per_weight: Value | None = None
    per_residual: Value | None = None
    spread: Value | None = None

    @property
    def label(self) -> str:
        """Its name among its like."""
        return self.device


class Draw(_Table, frozen=True):
    """A power for the record, of any scope or of one rail: nothing is predicted from it.

    Attributes:
        load: What the board was doing.
        rail: Which rail; empty for the whole of its scope.
        power_w: What was drawn.
    """

    load: str
    rail: str = ""
    power_w: Power | None = None

    @property
    def label(self) -> str:
        """Its name among its like."""
        return f"{self.load} {self.rail}".strip()


class Mode(_Table, frozen=True):
    """What depends on the power mode.

    Attributes:
        name: As ``/etc/nvpmodel.conf`` has it; ``default`` on boards without modes, ``unstated``
            where a source does not say it.
        nvpmodel_id: Its number on this board; None where there is none or it is not known.
        note: What a reader must know.
        idle_w: Drawn with nothing to do.
        active_w: Drawn with all CPU cores busy, or as its note says.
        compute: Speeds.
        phases: Costs of phases.
        codecs: Speeds of codecs.
        fronts: Times of fronts.
        memories: Memory of fronts.
        draws: Powers for the record.
    """

    name: str
    nvpmodel_id: int | None = None
    note: str = ""
    idle_w: Power | None = None
    active_w: Power | None = None
    compute: tuple[Compute, ...] = ()
    phases: tuple[PhaseCost, ...] = msgspec.field(default=(), name="phase")
    codecs: tuple[CodecCost, ...] = msgspec.field(default=(), name="codec")
    fronts: tuple[FrontCost, ...] = msgspec.field(default=(), name="front")
    memories: tuple[MemoryCost, ...] = msgspec.field(default=(), name="memory")
    draws: tuple[Draw, ...] = msgspec.field(default=(), name="draw")

    @property
    def label(self) -> str:
        """Its name among its like."""
        return self.name


class Link(_Table, frozen=True):
    """A way to the network.

    Attributes:
        name: Such as ``wifi`` or ``ethernet``.
        note: What a reader must know, such as the access point.
        up_mbits: 10**6 bits a second that the board sends.
        down_mbits: The same, received.
        rtt_ms: Round trip to the server.
        send_w: Drawn above idle while it sends as fast as it can; ``send_j_per_mb`` and
            ``j_per_frame`` say the same energy in another way.
        receive_w: The same of receiving.
        send_j_per_mb: Above idle, for 10**6 bytes sent on TCP; without what their packets cost
            where ``j_per_frame`` is known, else with it.
        receive_j_per_mb: The same of bytes received.
        j_per_frame: Above idle, for each network packet sent or received, however small. Packets
            are those that bytes on TCP fill, 1448 each (``slfac.wire.meter.packets``);
            acknowledgements are not counted.
    """

    name: str
    note: str = ""
    up_mbits: Value | None = None
    down_mbits: Value | None = None
    rtt_ms: Value | None = None
    send_w: Power | None = None
    receive_w: Power | None = None
    send_j_per_mb: Value | None = None
    receive_j_per_mb: Value | None = None
    j_per_frame: Value | None = None

    @property
    def label(self) -> str:
        """Its name among its like."""
        return self.name


class Sensor(_Table, frozen=True):
    """What measures the board, as ``slfac profile sensors`` calls it.

    Attributes:
        driver: The driver of ``slfac.device.energy``.
        scope: What its power is the power of.
        total: Rails that add up to the whole.
        note: What a reader must know.
        max_hz: How often the total can be read.
        step_w: Smallest difference that it can show.
        gain: What its power is multiplied with to get the board's; 1 is not assumed.
        offset_w: What is added then.
        gain_scope: What the power is the power of once that is done.
    """

    driver: str
    scope: Scope
    total: tuple[str, ...] = ()
    note: str = ""
    max_hz: Value | None = None
    step_w: Value | None = None
    gain: Value | None = None
    offset_w: Value | None = None
    gain_scope: Literal["board", "wall"] = "board"

    @property
    def label(self) -> str:
        """Its name among its like."""
        return self.driver


class Provenance(_Table, frozen=True):
    """How the profile came about.

    Attributes:
        origin: ``published``: put together from what others have published, each value with its
            own source; ``measured``: by one run on one board.
        date: When: ``2026-04-30``.
        command: What made it.
        runs: Repetitions.
        throttled: Whether the board's clock was held down meanwhile; None where not known.
        machine: The board and its system: ``processor``, ``cores``, ``memory``, ``system``.
        versions: Of ``slfac``, ``python``, ``onnxruntime``, ``numpy`` and what else matters.
        note: What a reader must know.
    """

    origin: Literal["published", "measured"]
    date: str
    command: str = ""
    runs: int | None = None
    throttled: bool | None = None
    machine: dict[str, str] = {}
    versions: dict[str, str] = {}
    note: str = ""


class Profile(_Table, frozen=True):
    """What is known about a board.

    Attributes:
        schema: The version of these tables.
        board: Which board it is.
        provenance: How the profile came about.
        hardware: What does not depend on a power mode.
        modes: What depends on the power mode.
        links: Ways to the network.
        sensors: What measures it.
    """

    schema: int
    board: Board
    provenance: Provenance
    hardware: Hardware = Hardware()
    modes: tuple[Mode, ...] = msgspec.field(default=(), name="mode")
    links: tuple[Link, ...] = msgspec.field(default=(), name="link")
    sensors: tuple[Sensor, ...] = msgspec.field(default=(), name="sensor")

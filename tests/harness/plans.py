"""Boards and fronts of which times can be worked out by hand."""

from slfac.hw_profiles import Power, Profile, Value
from slfac.hw_profiles.fit import Timed
from slfac.hw_profiles.schema import (
    SCHEMA,
    Board,
    CodecCost,
    Compute,
    FrontCost,
    Hardware,
    Link,
    MemoryCost,
    Mode,
    PhaseCost,
    Provenance,
)
from slfac.hw_profiles.work import work_of
from slfac.wire.costs import Costs, Layer

SLFAC = "slfac:theta=0.9,bmin=2,bmax=8,rule=b"


def value(number, low=None, high=None, kind="measured"):
    return Value(value=number, low=low, high=high, kind=kind, source="a test")


def power(number, low=None, high=None, scope="board"):
    return Power(value=number, low=low, high=high, kind="measured", source="a test", scope=scope)


def layer(kind="conv", flop=1_000_000, moved=1_000, weights=400, name="a"):
    backward = {"forward_flop": flop, "backward_flop": 2 * flop}
    return Layer(
        name=name,
        kind=kind,
        forward_bytes=moved,
        backward_bytes=2 * moved,
        weight_bytes=weights,
        **backward,
    )


def costs(*layers, residual=1_000):
    return Costs(layers=layers or (layer(),), residual_bytes=residual)


def made(origin="measured"):
    return Provenance(
        origin=origin,
        date="2026",
        command="x",
        runs=5,
        machine={"processor": "x"},
        versions={"slfac": "0"},
    )


def phases(gflops=10.0, spread=0.5, threads=1, **powers):
    """Forward, backward and update, at one speed; what they draw by name."""
    found = []
    for name in ("forward", "backward", "update"):
        speeds = {}
        if name != "update":
            same = ("conv_gflops", "depthwise_gflops", "matmul_gflops")
            speeds = {field: value(gflops, kind="calibrated") for field in same}
        found.append(
            PhaseCost(
                name=name,
                threads=threads,
                t0_ms=value(1.0, kind="calibrated"),
                gbs=value(1.0, kind="calibrated"),
                spread=value(spread, kind="calibrated"),
                dynamic_w=powers.get(name),
                **speeds,
            )
        )
    return tuple(found)


def codecs():
    return tuple(
        CodecCost(spec=spec, threads=1, encode_mbs=value(mbs), decode_mbs=value(2 * mbs))
        for spec, mbs in (("none", 1000.0), ("fp16", 500.0), (SLFAC, 50.0))
    )


def profile(origin="measured", links=(), cores=4.0, memcpy=2.0, **mode):
    return Profile(
        schema=SCHEMA,
        board=Board(name="board", title="A board"),
        provenance=made(origin),
        hardware=Hardware(cores=value(cores), memcpy_gbs=value(memcpy)),
        modes=(Mode(name="default", **mode),),
        links=links,
    )


def measured_board(**more):
    """A board that has measured everything."""
    link = Link(
        name="wifi",
        up_mbits=value(40.0, 36.0, 44.0),
        down_mbits=value(80.0, 72.0, 88.0),
        rtt_ms=value(2.0, 1.0, 3.0),
        send_j_per_mb=value(1.0, 0.9, 1.1),
        receive_j_per_mb=value(0.5, 0.4, 0.6),
    )
    memory = MemoryCost(
        base_mib=value(50.0), per_weight=value(4.0), per_residual=value(2.0), spread=value(0.2)
    )
    fields = {
        "fronts": (FrontCost(model="x", cut="z", device="cpu", batch=1, threads=1),),
        "phases": phases(forward=power(2.0, 1.8, 2.2), backward=power(2.5, 2.3, 2.7)),
        "codecs": codecs(),
        "memories": (memory,),
        "idle_w": power(2.0, 1.9, 2.1),
        "active_w": power(6.0, 5.9, 6.1),
        "compute": (gemm(40.0, "fp64", 1),),
        "links": (link,),
    }
    return profile(**{**fields, **more})


def gemm(gflops, dtype, threads, workload="gemm"):
    return Compute(
        device="cpu", dtype=dtype, workload=workload, threads=threads, gflops=value(gflops)
    )


def timed(front, batch, gflops=10.0, gbs=5.0, t0_ms=0.5):
    """A front's times on a board of those speeds, without noise."""
    times = []
    for phase in ("forward", "backward", "update"):
        work = work_of(front, batch, phase)
        times.append(t0_ms + 1e3 * work.gflop / gflops + 1e3 * work.gb / gbs)
    return Timed(front, batch, *times)

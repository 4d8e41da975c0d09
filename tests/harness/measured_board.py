"""A measurement of a made-up board, as tests of its profile and its report take it."""

from slfac.device.energy.conditions import Conditions
from slfac.device.profiling.record import (
    SCHEMA,
    BoardFacts,
    FrontFacts,
    Interval,
    LeftOut,
    LinkFacts,
    PhaseJoules,
    Readings,
    Record,
    Repetition,
    Section,
    SensorFacts,
)
from slfac.device.profiling.settings import profile_settings

NUMBERS = (0.98, 1.0, 1.02, 0.99, 1.01)


def interval(value, half):
    return Interval(value=value, low=value - half, high=value + half)


SENSOR = SensorFacts(
    name="jetson",
    kind="jetson",
    scope="module",
    total=("VDD_IN",),
    place="ina3221 1-0040",
    note="",
    counted=False,
    reads=970,
    failures=2,
    error="EIO",
    lost_s=None,
    cpu_s=0.4,
)
FRONT = FrontFacts(
    name="cut1",
    bundle="0123456789abcdef",
    model="cnn",
    cut="pool1",
    input_shape=(1, 28, 28),
    smashed_shapes=((16, 14, 14),),
    parameters=160,
    batch=32,
    data="seeded noise",
    peak_bytes=(90 << 20, 91 << 20, 90 << 20, 90 << 20, 91 << 20),
)
LINK = LinkFacts(
    name="wifi",
    peer="tcp://10.0.0.5:5566",
    interface="wlan0",
    runs=5,
    note="",
    up_mbits=interval(42.0, 3.0),
    down_mbits=interval(51.0, 2.0),
    rtt_ms=interval(3.1, 0.4),
)


def conditions(**changes):
    values = {
        "temperatures_c": {"cpu-thermal": 48.2},
        "clocks_mhz": {"policy0": 1500.0},
        "governors": {"policy0": "schedutil"},
        "throttled_now": (),
        "throttled_since_boot": (),
        "overcurrents": None,
        "power_mode": "2 (MAXN_SUPER)",
    }
    return Conditions(**{**values, **changes})


def repetitions(begin_s, *, watts=None, seconds=None, count=10, throttled=False):
    """Five of one second, each a little faster or slower than the others."""
    return tuple(
        Repetition(
            begin_s=begin_s + n,
            end_s=begin_s + n + scale,
            count=count,
            seconds={name: scale * value for name, value in (seconds or {}).items()},
            throttled=throttled,
            watts=None if watts is None else watts * scale,
        )
        for n, scale in enumerate(NUMBERS)
    )


def phase(name, seconds, watts, idle_w=2.5, unresolved=""):
    if unresolved:
        return PhaseJoules(phase=name, seconds_per_step=seconds, unresolved=unresolved)
    return PhaseJoules(
        phase=name,
        seconds_per_step=seconds,
        joules_per_step=interval(seconds * watts, 0.02 * seconds),
        above_idle_joules_per_step=interval(seconds * (watts - idle_w), 0.04 * seconds),
        watts=interval(watts, 0.02),
    )


def _spans(begin_s):
    """Five steps of 100 ms."""
    starts = [begin_s + 0.1 * n for n in range(5)]
    return {
        "forward": tuple((start, start + 0.03) for start in starts),
        "backward": tuple((start + 0.03, start + 0.09) for start in starts),
        "update": tuple((start + 0.09, start + 0.1) for start in starts),
        "step": tuple((start, start + 0.1) for start in starts),
    }


def sections(sensor=True):
    """Idle, two products, memory, a front and a codec on it, idle; 5 s each and 1 s between."""

    def of(kind, label, number, watts, **fields):
        seconds = fields.pop("seconds", None)
        begin_s = 6.0 * number
        return Section(
            kind=kind,
            label=label,
            begin_s=begin_s,
            end_s=begin_s + 5.5,
            repetitions=repetitions(begin_s, watts=watts if sensor else None, seconds=seconds),
            **fields,
        )

    front = {
        "energy": (
            phase("forward", 0.03, 6.5),
            phase("backward", 0.06, 7.5),
            phase("update", 0.01, 4.5, unresolved="its interval is too wide"),
        ),
        "step": phase("step", 0.1, 7.0),
        "left_out": (LeftOut(what="readings", amount=3, why="before the first stamp"),),
    }
    codec = {"energy": (phase("encode", 0.02, 5.0), phase("decode", 0.01, 5.5))}
    times = {"forward": 0.3, "backward": 0.6, "update": 0.1}
    return (
        of("idle", "idle before", 0, 2.5),
        of("gemm", "matrix product fp32, 1 thread", 1, 5.0, dtype="fp32", threads=1, amount=2e9),
        of("gemm", "matrix product fp32, 4 threads", 2, 8.0, dtype="fp32", threads=4, amount=2e9),
        of("copy", "memory copied", 3, 4.0, threads=1, amount=1e9),
        of("set", "memory set", 4, 4.0, threads=1, amount=2e9),
        of(
            *("front", "front cut1", 5, 7.0),
            front=0,
            threads=1,
            seconds=times,
            spans=_spans(31.0),
            **(front if sensor else {}),
        ),
        of(
            *("codec", "codec slfac on cut1", 6, 5.2),
            front=0,
            threads=1,
            codec="slfac",
            amount=2e6,
            payload_bytes=200_000,
            seconds={"encode": 0.6, "decode": 0.3},
            **(codec if sensor else {}),
        ),
        of("idle", "idle after", 7, 2.5),
    )


def record(sensor=True, **changes):
    """All of it; without a sensor, times only."""
    t = tuple(0.05 * n for n in range(1, 960))
    values = {
        "schema": SCHEMA,
        "command": "slfac profile run --bundle cut1 --out board.toml",
        "date": "2026-11-23T10:00:00+00:00",
        "seconds": 48.0,
        "board": BoardFacts(
            name="orin-nano",
            title="NVIDIA Jetson Orin Nano Developer Kit",
            model="NVIDIA Jetson Orin Nano Developer Kit",
            model_match="Orin Nano",
        ),
        "machine": {"processor": "Cortex-A78AE", "cores": "6", "memory": "7620 MiB"},
        "versions": {"slfac": "0.1.0", "python": "3.10.12", "numpy": "2.2.6"},
        "settings": {
            name: ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            for name, value in (
                (name, getattr(profile_settings(), name))
                for name in profile_settings().__struct_fields__
            )
        },
        "before": conditions(),
        "after": conditions(temperatures_c={"cpu-thermal": 61.0}),
        "sensor": SENSOR if sensor else None,
        "notes": ("batches were seeded noise",) if sensor else ("no sensor: times only",),
        "fronts": (FRONT,),
        "sections": sections(sensor),
        "readings": Readings(
            t_s=t,
            window_s=(0.01,) * len(t),
            watts=tuple(2.5 + (n % 7) for n in range(len(t))),
        )
        if sensor
        else Readings(),
        "link": LINK,
    }
    return Record(**{**values, **changes})

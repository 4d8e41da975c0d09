"""Measures how far computing and sending overlap: a step in parts, over a paced link.

For M parts, front forward F, uplink U, server S, downlink D and front backward B, a step may take
``max(F + B, U, S, D) + (F + U + S + D + B - max) / M + RTT``: the busiest of them works all the
time, and the others show only in the first and last parts.
"""

from __future__ import annotations

import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct
from rich.console import Console

from slfac.export import export_bundle
from slfac.testbed.bench.images import noise_images
from slfac.testbed.bench.overlap_table import print_overlap
from slfac.testbed.bench.progress import moving_bar
from slfac.testbed.bench.result import now, write_measurements
from slfac.testbed.link import LinkRate, parse_link
from slfac.testbed.local import LocalRun, run_local
from slfac.testbed.paced import PacedRelay
from slfac.wire.errors import SettingsError
from slfac.wire.messages import MAX_PARTS

MODEL, CUT, INPUT_SHAPE = "cnn", "pool1", (1, 64, 64)
_CLASSES = 10
_OPTIMIZER = "sgd:lr=0.01,momentum=0.9"
# The first steps of a process are slower than all others.
_WARM_UP = 3
_FEWEST_STEPS = 6
_MOST_STEPS = 1000
_PINGS = 20


class OverlapMeasurement(Struct, frozen=True, kw_only=True):
    """Steps of one kind over one link; times are lower quartiles over the steps.

    Attributes:
        link: Rate of the link, both ways.
        codec: Codec both ways.
        micro_batches: Parts of a step that are trained one by one.
        stream_blocks: Parts of a step that are trained as one.
        step_ms: The device's time for a step.
        bound_ms: What the formula allows a step in so many parts, from the times of a step
            in one part.
        ratio: ``step_ms`` over that.
        gain: Time of a step in one part over ``step_ms``.
        front_ms: The device's own work: loading, passes, codecs, optimiser.
        up_ms: Bytes to the server over the link's rate.
        server_ms: Decoding, training, encoding.
        down_ms: Bytes from the server over the link's rate.
        wait_ms: What the device spent handing bytes over and waiting.
    """

    link: str
    codec: str
    micro_batches: int
    stream_blocks: int
    step_ms: float
    bound_ms: float
    ratio: float
    gain: float
    front_ms: float
    up_ms: float
    server_ms: float
    down_ms: float
    wait_ms: float


@dataclass(frozen=True, kw_only=True)
class OverlapSettings:
    """What to measure.

    Attributes:
        links: Rates of the link, such as ``20Mbit``.
        codecs: Specs of the codecs, both ways.
        parts: Numbers of micro-batches, beside 1.
        blocks: Numbers of blocks.
        delay_ms: Of the link, one way.
        batch_size: Samples of a step.
        steps: Steps of a run.
        seed: Of weights, images and batches.
        json: File to write all figures to; None for none.
        command: The command line, for that file.
    """

    links: tuple[str, ...] = ("2Mbit", "5Mbit", "20Mbit")
    codecs: tuple[str, ...] = ("slfac",)
    parts: tuple[int, ...] = (2, 4, 8)
    blocks: tuple[int, ...] = (4,)
    delay_ms: float = 10.0
    batch_size: int = 32
    steps: int = 25
    seed: int = 0
    json: Path | None = None
    command: str = ""


def run_overlap_bench(settings: OverlapSettings, console: Console) -> list[OverlapMeasurement]:
    """Measure, print a table, and write the JSON file.

    Args:
        settings: What to measure.
        console: Where to show it.

    Returns:
        The figures, link by link.

    Raises:
        SettingsError: A setting is out of range.
        RunError: A run failed, or the JSON file cannot be written.
    """
    _check(settings)
    date = now()
    found: list[OverlapMeasurement] = []
    cases = len(settings.links) * len(settings.codecs)
    total = cases * (1 + len(settings.parts) + len(settings.blocks))
    with (
        tempfile.TemporaryDirectory(prefix="slfac-bench-") as folder,
        moving_bar(console, "bench", total=total) as advance,
    ):
        for one in measure_overlap(settings, Path(folder)):
            found.append(one)
            advance(f"{one.link} {one.codec}")
    print_overlap(found, console)
    facts = {
        "model": MODEL,
        "cut": CUT,
        "input_shape": INPUT_SHAPE,
        "delay_ms": settings.delay_ms,
        "batch_size": settings.batch_size,
        "steps": settings.steps,
        "seed": settings.seed,
    }
    write_measurements(settings, found, date=date, facts=facts, console=console)
    return found


def measure_overlap(settings: OverlapSettings, folder: Path) -> Iterator[OverlapMeasurement]:
    """Run one device against a server over each link, in parts of each number.

    Args:
        settings: What to measure.
        folder: Where runs are written.

    Yields:
        One measurement a run; of each link and codec first that of steps in one part.

    Raises:
        RunError: A run failed.
    """
    bundle = folder / "bundle"
    export_bundle(
        model=MODEL,
        kwargs={},
        cut=CUT,
        input_shape=INPUT_SHAPE,
        num_classes=_CLASSES,
        seed=settings.seed,
        out=bundle,
    )
    data = _images(folder / "images", settings)
    for link in settings.links:
        rate = parse_link(link)
        paced = LinkRate(rate.up_bit_per_s, rate.down_bit_per_s, settings.delay_ms / 1e3)
        rtt_ms = _round_trip_ms(paced)
        for codec in settings.codecs:
            whole: _Times | None = None
            ways = [(1, 1), *((n, 1) for n in settings.parts), *((1, n) for n in settings.blocks)]
            for micro_batches, stream_blocks in ways:
                run = LocalRun(
                    bundle=bundle,
                    data=data,
                    out=folder / "run",
                    devices=1,
                    rounds=1,
                    steps_per_round=settings.steps,
                    batch_size=settings.batch_size,
                    optimizer=_OPTIMIZER,
                    codec_up=codec,
                    codec_down=codec,
                    partition="own",
                    seed=settings.seed,
                    server_threads=1,
                    torch_device="cpu",
                    micro_batches=micro_batches,
                    stream_blocks=stream_blocks,
                    links=(paced,),
                )
                times = _times(run_local(run, _silent), rate)
                whole = whole or times
                bound_ms = whole.bound_ms(micro_batches, rtt_ms)
                yield OverlapMeasurement(
                    link=link,
                    codec=codec,
                    micro_batches=micro_batches,
                    stream_blocks=stream_blocks,
                    step_ms=round(times.step_ms, 3),
                    bound_ms=round(bound_ms, 3),
                    ratio=round(times.step_ms / bound_ms, 4),
                    gain=round(whole.step_ms / times.step_ms, 4),
                    front_ms=round(times.front_ms, 3),
                    up_ms=round(times.up_ms, 3),
                    server_ms=round(times.server_ms, 3),
                    down_ms=round(times.down_ms, 3),
                    wait_ms=round(times.wait_ms, 3),
                )


@dataclass(frozen=True)
class _Times:
    """Lower quartiles over the steps of a run: other programs make steps slower, never quicker."""

    step_ms: float
    front_ms: float
    up_ms: float
    server_ms: float
    down_ms: float
    wait_ms: float

    def bound_ms(self, parts: int, rtt_ms: float) -> float:
        stages = (self.front_ms, self.up_ms, self.server_ms, self.down_ms)
        busiest = max(stages)
        return busiest + (sum(stages) - busiest) / parts + rtt_ms


def _times(events: Sequence[dict[str, Any]], rate: LinkRate) -> _Times:
    steps = [event for event in events if event["event"] == "step"][_WARM_UP:]
    rows = []
    for step in steps:
        phases = step["phase_ms"]
        wait_ms = phases["send"] + phases["wait"]
        rows.append(
            (
                step["step_ms"],
                sum(phases.values()) - wait_ms,
                step["bytes_up"] * 8e3 / rate.up_bit_per_s,
                sum(step["server_ms"].values()),
                step["bytes_down"] * 8e3 / rate.down_bit_per_s,
                wait_ms,
            )
        )
    return _Times(*(statistics.quantiles(column)[0] for column in zip(*rows, strict=True)))


def _images(folder: Path, settings: OverlapSettings) -> Path:
    return noise_images(
        folder,
        size=INPUT_SHAPE[1:],
        classes=_CLASSES,
        train=4 * settings.batch_size,
        test=20,
        seed=settings.seed,
    )


def _round_trip_ms(link: LinkRate) -> float:
    """Least time for a byte there and back over a link with nothing else on it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=_answer, args=(listener,), daemon=True)
        answering.start()
        with PacedRelay(f"tcp://127.0.0.1:{listener.getsockname()[1]}", [link]) as relay:
            port = int(relay.addresses[0].rsplit(":", 1)[1])
            with socket.create_connection(("127.0.0.1", port)) as device:
                device.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                taken_s = []
                for _ in range(_PINGS):
                    start_s = time.perf_counter()
                    device.sendall(b"?")
                    device.recv(1)
                    taken_s.append(time.perf_counter() - start_s)
        answering.join()
    return 1e3 * min(taken_s)


def _answer(listener: socket.socket) -> None:
    server, _ = listener.accept()
    with server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while asked := server.recv(1):
            server.sendall(asked)


def _silent(event: dict[str, Any]) -> None:
    del event


def _check(settings: OverlapSettings) -> None:
    for link in settings.links:
        parse_link(link)
    for name in ("parts", "blocks"):
        for value in getattr(settings, name):
            if not 2 <= value <= min(MAX_PARTS, settings.batch_size):
                raise SettingsError(
                    f"setting {name} holds {value}", f"use 2 to {MAX_PARTS}, and to the batch size"
                )
    if not _FEWEST_STEPS <= settings.steps <= _MOST_STEPS:
        raise SettingsError(
            f"setting steps is {settings.steps}", f"use {_FEWEST_STEPS} to {_MOST_STEPS}"
        )
    if not 0 <= settings.delay_ms <= 1e4:
        raise SettingsError(f"setting delay_ms is {settings.delay_ms:g}", "use 0 to 10000")

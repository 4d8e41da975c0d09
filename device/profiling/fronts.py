"""Fronts, and codecs on what they give."""

from __future__ import annotations

from slfac.codec import Buffer, StreamKey, decode, make_codec
from slfac.device.profiling.bench import Bench
from slfac.device.profiling.record import Section
from slfac.device.profiling.trial import Tried


def measure_front(bench: Bench, index: int, tried: Tried) -> Section:
    """Make training steps without a server: load, forward, backward, update.

    Args:
        bench: How things are measured.
        index: Which of the fronts it is.
        tried: The front.
    """
    steps = tried.steps(bench.settings)
    loads = bench.settings.data is not None

    def step() -> None:
        if loads:
            with bench.phase("load"):
                steps.load()
        with bench.phase("forward"):
            steps.forward()
        with bench.phase("backward"):
            steps.backward()
        with bench.phase("update"):
            steps.update()

    section = Section(
        kind="front",
        label=f"front {tried.facts.name}",
        begin_s=0.0,
        end_s=0.0,
        front=index,
        threads=bench.settings.threads,
    )
    return bench.measure(section, step)


def measure_codec(bench: Bench, index: int, tried: Tried, spec: str) -> Section:
    """Encode and decode what a front gives for a batch.

    Args:
        bench: How things are measured.
        index: Which of the fronts it is.
        tried: The front.
        spec: The codec.
    """
    steps = tried.steps(bench.settings)
    steps.load()
    steps.forward()
    smashed = steps.smashed
    # One codec a stream, as in training: some remember what they have sent.
    codecs = [make_codec(spec) for _ in smashed]
    made = 0
    payloads: list[Buffer] = []

    def step() -> None:
        nonlocal made, payloads
        with bench.phase("encode"):
            payloads = [
                codec.encode(z, key=StreamKey(bench.settings.seed, step=made, layer=layer))
                for layer, (codec, z) in enumerate(zip(codecs, smashed, strict=True))
            ]
        with bench.phase("decode"):
            for payload, z in zip(payloads, smashed, strict=True):
                decode(payload, max_values=z.size)
        made = (made + 1) % 2**32

    step()
    section = Section(
        kind="codec",
        label=f"codec {spec} on {tried.facts.name}",
        begin_s=0.0,
        end_s=0.0,
        front=index,
        codec=spec,
        threads=bench.settings.threads,
        amount=float(sum(z.nbytes for z in smashed)),
        payload_bytes=sum(len(payload) for payload in payloads),
    )
    return bench.measure(section, step)

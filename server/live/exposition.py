"""The run's metrics in the format that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.message import Message

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from slfac.server.ledger import PHASES
from slfac.server.live.device import SERVER_PHASES, DevicePicture, Sums
from slfac.server.live.links import Links, ReadLinks
from slfac.server.live.page import Cached
from slfac.server.live.picture import Picture
from slfac.server.live.web import Answer, Route

_LABELS = ("device",)
# No scraper gets more of the server's time by asking more often.
_EVERY_S = 0.5
_SCORES = {
    "train_loss": ("slfac_round_train_loss", "Mean training loss of the last finished round"),
    "loss": ("slfac_test_loss", "Loss on the test data after the last finished round"),
    "accuracy": ("slfac_accuracy", "Accuracy on the test data after the last finished round"),
    "balanced_accuracy": ("slfac_balanced_accuracy", "Mean of the classes' recalls, likewise"),
    "participation": ("slfac_participation", "Mean share of the devices that a training had"),
    "lr_share": ("slfac_learning_rate_share", "What the schedule multiplied learning rates with"),
}
_WHAT = {
    "load": "reading and preprocessing its batch",
    "forward": "running the forward graph",
    "encode": "encoding smashed data",
    "send": "handing the request to the socket",
    "wait": "waiting for the whole reply",
    "decode": "decoding the gradient",
    "backward": "running the backward graph",
    "update": "its optimiser's step",
}


class RunCollector(Collector):
    """Metrics of one run, made when they are asked for.

    Args:
        picture: The run.
        read_links: Reads the sockets' counts.
    """

    def __init__(self, picture: Picture, read_links: ReadLinks) -> None:
        self._picture = picture
        self._read_links = read_links

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        links = self._read_links()
        with self._picture.lock:
            devices = list(self._picture.devices.values())
            families = [
                *_run(self._picture),
                *_links(links, devices),
                *_counts(devices),
                *_phases(devices),
                *_energy(devices),
            ]
        yield from families


def metrics_routes(picture: Picture, read_links: ReadLinks) -> dict[str, Route]:
    """What answers a Prometheus server.

    Args:
        picture: The run.
        read_links: Reads the sockets' counts.
    """
    registry = CollectorRegistry()
    registry.register(RunCollector(picture, read_links))
    ProcessCollector(registry=registry)
    text = Cached(lambda: generate_latest(registry), _EVERY_S)

    def answer(_: Message) -> Answer:
        return Answer(CONTENT_TYPE_PLAIN_0_0_4, text.get())

    return {"/metrics": answer}


def _run(picture: Picture) -> Iterable[Metric]:
    facts, settings = picture.facts, picture.facts.get("settings", {})
    told = {name: str(facts.get(name, "")) for name in ("run", "model", "cut", "slfac")}
    told |= {name: str(settings.get(name, "")) for name in ("codec_up", "codec_down")}
    yield InfoMetricFamily("slfac_run", "What is trained", value=told)
    yield _gauge("slfac_running", "1 while the run goes on", int(not picture.ended))
    yield CounterMetricFamily("slfac_rounds", "Finished rounds", value=picture.rounds)
    planned = settings.get("rounds", 0)
    yield _gauge("slfac_rounds_planned", "Rounds that the run is to have", planned)
    seconds = picture.round_time
    yield SummaryMetricFamily(
        "slfac_round_seconds",
        "How long a round took",
        count_value=seconds.count,
        sum_value=seconds.sum / 1e3,
    )
    for field, (name, what) in _SCORES.items():
        if (value := picture.last_round.get(field)) is not None:
            yield _gauge(name, what, value)


def _links(links: Links, devices: Iterable[DevicePicture]) -> Iterable[Metric]:
    up = CounterMetricFamily("slfac_bytes_up", "Bytes received", labels=_LABELS)
    down = CounterMetricFamily("slfac_bytes_down", "Bytes sent", labels=_LABELS)
    wide_up = CounterMetricFamily(
        "slfac_float32_bytes_up", "The same with smashed data as float32", labels=_LABELS
    )
    wide_down = CounterMetricFamily(
        "slfac_float32_bytes_down", "The same with gradients as float32", labels=_LABELS
    )
    connected = GaugeMetricFamily("slfac_device_connected", "1 while it is", labels=_LABELS)
    for device in devices:
        labels, name = [device.name], device.name
        up_bytes, down_bytes = links.bytes_up.get(name, 0), links.bytes_down.get(name, 0)
        up.add_metric(labels, up_bytes)
        down.add_metric(labels, down_bytes)
        wide_up.add_metric(labels, up_bytes + device.saved_up)
        wide_down.add_metric(labels, down_bytes + device.saved_down)
        connected.add_metric(labels, int(name in links.connected))
    yield from (up, down, wide_up, wide_down, connected)
    yield _gauge("slfac_devices_connected", "Devices with a connection", len(links.connected))
    refused = "Connections refused for their key"
    yield CounterMetricFamily("slfac_refused_keys", refused, value=links.refused_keys)
    messages = CounterMetricFamily(
        "slfac_refused_messages", "Messages refused, by what was wrong", labels=["cause"]
    )
    for cause, count in links.refused.items():
        messages.add_metric([cause], count)
    yield messages


def _counts(devices: Iterable[DevicePicture]) -> Iterable[Metric]:
    steps = CounterMetricFamily("slfac_steps", "Steps", labels=_LABELS)
    samples = CounterMetricFamily("slfac_samples", "Samples trained on", labels=_LABELS)
    loss = GaugeMetricFamily("slfac_loss", "Loss of the last step", labels=_LABELS)
    training = GaugeMetricFamily("slfac_device_training", "1 while it trains", labels=_LABELS)
    for device in devices:
        labels = [device.name]
        steps.add_metric(labels, device.steps)
        samples.add_metric(labels, device.samples)
        training.add_metric(labels, int(device.state == "training"))
        if device.loss is not None:
            loss.add_metric(labels, device.loss)
    yield from (steps, samples, loss, training)
    stale = [(device.name, device.staleness) for device in devices if device.staleness.count]
    if stale:
        yield _summary("slfac_staleness", "Trainings that a step was behind", stale, 1)


def _phases(devices: list[DevicePicture]) -> Iterable[Metric]:
    whole = [(device.name, device.whole) for device in devices]
    yield _summary("slfac_step_seconds", "A device's whole step", whole)
    for phase in PHASES:
        pairs = [(device.name, device.phases[phase]) for device in devices]
        yield _summary(f"slfac_{phase}_seconds", f"A device's step: {_WHAT[phase]}", pairs)
    for phase in SERVER_PHASES:
        pairs = [(device.name, device.server[phase]) for device in devices]
        yield _summary(f"slfac_server_{phase}_seconds", f"A step on the server: {phase}", pairs)


def _energy(devices: list[DevicePicture]) -> Iterable[Metric]:
    """What is known; adding up different scopes would mean nothing, so each is labelled."""
    joules = CounterMetricFamily(
        "slfac_joules", "Energy that readings cover", labels=("device", "scope")
    )
    missing = CounterMetricFamily(
        "slfac_joules_missing_seconds",
        "Seconds of which no energy is known",
        labels=("device", "scope"),
    )
    for device in devices:
        for scope, spent in device.energy.spent.items():
            missing.add_metric([device.name, scope], spent.missing_s)
        for scope, spent in device.energy.seen.items():
            joules.add_metric([device.name, scope], spent.joules)
    yield from (family for family in (joules, missing) if family.samples)


def _summary(name: str, what: str, pairs: Iterable[tuple[str, Sums]], unit: float = 1e-3) -> Metric:
    family = SummaryMetricFamily(name, what, labels=_LABELS)
    for device, spent in pairs:
        family.add_metric([device], spent.count, spent.sum * unit)
    return family


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)

"""What a report is made from: the measurements of one training run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

PHASES = ("load", "forward", "encode", "send", "wait", "decode", "backward", "update")
"""The phases of a device's training step, in order."""


class RoundPoint(Struct, frozen=True, kw_only=True):
    """Where a run stood when a round ended; bytes and seconds count from its start.

    Attributes:
        round: Which round, from 1.
        accuracy: Share of test samples classified right, in [0, 1]; None where it was not
            scored.
        loss: Mean training loss of the round; None where it is not finite.
        seconds: Wall time since training began.
        bytes_up: Devices to server, all devices, every frame and header at the socket API.
        bytes_down: Server to devices, counted alike.
        float32_bytes_up: ``bytes_up`` with the tensors at the cut sent as float32.
        float32_bytes_down: ``bytes_down``, likewise.
        balanced_accuracy: Mean of the classes' recalls, in [0, 1]; None where it was not
            scored, as in files of older releases.
        test_loss: Mean loss of the test samples; None likewise.
        joules: Scope -> energy of all devices since the run began; of a scope that is unknown
            for a device in a round, nothing is said from there on.
    """

    round: int
    accuracy: float | None
    loss: float | None
    seconds: float
    bytes_up: int
    bytes_down: int
    float32_bytes_up: int
    float32_bytes_down: int
    balanced_accuracy: float | None = None
    test_loss: float | None = None
    joules: dict[str, float] = {}


class DeviceReport(Struct, frozen=True, kw_only=True):
    """One device's part in a run.

    Attributes:
        name: Its name.
        samples: Training samples it held.
        torch_imported: Whether its process ever imported torch.
        peak_rss_mb: Largest resident set of its process, in MB (1e6 bytes).
        bytes_up: Sent, at the socket API.
        bytes_down: Received, at the socket API.
        steps: Training steps it took.
        phase_ms: Phase -> milliseconds, summed over all its steps; see :data:`PHASES`.
        provider: What computed its front; empty where it did not say.
        joules: Scope -> energy that readings of its sensor cover; empty without one.
        wire_bytes_up: ``bytes_up`` plus ZMTP framing and CURVE encryption; None in files of
            older releases, and of a device that the server has said nothing of.
        wire_bytes_down: Likewise.
        late: Steps that were made without it; None likewise.
        refused: How many of its messages were refused, by cause.
        clock_offset_ms: By how much the server's clock was ahead of its own at last; None where
            that is not known.
    """

    name: str
    samples: int
    torch_imported: bool
    peak_rss_mb: float
    bytes_up: int
    bytes_down: int
    steps: int
    phase_ms: dict[str, float]
    provider: str = ""
    joules: dict[str, float] = {}
    wire_bytes_up: int | None = None
    wire_bytes_down: int | None = None
    late: int | None = None
    refused: dict[str, int] = {}
    clock_offset_ms: float | None = None


class Fault(Struct, frozen=True, kw_only=True):
    """Something that went wrong in a run, or that was done to it.

    Attributes:
        at_s: When, from the run's start.
        who: The device, or ``server``; empty for the whole run.
        what: What happened, in a few words.
        recovered_s: After how long it went on as before; None where it did not, or nothing
            had to recover.
        injected: Whether it was done on purpose, by whoever carried the run out.
    """

    at_s: float
    who: str
    what: str
    recovered_s: float | None = None
    injected: bool = False


class Table(Struct, frozen=True, kw_only=True):
    """A table that whoever carried the run out has added, such as of its network.

    Attributes:
        title: Its heading.
        columns: The columns' headings.
        rows: Cells of each row, as many as there are columns.
        note: A line below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


class Published(Struct, frozen=True, kw_only=True):
    """A figure that others have published of a run's setting, as far as that is known.

    Attributes:
        label: Whose it is, and of what.
        round: After which round it was reached, from 1.
        accuracy: Test accuracy in [0, 1].
    """

    label: str
    round: int
    accuracy: float


class RunReport(Struct, frozen=True, kw_only=True):
    """One training run; ``report.json`` is this structure.

    Attributes:
        accuracy: Test accuracy after the last round, in [0, 1]; None where it was not scored.
        accuracy_by_round: The same after each round.
        loss_by_round: Mean training loss of each round.
        bytes_up: Devices to server, every frame and header at the socket API.
        bytes_down: Server to devices, counted alike.
        float32_bytes_up: ``bytes_up`` with the tensors at the cut sent as float32.
        float32_bytes_down: ``bytes_down``, likewise.
        wire_bytes_up: ``bytes_up`` plus ZMTP framing and CURVE encryption.
        wire_bytes_down: ``bytes_down``, likewise.
        seconds: Wall time of training and evaluation.
        rounds: Rounds finished.
        devices: How many devices took part.
        codec: Spec of the codec at the cut.
        seed: The run's seed.
        model: Name of the model.
        cut: Name of the cut layer.
        dataset: Name or path of the data set.
        partition: How it was split over the devices.
        train_samples: Training samples of all devices.
        test_samples: Samples of the test set.
        versions: Package -> version.
        machine: What ran it: processor, cores, memory, system.
        date: When it began, ISO 8601.
        per_device: One entry a device, by index.
        by_round: One entry a finished round.
        balanced_accuracy: Mean of the classes' recalls after the last round, in [0, 1]; None
            where it was not scored, as in files of older releases.
        test_loss: Mean loss of the test samples after the last round; None likewise.
        recall: Share of each class's test samples classified right, None for a class
            without samples; empty where it was not scored.
        confusion: Test samples by true class (row) and predicted class (column), after the
            last round; empty where it was not scored, or has too many classes.
        finished: Whether the run came to its end.
        folder: Where it is.
        mode: Way of split learning.
        links: The devices' links as they were asked for; empty for no limit, or unknown.
        carried_out_by: What carried the devices out: ``local``, ``emulated``, ``simulated``;
            empty where it is not known.
        revision: Commit of the sources that the server was started from; empty if unknown.
        settings: What the server was told.
        faults: What went wrong, and what was done to it, in order.
        tables: Tables that whoever carried it out has added.
        notes: What is wrong with the run's folder, a line each.
        published: Figures of others that are shown beside it.
    """

    accuracy: float | None
    bytes_up: int
    bytes_down: int
    float32_bytes_up: int
    float32_bytes_down: int
    wire_bytes_up: int
    wire_bytes_down: int
    seconds: float
    rounds: int
    devices: int
    codec: str
    seed: int
    model: str
    cut: str
    dataset: str
    partition: str
    train_samples: int
    test_samples: int
    date: str
    accuracy_by_round: tuple[float | None, ...] = ()
    loss_by_round: tuple[float | None, ...] = ()
    versions: dict[str, str] = {}
    machine: dict[str, str] = {}
    per_device: tuple[DeviceReport, ...] = ()
    by_round: tuple[RoundPoint, ...] = ()
    balanced_accuracy: float | None = None
    test_loss: float | None = None
    recall: tuple[float | None, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    finished: bool = True
    folder: str = ""
    mode: str = ""
    links: tuple[str, ...] = ()
    carried_out_by: str = ""
    revision: str = ""
    settings: dict[str, Any] = {}
    faults: tuple[Fault, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()


def phases_of(devices: Iterable[DeviceReport]) -> list[str]:
    """Every phase that some device measured, in the order of a step.

    Args:
        devices: Devices of one or more runs.
    """
    measured = {phase for device in devices for phase in device.phase_ms}
    return [phase for phase in PHASES if phase in measured] + sorted(measured - {*PHASES})


VARIED = (
    *("dataset", "model", "cut", "partition", "mode", "links", "devices", "carried_out_by"),
    "codec",
)
"""What of a run is usually compared, in the order in which it is named."""
_VARIED_SETTINGS = (
    *("rounds", "steps_per_round", "batch_size", "optimizer", "device_optimizer", "schedule"),
    *("micro_batches", "stream_blocks", "precision"),
)


def varied(runs: Iterable[RunReport]) -> list[dict[str, str]]:
    """What tells runs from one another, beside their seeds.

    Args:
        runs: The runs.

    Returns:
        For each run, name -> value of what differs between some of them; what is the same in
        all is left out. Name ``codec`` is the last, where there is one.
    """
    known = [_traits(run) for run in runs]
    names = [name for name in (known[0] if known else {}) if len({k[name] for k in known}) > 1]
    return [{name: one[name] for name in names} for one in known]


def _traits(run: RunReport) -> dict[str, str]:
    values = {name: str(run.settings.get(name, "")) for name in _VARIED_SETTINGS}
    values |= {name: str(getattr(run, name)) for name in VARIED if name != "links"}
    values["links"] = ", ".join(run.links) or "no limit"
    return {**values, "codec": values.pop("codec")}


def labels_of(runs: list[RunReport]) -> list[str]:
    """A unique label for each run: its codec, what else differs, and the seed where that repeats.

    Args:
        runs: The runs of one comparison.
    """
    others = [
        [value or "unknown" for name, value in traits.items() if name != "codec"]
        for traits in varied(runs)
    ]
    known = [", ".join([run.codec, *more]) for run, more in zip(runs, others, strict=True)]
    labels = [
        label if known.count(label) == 1 else f"{label}, seed {run.seed}"
        for label, run in zip(known, runs, strict=True)
    ]
    return [
        label if labels.count(label) == 1 else f"{label} (run {number})"
        for number, label in enumerate(labels, start=1)
    ]

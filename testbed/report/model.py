"""What a report is made from: the measurements of one training run."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

PHASES = ("load", "forward", "encode", "send", "wait", "decode", "backward", "update")
"""The phases of a device's training step, in order."""


class RoundPoint(Struct, frozen=True, kw_only=True):
    """Where a run stood when a round ended; bytes and seconds count from its start.

    Attributes:
        round: Which round, from 1.
        accuracy: Share of test samples classified right, in [0, 1].
        loss: Mean training loss of the round.
        seconds: Wall time since training began.
        bytes_up: Devices to server, all devices, every frame and header at the socket API.
        bytes_down: Server to devices, counted alike.
        float32_bytes_up: ``bytes_up`` with the tensors at the cut sent as float32.
        float32_bytes_down: ``bytes_down``, likewise.
        balanced_accuracy: Mean of the classes' recalls, in [0, 1]; None where it was not
            scored, as in files of older releases.
        test_loss: Mean loss of the test samples; None likewise.
    """

    round: int
    accuracy: float
    loss: float
    seconds: float
    bytes_up: int
    bytes_down: int
    float32_bytes_up: int
    float32_bytes_down: int
    balanced_accuracy: float | None = None
    test_loss: float | None = None


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


class RunReport(Struct, frozen=True, kw_only=True):
    """One training run; ``report.json`` is this structure.

    Attributes:
        accuracy: Test accuracy after the last round, in [0, 1].
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
    """

    accuracy: float
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
    accuracy_by_round: tuple[float, ...] = ()
    loss_by_round: tuple[float, ...] = ()
    versions: dict[str, str] = {}
    machine: dict[str, str] = {}
    per_device: tuple[DeviceReport, ...] = ()
    by_round: tuple[RoundPoint, ...] = ()
    balanced_accuracy: float | None = None
    test_loss: float | None = None
    recall: tuple[float | None, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()


def phases_of(devices: Iterable[DeviceReport]) -> list[str]:
    """Every phase that some device measured, in the order of a step.

    Args:
        devices: Devices of one or more runs.
    """
    measured = {phase for device in devices for phase in device.phase_ms}
    return [phase for phase in PHASES if phase in measured] + sorted(measured - {*PHASES})


def labels_of(runs: list[RunReport]) -> list[str]:
    """A short, unique label for each run: its codec, with the seed where codecs repeat.

    Args:
        runs: The runs of one comparison.
    """
    codecs = [run.codec for run in runs]
    labels = [
        codec if codecs.count(codec) == 1 else f"{codec}, seed {run.seed}"
        for codec, run in zip(codecs, runs, strict=True)
    ]
    return [
        label if labels.count(label) == 1 else f"{label} (run {number})"
        for number, label in enumerate(labels, start=1)
    ]

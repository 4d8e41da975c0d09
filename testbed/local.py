"""One training run on this machine: a server process and device processes on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slfac.server.settings import Precision, TorchDevice
from slfac.testbed.follow import Follower
from slfac.testbed.link import LinkRate
from slfac.testbed.paced import PacedRelay
from slfac.testbed.supervisor import Supervisor
from slfac.wire.errors import RunError
from slfac.wire.keys import AllowList, new_keys

Event = dict[str, Any]
POLL_S = 0.1
_START_S = 120.0
_END_S = 60.0
METRICS_NAME = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class LocalRun:
    """What to run.

    Attributes:
        bundle: The bundle to train.
        data: Data set with train and test split.
        out: Folder of the run; an earlier run in it is replaced.
        devices: Number of device processes.
        rounds: Rounds to train.
        steps_per_round: Steps of every device in a round; 0 means one pass of its data.
        batch_size: Samples a device puts into one step.
        optimizer: Spec of both halves' optimisers.
        codec_up: Spec of the codec of the smashed data.
        codec_down: Spec of the codec of the gradients.
        partition: Spec of the partition over the devices.
        seed: Seed of everything random.
        server_threads: Threads of the server's torch; 0: one a core that no device takes.
        torch_device: Where the server's torch works: ``auto``, ``cpu`` or ``cuda``.
        micro_batches: Parts of a step, each trained as soon as it is in.
        stream_blocks: Parts of a step that are trained as one.
        mode: Way of split learning; ``auto`` is what the bundle was made for.
        device_optimizer: Spec of the devices' optimiser; empty means the same.
        schedule: Schedule of both halves' learning rates.
        precision: In which precision the back half computes.
        device_data: A data set for each device; empty where all take their part of ``data``.
        links: Bit rates that the devices' connections are held to, the last one serving
            all further devices; empty for full speed.
        energy: Whether devices measure where their joules go.
    """

    bundle: Path
    data: Path
    out: Path
    devices: int
    rounds: int
    steps_per_round: int
    batch_size: int
    optimizer: str
    codec_up: str
    codec_down: str
    partition: str
    seed: int
    server_threads: int = 0
    torch_device: TorchDevice = "auto"
    micro_batches: int = 1
    stream_blocks: int = 1
    mode: str = "auto"
    device_optimizer: str = ""
    schedule: str = "constant"
    precision: Precision = "float32"
    device_data: tuple[Path, ...] = ()
    links: tuple[LinkRate, ...] = ()
    energy: bool = False


class Network(Protocol):
    """Where a run's processes are, and how its devices reach the server."""

    @property
    def bind(self) -> str:
        """``tcp://HOST:PORT`` at which the server listens."""

    def command(self, name: str, command: Sequence[str]) -> list[str]:
        """A command that runs another where a process belongs.

        Args:
            name: ``server``, or the device's name.
            command: Program and arguments.
        """

    def reached(
        self, address: str, names: Sequence[str]
    ) -> contextlib.AbstractContextManager[Sequence[str]]:
        """The addresses at which devices reach the server, while the run goes on.

        Args:
            address: Where the server says that it listens.
            names: The devices.
        """


@dataclass(frozen=True)
class Loopback:
    """All processes beside one another, each device behind a relay where there are links.

    Attributes:
        links: The links, the last one serving all further devices; empty for full speed.
    """

    links: tuple[LinkRate, ...] = ()
    bind = "tcp://127.0.0.1:*"

    def command(self, name: str, command: Sequence[str]) -> list[str]:  # noqa: ARG002
        """The command itself.

        Args:
            name: ``server``, or the device's name.
            command: Program and arguments.
        """
        return list(command)

    @contextlib.contextmanager
    def reached(self, address: str, names: Sequence[str]) -> Iterator[Sequence[str]]:
        """Where each device connects to: the server, or a link of its own to it.

        Args:
            address: Where the server says that it listens.
            names: The devices.

        Yields:
            One address a device.
        """
        if not self.links:
            yield [address] * len(names)
            return
        last = len(self.links) - 1
        with PacedRelay(address, [self.links[min(i, last)] for i in range(len(names))]) as relay:
            yield relay.addresses


def run_local(run: LocalRun, on_event: Callable[[Event], None]) -> list[Event]:
    """Run a server and its devices to the end.

    Args:
        run: What to run.
        on_event: Called with each metrics event as it happens.

    Returns:
        All metrics events.

    Raises:
        RunError: A process failed; the message holds its last line.
        KeyFileError: Keys could not be written.
    """
    steps = steps_of_local(run, on_event)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            events: list[Event] = end.value
            return events
        time.sleep(POLL_S)


def steps_of_local(
    run: LocalRun, on_event: Callable[[Event], None], network: Network | None = None
) -> Generator[None, None, list[Event]]:
    """The same in steps, so that one thread can look after several runs.

    Closing the generator ends the run's processes.

    Args:
        run: What to run.
        on_event: Called with each metrics event as it happens.
        network: Where its processes are; None for loopback, with the run's links.

    Yields:
        Nothing, whenever there is nothing to do for :data:`POLL_S`.

    Returns:
        All metrics events.

    Raises:
        RunError: A process failed; the message holds its last line.
        KeyFileError: Keys could not be written.
    """
    names = [f"device-{number}" for number in range(1, run.devices + 1)]
    _clear(run.out)
    (run.out / "logs").mkdir(parents=True, exist_ok=True)
    # Keys and caches serve this run alone, and leave with it however it ends.
    with tempfile.TemporaryDirectory(prefix="slfac-") as folder:
        keys = _make_keys(Path(folder) / "keys", names)
        with Supervisor() as supervisor:
            place = network or Loopback(run.links)
            return (yield from _run(run, place, supervisor, on_event, names=names, keys=keys))


def _run(
    run: LocalRun,
    network: Network,
    supervisor: Supervisor,
    on_event: Callable[[Event], None],
    *,
    names: Sequence[str],
    keys: Path,
) -> Generator[None, None, list[Event]]:
    follower = Follower(run.out / METRICS_NAME)
    events: list[Event] = []

    def take_new() -> None:
        for event in follower.new_events():
            events.append(event)
            on_event(event)

    logs = run.out / "logs"
    # Threads that spin while they wait would take the devices' cores.
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}
    command = network.command("server", _server(run, network.bind, keys))
    server = supervisor.start("server", command, logs / "server.log", passive)
    address = yield from _await_address(supervisor, events, take_new)
    with network.reached(address, names) as addresses:
        data = run.device_data or (run.data,) * run.devices
        for name, via, own in zip(names, addresses, data, strict=True):
            command = _device(run, own, keys / name, via, keys.parent / "cache" / name)
            command = network.command(name, command)
            supervisor.start(name, command, logs / f"{name}.log", {})
        while server.process.poll() is None:
            take_new()
            _raise_failure(supervisor)
            yield
        supervisor.wait(_END_S)
    _raise_failure(supervisor)
    take_new()
    return events


def _clear(folder: Path) -> None:
    """Remove an earlier run's metrics and checkpoints, if there was one."""
    if (folder / METRICS_NAME).exists():
        (folder / METRICS_NAME).unlink()
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def _await_address(
    supervisor: Supervisor, events: list[Event], take_new: Callable[[], None]
) -> Generator[None, None, str]:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        take_new()
        for event in events:
            if event["event"] == "run":
                return str(event["address"])
        _raise_failure(supervisor)
        yield
    raise RunError(f"the server did not start within {_START_S:g} s")


def _raise_failure(supervisor: Supervisor) -> None:
    failed = supervisor.failed()
    if failed is not None:
        raise RunError(
            f"{failed.name} failed with exit code {failed.process.returncode}: "
            f"{failed.last_line()}",
            f"see {failed.log}",
        )


def _make_keys(folder: Path, names: list[str]) -> Path:
    server = new_keys(folder / "server", "server")
    allowed = AllowList(folder / "server")
    for name in names:
        allowed.enroll(name, new_keys(folder / name, "device", server))
    return folder


def _server(run: LocalRun, bind: str, keys: Path) -> list[str]:
    arguments = {
        "--bind": bind,
        "--bundle": run.bundle,
        "--keys": keys / "server",
        "--data": run.data,
        "--out": run.out,
        "--rounds": run.rounds,
        "--steps-per-round": run.steps_per_round,
        "--batch-size": run.batch_size,
        "--optimizer": run.optimizer,
        "--codec-up": run.codec_up,
        "--codec-down": run.codec_down,
        "--partition": run.partition,
        "--seed": run.seed,
        "--threads": run.server_threads or max(1, len(os.sched_getaffinity(0)) - run.devices),
        "--torch-device": run.torch_device,
        "--mode": run.mode,
        "--schedule": run.schedule,
        "--precision": run.precision,
        "--micro-batches": run.micro_batches,
        "--stream-blocks": run.stream_blocks,
        "--join-timeout-s": 120,
        "--idle-timeout-s": 60,
    }
    if run.device_optimizer:
        arguments["--device-optimizer"] = run.device_optimizer
    return _command("server", arguments)


def _device(run: LocalRun, data: Path, keys: Path, address: str, cache: Path) -> list[str]:
    arguments = {"--server": address, "--keys": keys, "--data": data, "--cache": cache}
    arguments["--journal"] = run.out / "journal"
    return [*_command("device", arguments), *["--energy"] * run.energy]


def _command(name: str, arguments: dict[str, Any]) -> list[str]:
    pairs = [str(part) for pair in arguments.items() for part in pair]
    return [sys.executable, "-m", "slfac.cli", name, *pairs]

"""``slfac device``: train a front on this machine against a server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.parsers import add_command, given
from slfac.cli.sensors import add_sensor_options, take_sensor_options
from slfac.cli.tables import aligned
from slfac.cli.threads import limit_threads

if TYPE_CHECKING:
    from slfac.device import DeviceSettings
    from slfac.device.energy.outcome import RunEnergy

_EPILOG = """\
examples:
  slfac device --server tcp://10.0.0.5:5555 --keys keys --data mnist
  slfac device --server tcp://10.0.0.5:5555 --keys keys --data mnist --provider auto
  slfac device --discover --keys keys --data mnist --wait-enrolled-s 3600
  slfac device --config device.toml
  slfac device --server tcp://10.0.0.5:5555 --keys keys --data mnist --energy

The bundle is fetched from the server unless --bundle holds it already. Data is an IDX
folder, a .npz file or an image folder (docs/data.md). A GPU needs another build of
onnxruntime (docs/gpu.md). Addresses, IPv6 and --discover: docs/network.md.
Sensors, and what --energy says: docs/energy.md.
"""


def add_parser(subparsers: Any) -> None:
    """Register the subcommand.

    Args:
        subparsers: The main parser's subparsers.
    """
    parser = add_command(
        subparsers,
        "device",
        summary="train a front on this machine",
        epilog=_EPILOG,
        run=run,
    )
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="settings from a TOML file (docs/device.toml)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="ADDRESS", help="tcp://HOST:PORT of the server")
    where.add_argument(
        "--discover",
        action="store_true",
        help="find the server on this network, if it runs with --announce",
    )
    add("--data", type=Path, metavar="PATH", help="training data")
    add("--keys", type=Path, metavar="DIR", help="this device's key folder")
    add("--insecure", action="store_true", help="work without keys, on loopback only")
    add("--name", help="name to go by without keys (default: device)")
    add("--bundle", type=Path, metavar="DIR", help="bundle that this device holds already")
    add("--cache", type=Path, metavar="DIR", help="where fetched bundles are kept")
    add("--journal", type=Path, metavar="DIR", help="where each round's beginning is taken down")
    add("--connect-timeout-s", type=float, metavar="S", help="how long to try at first (60)")
    add("--reconnect-timeout-s", type=float, metavar="S", help="how long after a break (300)")
    add(
        "--wait-enrolled-s",
        type=float,
        metavar="S",
        help="how long to wait until the server lets this key in (0: give up at once)",
    )
    add("--threads", type=int, metavar="N", help="threads of onnxruntime (1)")
    add("--low-memory", action="store_true", help="hold less memory, at the cost of time")
    add(
        "--provider",
        choices=("cpu", "cuda", "auto"),
        help="what computes the front; auto: an Nvidia GPU if it passes a self-test (cpu)",
    )
    add("--energy", action="store_true", help="measure where the joules of the run go")
    add("--energy-report", type=Path, metavar="FILE", help="write all of that to a JSON file")
    add_sensor_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.
    """
    # Before NumPy is loaded, so that libraries see it: the file of --config is read without.
    settings = _settings(given(args))
    limit_threads(blas=settings.threads, openmp=settings.threads)
    from slfac.device import run_device
    from slfac.device.guard import require_torch_free
    from slfac.device.notify import Notifier

    require_torch_free()
    notifier = Notifier()

    def say(line: str) -> None:
        _say(line)
        notifier.status(line)
        notifier.alive()

    say("this process has imported neither torch nor onnx")
    notifier.ready()
    try:
        result = run_device(settings, say, notifier.alive)
    finally:
        notifier.stopping()
    require_torch_free()
    _say(
        f"done: {result.rounds} rounds, {result.steps} steps, "
        f"{result.sent_bytes / 1e6:.2f} MB sent, {result.received_bytes / 1e6:.2f} MB received, "
        f"{result.peak_rss_bytes / 1e6:.0f} MB peak memory, no torch, no onnx"
    )
    if result.energy is not None:
        _say_energy(result.energy)
    return 0


def _settings(values: dict[str, Any]) -> DeviceSettings:
    """Settings of the command line, which go before those of the file of --config."""
    from slfac.device.config import configured_settings
    from slfac.device.settings import device_settings

    sensors = take_sensor_options(values)
    if sensors:
        values["sensors"] = sensors
    file = values.pop("config", None)
    return configured_settings(file, **values) if file is not None else device_settings(**values)


def _say_energy(energy: RunEnergy) -> None:
    from slfac.device.energy.words import closing_lines, phase_rows

    for line in (*aligned(phase_rows(energy)), *closing_lines(energy)):
        _say(line)


def _say(line: str) -> None:
    print(f"slfac device: {line}", file=sys.stderr, flush=True)

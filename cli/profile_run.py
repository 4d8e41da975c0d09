"""``slfac profile run`` and ``report``: a board measures itself, and what came of it is shown."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slfac.cli.parsers import add_command, given, split_specs
from slfac.cli.profile_link import take_peer_keys
from slfac.cli.sensors import add_sensor_options, take_sensor_options
from slfac.cli.tables import aligned, print_line
from slfac.cli.threads import limit_threads
from slfac.wire.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    from slfac.device.profiling.record import LinkFacts, Record

_RUN_EPILOG = """\
examples:
  slfac profile run --out board.toml
  slfac profile run --bundle cut1 --bundle cut2 --data mnist --out board.toml
  slfac profile run --bundle cut1 --codec none,slfac --quick --out look.toml

It takes two minutes of idleness, 15 s for each of six measurements of the board, and 15 s for each
front and each codec on it. Leave the board alone meanwhile. Beside the profile it writes FILE.json
(every repetition and reading) and, with matplotlib, FILE.html and FILE.png. docs/profiling.md says
what each figure is.
"""
_REPORT_EPILOG = """\
examples:
  slfac profile report board.json
  slfac profile report board.json --out reports
  slfac profile report energy.json

FILE is what `slfac profile run` wrote, or `slfac device --energy-report`.
"""
_HOW = "pip install 'slfac[report]', or copy {} to a machine that has it and run there: {}"
_ON_THIS_MACHINE = "the peer was on the same machine: no radio and no cable was measured"
_NAME = "slfac profile"
_PEER = ("peer", "keys", "insecure", "link")


def add_profile_run(actions: Any) -> None:
    """Register the actions that measure a board and show it.

    Args:
        actions: The subparsers of ``slfac profile``.
    """
    parser = add_command(
        actions,
        "run",
        summary="measure this board, and write its profile and a report",
        epilog=_RUN_EPILOG,
        run=run_run,
    )
    add = parser.add_argument
    add("--out", required=True, type=Path, metavar="FILE", help="profile to write, a .toml file")
    add(
        "--bundle",
        dest="bundles",
        action="append",
        type=Path,
        metavar="DIR",
        help="a front to measure; give it once for each",
    )
    add("--codec", metavar="A,B", dest="codecs", type=split_specs, help="(none,fp16,slfac,...)")
    add("--batch-size", type=int, metavar="N", help="samples of a batch (32)")
    add("--threads", type=int, metavar="N", help="threads of onnxruntime and codecs (1)")
    add("--data", type=Path, metavar="PATH", help="data that batches are loaded from (noise)")
    add("--optimizer", metavar="SPEC", help="what updates fronts (sgd:lr=0.001,momentum=0.9)")
    add = parser.add_argument_group("how long").add_argument
    add("--idle-s", type=float, metavar="S", help="idleness before and after (60)")
    add("--gap-s", type=float, metavar="S", help="idleness before each front and codec (2)")
    add("--warm-up", type=int, metavar="N", help="batches that are not counted (20)")
    add("--repetitions", type=int, metavar="N", help="of everything, 5 or more (5)")
    add("--least-s", type=float, metavar="S", help="how long each repetition lasts at least (3)")
    add("--array-mib", type=int, metavar="MIB", help="what is copied (twice the last cache)")
    add("--quick", action="store_true", help="a look of seconds: short times where none are given")
    add = parser.add_argument_group("the link to a server's machine").add_argument
    add("--peer", metavar="ADDRESS", help="tcp://HOST:PORT where `slfac profile peer` runs")
    add("--keys", type=Path, metavar="DIR", help="this device's key folder")
    add("--insecure", action="store_true", help="work without keys, on loopback only")
    add("--link", metavar="NAME", help="what the link is called (wifi or ethernet, found out)")
    add_sensor_options(parser)
    report = add_command(
        actions,
        "report",
        summary="draw the report of a measurement that was made elsewhere",
        epilog=_REPORT_EPILOG,
        run=run_report,
    )
    report.add_argument("record", metavar="FILE", type=Path, help=".json file of a measurement")
    report.add_argument("--out", type=Path, metavar="DIR", help="where to write it (beside FILE)")


def run_run(args: argparse.Namespace) -> int:
    """Run ``slfac profile run``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting is wrong, or a file cannot be written, which is found out first.
        SensorError: The sensor that is named cannot be read.
        LinkError: The peer cannot be reached, refuses, or was lost.
        SlfacError: A front, a codec or the data does not work, which is found out at first.
    """
    values = given(args)
    limit_threads(blas=max(1, values.get("threads", 1)), openmp=max(1, values.get("threads", 1)))
    from slfac.cli.profile_board import name_board
    from slfac.cli.profile_values import profile_of
    from slfac.device.energy.discover import open_sensor
    from slfac.device.energy.host import host_at
    from slfac.device.energy.settings import sensor_settings
    from slfac.device.profiling.record import encode_record
    from slfac.device.profiling.run import Subject, run_profile
    from slfac.device.profiling.settings import QUICK, profile_settings
    from slfac.hw_profiles import write_profile
    from slfac.wire.bundle import open_bundle
    from slfac.wire.costs import read_costs

    del values["action"]
    out: Path = values.pop("out")
    quick = QUICK if values.pop("quick", False) else {}
    sensors = sensor_settings(**take_sensor_options(values))
    peer = {name: values.pop(name) for name in _PEER if name in values}
    settings = profile_settings(**{**quick, **values})
    _check_out(out)
    costs = [read_costs(open_bundle(path, "device")) for path in settings.bundles]
    host = host_at(Path("/"))
    sensor = open_sensor(host, sensors)
    try:
        board = name_board(host)
        _say(f"this is {board.name}: {board.title}")
        link = _measure_link(peer, settings.repetitions)
        subject = Subject(board, "slfac " + shlex.join(sys.argv[1:]), link)
        record = run_profile(settings, host=host, sensor=sensor, subject=subject, say=_say)
    finally:
        sensor.close()
    # What was measured first: it would be lost if anything were wrong with the rest.
    _replace(out.with_suffix(".json"), encode_record(record))
    profile = profile_of(record, host, costs)
    write_profile(profile, out)
    _print_table(record, profile.provenance.note)
    print_line(f"profile: {out}")
    print_line(f"all that was measured: {out.with_suffix('.json')}")
    if _can_draw():
        _draw(record, out.parent, out.stem)
    else:
        record_name = out.with_suffix(".json").name
        how = _HOW.format(record_name, f"slfac profile report {record_name}")
        print_line(f"no report, for matplotlib is missing: {how}")
    return 0


def run_report(args: argparse.Namespace) -> int:
    """Run ``slfac profile report``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: The file is no record of a measurement.
        MissingExtraError: matplotlib is not installed.
        RunError: The report cannot be written.
    """
    values = given(args)
    path: Path = values["record"]
    record = _read(path)
    if not _can_draw():
        raise MissingExtraError("matplotlib is missing", "pip install 'slfac[report]'")
    _draw(record, values.get("out", path.parent), path.stem)
    return 0


def _read(path: Path) -> Record:
    """A measurement's record, or that of a run's energy."""
    from slfac.cli.energy_record import record_of
    from slfac.device.energy.report import decode_report
    from slfac.device.profiling.record import read_record

    try:
        return read_record(path)
    except SettingsError as error:
        try:
            report = decode_report(path.read_bytes(), str(path))
        except (OSError, SettingsError):
            raise error from None
    return record_of(report, str(path))


def _measure_link(peer: dict[str, Any], repetitions: int) -> LinkFacts | None:
    """What the network to a peer carries; first of all, for it may not be there."""
    if "peer" not in peer:
        for name in peer:
            raise SettingsError(f"--{name} needs --peer", "name the peer, or leave it out")
        return None
    from slfac.device.profiling.link import measure_link
    from slfac.device.profiling.record import Interval, LinkFacts

    address, name = peer.pop("peer"), peer.pop("link", "")
    _say(f"measuring the link to {address}")
    found = measure_link(address, take_peer_keys(peer), repetitions=repetitions, on_status=_say)
    if not name:
        wired = "this-machine" if found.route.is_local else "ethernet"
        name = "wifi" if found.route.is_wireless else wired
    figures = {
        which: Interval(
            value=figure.value,
            low=figure.value if figure.low is None else figure.low,
            high=figure.value if figure.high is None else figure.high,
        )
        for which, figure in (
            ("up_mbits", found.up_mbits),
            ("down_mbits", found.down_mbits),
            ("rtt_ms", found.rtt_ms),
        )
    }
    return LinkFacts(
        name=name,
        peer=found.address,
        interface=found.route.interface,
        runs=found.repetitions,
        note=_ON_THIS_MACHINE if found.route.is_local else "",
        **figures,
    )


def _draw(record: Record, folder: Path, stem: str) -> None:
    from slfac.testbed.energy.report import write_energy_report

    for file in write_energy_report(record, folder, stem):
        print_line(f"report: {file}")


def _can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _print_table(record: Record, notes: str) -> None:
    from slfac.device.profiling.figures import intervals, table

    rows = [("", "mean", "95 % interval", "runs"), *(row.cells for row in table(record))]
    for line in aligned(rows):
        print_line(line)
    print_line(f"({intervals(record)})")
    for note in filter(None, notes.split("; ")):
        print_line(f"note: {note}")


def _check_out(out: Path) -> None:
    """Refuse before minutes have passed what could not be written behind them."""
    if out.suffix != ".toml":
        raise SettingsError(f"--out is {str(out)!r}", "give a name that ends in .toml")
    for path in (out.with_suffix(suffix) for suffix in (".toml", ".json", ".html", ".png")):
        if path.is_dir():
            raise SettingsError(f"--out would replace {path}, which is a folder", "name a file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise SettingsError(
            f"--out is {str(out)!r}: its folder cannot be written: {error.strerror}",
            "name a file in a folder that can be written",
        ) from error
    os.close(handle)
    Path(name).unlink()


def _replace(path: Path, data: bytes) -> None:
    from slfac.testbed.write import replace_file

    replace_file(path, data)


def _say(line: str) -> None:
    print(f"{_NAME}: {line}", file=sys.stderr, flush=True)

"""``slfac profile calibrate``: what a radio costs, and what a sensor leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slfac.cli.calibrate_gain import run_gain
from slfac.cli.calibrate_radio import run_radio
from slfac.cli.parsers import add_command
from slfac.cli.profile_link import add_peer_options
from slfac.cli.sensors import add_sensor_options

_EPILOG = """\
examples:
  slfac profile calibrate radio --peer tcp://10.0.0.5:5566 --keys keys --link wifi --profile b.toml
  slfac profile calibrate gain --sensor pi5 --plug http://192.168.1.9 --profile board.toml
"""
_RADIO_EPILOG = """\
examples:
  slfac profile calibrate radio --peer tcp://10.0.0.5:5566 --keys keys \\
      --link wifi --note "Wi-Fi 5, 5 GHz, access point 3 m away" --profile board.toml

It takes about seven minutes. On the other machine `slfac profile peer` must run. Leave the board
alone meanwhile. What the figures are, and what is needed: docs/calibration.md.
"""
_GAIN_EPILOG = """\
examples:
  slfac profile calibrate gain --sensor pi5 --plug http://192.168.1.9 --profile board.toml
  slfac profile calibrate gain --sensor jetson --meter-file fnb58.txt --profile board.toml
  slfac profile calibrate gain --sensor pi5 --meter ina2xx --profile board.toml

It takes four minutes and more, in which the board is busy. --calibration board.toml then applies
the result. How to place the meter: docs/calibration.md.
"""


def add_profile_calibrate(actions: Any) -> None:
    """Register the calibrations.

    Args:
        actions: The subparsers of ``slfac profile``.
    """
    parser = add_command(
        actions,
        "calibrate",
        summary="measure what a radio costs, or what a sensor leaves out",
        epilog=_EPILOG,
        run=run_radio,
    )
    kinds = parser.add_subparsers(dest="calibration_of", required=True, metavar="WHAT")
    radio = add_command(
        kinds,
        "radio",
        summary="joules a megabyte and a packet, by a power sensor while bytes cross a link",
        epilog=_RADIO_EPILOG,
        run=run_radio,
    )
    add_peer_options(radio)
    add = radio.add_argument
    add("--link", required=True, metavar="NAME", help="which link of the profile, such as wifi")
    add("--note", metavar="TEXT", help="what a reader must know: access point, band, distance")
    add("--block-s", type=float, metavar="S", help="how long a block lasts (6)")
    add("--idle-s", type=float, metavar="S", help="measured idleness between blocks (3)")
    add("--allow-loopback", action="store_true", help="try it out where no radio is measured")
    gain = add_command(
        kinds,
        "gain",
        summary="gain and offset from a board's own sensor to a meter",
        epilog=_GAIN_EPILOG,
        run=run_gain,
    )
    add = gain.add_argument
    add("--meter", metavar="NAME", help="the sensor of the list that is the meter (what is given)")
    add("--step-s", type=float, metavar="S", help="how long each load lasts (8)")
    for kind in (radio, gain):
        add = kind.add_argument
        add("--profile", required=True, type=Path, metavar="FILE", help="profile to write it into")
        add("--repetitions", type=int, metavar="N", help="of everything, 5 or more (5)")
        add("--settle-s", type=float, metavar="S", help="what settles after a change is left out")
        add("--seed", type=int, metavar="N", help="of the random order (0)")
        add_sensor_options(kind)

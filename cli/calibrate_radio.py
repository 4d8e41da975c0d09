"""``slfac profile calibrate radio``: joules a megabyte and a packet of a link."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slfac.cli.calibrating import clock_of, sampling, say
from slfac.cli.parsers import given
from slfac.cli.profile_link import take_peer_keys
from slfac.cli.profile_update import check_texts, figure_fields, load_own_profile, with_entry
from slfac.cli.sensors import take_sensor_options
from slfac.cli.tables import aligned, print_line
from slfac.wire.errors import SensorError, SettingsError

if TYPE_CHECKING:
    from slfac.device.energy.base import PowerSensor, SensorInfo
    from slfac.device.energy.host import Host
    from slfac.device.profiling.link import Route
    from slfac.device.profiling.radio import BlockPlan, BlockRun, RadioCost, Told
    from slfac.hw_profiles import Profile
    from slfac.wire.keys import DeviceKeys

_NO_SENSOR: Final = "`slfac profile sensors` lists what there is, and what was passed over and why"


def run_radio(args: argparse.Namespace) -> int:
    """Run ``slfac profile calibrate radio``.

    Args:
        args: The parsed command line.

    Returns:
        The exit code.

    Raises:
        SettingsError: A setting is wrong, the profile cannot be written, or the peer is on this
            machine.
        SensorError: There is no sensor, or it gave too little.
        LinkError: The peer cannot be reached, or was lost again and again.
    """
    from slfac.device.energy.discover import open_sensor
    from slfac.device.energy.host import host_at
    from slfac.device.energy.settings import sensor_settings
    from slfac.device.profiling.radio import BlockPlan, fit_radio
    from slfac.hw_profiles import write_profile

    values = given(args)
    path: Path = values["profile"]
    check_texts(values)
    profile = load_own_profile(path)
    keys = take_peer_keys(values)
    settings = sensor_settings(**take_sensor_options(values))
    names = ("repetitions", "block_s", "idle_s", "settle_s", "seed")
    plan = BlockPlan(**{name: values[name] for name in names if name in values})
    plan.check()
    route = _checked_route(values["peer"], values["link"], local="allow_loopback" in values)
    host = host_at(Path("/"))
    with contextlib.closing(open_sensor(host, settings)) as sensor:
        _check_radio(sensor, profile, values["link"])
        say(f"{len(plan.order())} blocks, {plan.seconds / 60:.0f} minutes; leave the board alone")
        with sampling(sensor, host, plan.seconds) as sampler:
            runs = _run_blocks(values["peer"], keys, plan, host)
            found = fit_radio(runs, plan, sampler.take(), seed=plan.seed)
        for line in _lines(found):
            print_line(line)
        fields = _fields(found, sensor.info, route.interface)
    if values.get("note"):
        fields["note"] = values["note"]
    write_profile(with_entry(load_own_profile(path), "links", values["link"], **fields), path)
    print_line(f"link {values['link']} of {path} is written")
    return 0


def _run_blocks(
    address: str, keys: DeviceKeys | None, plan: BlockPlan, host: Host
) -> list[BlockRun]:
    from slfac.device.profiling.link import PeerLink
    from slfac.device.profiling.radio import Reconnecting, run_blocks

    with Reconnecting(lambda: PeerLink(address, keys, on_status=say)) as link:
        return run_blocks(link, plan, clock=clock_of(host), wait=host.wait, say=say)


def _checked_route(address: str, link: str, *, local: bool) -> Route:
    from slfac.device.profiling.link import route_to
    from slfac.wire.addresses import check_server_address

    route = route_to(check_server_address(address))
    if route.is_local and not local:
        raise SettingsError(
            f"--peer is {address}, which is this machine: no radio would be measured",
            "run `slfac profile peer` on another machine (--allow-loopback only tries it out)",
        )
    if link.startswith(("wifi", "wlan")) and not route.is_wireless and not local:
        say(f"the peer is reached through {route.interface or 'an unknown interface'}, no Wi-Fi")
    return route


def _check_radio(sensor: PowerSensor, profile: Profile, link: str) -> None:
    from slfac.hw_profiles.entries import planned_powers

    info = sensor.info
    if info.gives == "nothing":
        raise SensorError("there is no power sensor, and so no joules of a radio", _NO_SENSOR)
    # This link's own powers are replaced.
    kept = [e for e in planned_powers(profile) if not e.field.startswith(f"link.{link}.")]
    others = {entry.scope for entry in kept} - {str(info.scope)}
    if others:
        raise SettingsError(
            f"sensor {info.name} measures the {info.scope}, and the profile's powers are of the "
            f"{', '.join(sorted(others))}",
            "read the sensor that the profile was measured with, or measure it anew "
            "(`slfac profile run`)",
        )


def _lines(found: RadioCost) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("", "figure", "95 % interval")]
    for what, told, unit in _figures(found):
        if told.figure is None:
            rows.append((what, "not resolved", told.why))
        else:
            figure = told.figure
            interval = f"{figure.low:.4g} to {figure.high:.4g}"
            rows.append((what, f"{figure.value:.4g} {unit}", interval))
    yield from aligned(rows)
    rows = [("blocks", "count", "above idle", "as fitted")]
    for kind in found.kinds:
        watts = (f"{1e3 * kind.above_idle_w:.1f} mW", f"{1e3 * kind.fitted_w:.1f} mW")
        rows.append((kind.name, str(kind.blocks), *watts))
    yield from aligned(rows)
    yield f"idle {found.idle_w.value:.4g} W; the fit leaves {1e3 * found.left_w:.1f} mW of a block"
    yield f"{found.kept} blocks count, {len(found.left_out)} are left out"
    for out in found.left_out:
        yield f"     block {out.number}, {out.why}"


def _figures(found: RadioCost) -> Sequence[tuple[str, Told, str]]:
    return (
        ("send_j_per_mb", found.send_j_per_mb, "J/MB"),
        ("receive_j_per_mb", found.receive_j_per_mb, "J/MB"),
        ("j_per_frame", found.j_per_frame, "J/frame"),
        ("send_w", found.send_w, "W"),
        ("receive_w", found.receive_w, "W"),
    )


def _fields(found: RadioCost, info: SensorInfo, interface: str) -> dict[str, Any]:
    """What a profile's link gets; what was not resolved is unknown, also if it was known before."""
    from slfac.hw_profiles import Power, Value

    through = f" through {interface}" if interface else ""
    source = f"slfac profile calibrate radio, sensor {info.name} of the {info.scope}{through}"
    fields: dict[str, Any] = {}
    for name, told, _ in _figures(found):
        fields[name] = None
        if told.figure is None:
            continue
        with_packets = name.endswith("_per_mb") and found.j_per_frame.figure is None
        note = "what packets cost is in it" if with_packets else ""
        held = figure_fields(
            told.figure, kind="measured", source=source, runs=told.figure.runs, note=note
        )
        power = name.endswith("_w")
        fields[name] = Power(**held, scope=info.scope or "unknown") if power else Value(**held)
    return fields

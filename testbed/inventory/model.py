"""The inventory: every host, link and setting of a testbed, from one file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from slfac.hw_profiles import profile_names
from slfac.server.config import split_codec
from slfac.server.settings import checked_settings
from slfac.testbed.inventory.faults import readable, spots
from slfac.testbed.inventory.hosts import AnyHost, Defaults, DeviceHost, Name, ServerHost
from slfac.testbed.inventory.links import Emulation, Link
from slfac.testbed.inventory.matrix import Matrix, check_matrix, combinations
from slfac.testbed.inventory.run import DECIDED, Run, server_fields
from slfac.testbed.inventory.yaml_file import Document, Place, read_yaml
from slfac.wire.errors import SettingsError

REMEDY: Final = "`slfac testbed init` writes an example, and docs/emulation.md explains it"
DEFAULT_LINK: Final = "default"
# What an emulated LAN calls the server's host and the one that commands come from.
RESERVED: Final = (DEFAULT_LINK, "server", "control", "localhost")


class Inventory(BaseModel):
    """A testbed.

    Attributes:
        name: What it is called; two testbeds of one machine need two names.
        server: The server's machine.
        devices: The devices' machines.
        defaults: What holds for hosts that say nothing else; it is merged into them already.
        links: Links of devices by their names; what stands below ``default`` is merged into
            them, and serves devices that are not named.
        emulate: How hosts are emulated.
        known_hosts: Public keys of the hosts, as OpenSSH keeps them.
        run: What to train; None where the hosts are used for something else.
        matrix: Settings of ``run`` that vary, each with its values: every combination is a run.
        file: The file that all this is from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    server: ServerHost
    devices: Annotated[tuple[DeviceHost, ...], Field(min_length=1, max_length=200)]
    defaults: Defaults = Defaults()
    links: dict[str, Link] = {}
    emulate: Emulation = Emulation()
    known_hosts: Path = Path("known_hosts")
    run: Run | None = None
    matrix: Matrix = {}
    file: Annotated[Path, Field(exclude=True)]

    def device(self, name: str) -> DeviceHost:
        """A device by its name.

        Args:
            name: Its name.

        Raises:
            SettingsError: There is none.
        """
        for device in self.devices:
            if device.name == name:
                return device
        names = ", ".join(device.name for device in self.devices)
        raise SettingsError(f"there is no device {name!r} in {self.file}", f"there are {names}")

    def link(self, name: str) -> Link:
        """The link of a device.

        Args:
            name: The device's name.
        """
        return self.links.get(name) or self.links.get(DEFAULT_LINK) or Link()


def load_inventory(file: Path) -> Inventory:
    """Read and check an inventory. Relative paths of this machine in it are relative to its folder.

    Args:
        file: A YAML file.

    Returns:
        The inventory.

    Raises:
        SettingsError: The file cannot be read or is no YAML, or a field is unknown, missing, out
            of range or contradicts another; file, line and field are named.
    """
    return inventory_of(read_yaml(file, remedy=REMEDY))


def inventory_of(document: Document) -> Inventory:
    """Check what a file holds.

    Args:
        document: What it holds.

    Returns:
        The inventory.

    Raises:
        SettingsError: As of :func:`load_inventory`.
    """
    document = _merged(document)
    if "file" in document.values:
        raise SettingsError(f"{document.at(('file',))}: there is no field file", REMEDY)
    values = {"name": document.file.stem.lower(), **document.values, "file": document.file}
    try:
        inventory = Inventory.model_validate(values)
    except pydantic.ValidationError as error:
        raise readable(error, document, Inventory, REMEDY) from error
    _check_names(inventory, document)
    _check_addresses(inventory, document)
    check_matrix(inventory, document)
    for one in combinations(inventory):
        _check_run(one.inventory, document)
    return _with_paths(inventory)


def _merged(document: Document) -> Document:
    """Put defaults into hosts and links that lack them, with the lines where they stand."""
    values, lines = dict(document.values), dict(document.lines)

    def fill(target: Any, defaults: Any, place: Place, origin: Place, allowed: Any) -> Any:
        if not isinstance(target, dict) or not isinstance(defaults, dict):
            return target
        added = {k: v for k, v in defaults.items() if k not in target and k in allowed}
        for known in [k for k in lines if k[: len(origin)] == origin and len(k) > len(origin)]:
            if known[len(origin)] in added:
                lines[place + known[len(origin) :]] = lines[known]
        return {**target, **added}

    defaults = values.get("defaults")
    values["server"] = fill(
        values.get("server", {}), defaults, ("server",), ("defaults",), AnyHost.model_fields
    )
    devices = values.get("devices")
    if isinstance(devices, list):
        values["devices"] = [
            fill(device, defaults, ("devices", n), ("defaults",), Defaults.model_fields)
            for n, device in enumerate(devices)
        ]
    links = values.get("links")
    if isinstance(links, dict):
        common, origin = links.get(DEFAULT_LINK), ("links", DEFAULT_LINK)
        values["links"] = {
            name: fill(link, common, ("links", name), origin, spots(Link))
            for name, link in links.items()
        }
    return Document(file=document.file, values=values, lines=lines)


def _check_names(inventory: Inventory, document: Document) -> None:
    seen: dict[str, int] = {}
    for number, device in enumerate(inventory.devices):
        what = f"{document.at(('devices', number, 'name'))}: devices[{number}].name is "
        if device.name in seen:
            other = document.lines.get(("devices", seen[device.name], "name"), 0)
            raise SettingsError(
                f"{what}{device.name!r}, as is that of line {other}", "give each device its own"
            )
        if device.name in RESERVED:
            raise SettingsError(
                f"{what}{device.name!r}, which means something else here", "choose another name"
            )
        seen[device.name] = number
    for name in inventory.links:
        if name not in seen and name != DEFAULT_LINK:
            near = difflib.get_close_matches(name, [*seen, DEFAULT_LINK], n=1, cutoff=0.0)[0]
            raise SettingsError(
                f"{document.at(('links', name))}: links.{name} is of no device",
                f"the nearest is {near}",
            )


def _check_addresses(inventory: Inventory, document: Document) -> None:
    seen: dict[tuple[str, int], Place] = {}
    for number, device in enumerate(inventory.devices):
        place: Place = ("devices", number, "host")
        if device.host is None:
            continue
        address = (device.host, device.port)
        if address in seen:
            raise SettingsError(
                f"{document.at(place)}: devices[{number}].host is {device.host!r} with port "
                f"{device.port}, as is that of line {document.lines.get(seen[address], 0)}",
                "give each device its own address",
            )
        seen[address] = place


def _check_run(inventory: Inventory, document: Document) -> None:
    """Check the server's settings with the server's own rules."""
    if inventory.run is None:
        return
    given = inventory.run.settings
    for name, why in DECIDED.items():
        if name in given:
            at = document.at(("run", name))
            raise SettingsError(f"{at}: run.{name} is {given[name]!r}, which a testbed sets", why)
    for name in given:
        if name not in server_fields():
            near = difflib.get_close_matches(name, [*server_fields(), "model"], n=1, cutoff=0.0)[0]
            at = document.at(("run", name))
            raise SettingsError(f"{at}: there is no setting run.{name}", f"the nearest is {near}")
    # Only the paths of a real run are unknown yet.
    paths = {"bundle": Path("bundle"), "out": Path("out"), "keys": Path("keys")}
    if inventory.server.data is not None:
        paths["data"] = Path(inventory.server.data)
    origins = {name: f"{_where(name, document)}: " for name in given}
    if "codec" in origins:
        origins = {**dict.fromkeys(("codec_up", "codec_down"), origins["codec"]), **origins}
    checked_settings({**paths, **split_codec(given)}, origins)


def _where(name: str, document: Document) -> str:
    """File and line of a setting of the run, which may be one of those that vary."""
    varied: Place = ("matrix", name)
    return document.at(varied if varied in document.lines else ("run", name))


def _with_paths(inventory: Inventory) -> Inventory:
    """Make paths of this machine relative to the file's folder."""
    folder = inventory.file.parent

    def local(path: Path | None) -> Path | None:
        return None if path is None else folder / path.expanduser()

    def host(which: AnyHost) -> Mapping[str, Any]:
        return {"key": local(which.key)}

    def board(which: str | None) -> str | None:
        return which if which is None or which in profile_names() else str(local(Path(which)))

    changes: dict[str, Any] = {
        "known_hosts": local(inventory.known_hosts),
        "server": inventory.server.model_copy(update=host(inventory.server)),
        "devices": tuple(
            d.model_copy(update={**host(d), "board": board(d.board)}) for d in inventory.devices
        ),
    }
    if inventory.run is not None:
        changes["run"] = inventory.run.model_copy(update={"bundle": local(inventory.run.bundle)})
    return inventory.model_copy(update=changes)

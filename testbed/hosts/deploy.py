"""Makes hosts ready: checks them, and brings slfac there or finds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import slfac
from slfac.testbed.hosts.clocks import clock_offset
from slfac.testbed.hosts.host import Host
from slfac.testbed.hosts.release import (
    DEVICE_NEEDS,
    DEVICE_PARTS,
    SERVER_NEEDS,
    SERVER_PARTS,
    Release,
    Releases,
    kind_of,
    own_sum,
)
from slfac.testbed.hosts.show import Show
from slfac.testbed.hosts.targets import SERVER
from slfac.wire.errors import HostError

_MOST_OFFSET_S: Final = 2.0
_LEAST_FREE_BYTES: Final = 64_000_000
_UNPACK_S: Final = 600.0


@dataclass(frozen=True)
class Ready:
    """A host that can be used.

    Attributes:
        host: The host.
        facts: What it is.
        program: slfac there, and its first arguments.
        version: Which slfac that is.
        manager: What runs agents there: ``system``, ``user`` or ``built-in``.
        data: Where its data set is; None for none.
        remarks: What is not as it might be.
    """

    host: Host
    facts: dict[str, Any]
    program: tuple[str, ...]
    version: str
    manager: str
    data: str | None
    remarks: tuple[str, ...] = ()


class Deployment:
    """Makes hosts ready.

    Args:
        show: Told what happens.
        releases: Has slfac for each kind of host.
        install: Whether to bring slfac also where it is found.
    """

    def __init__(self, show: Show, releases: Releases, *, install: bool) -> None:
        self._show = show
        self._releases = releases
        self._install = install
        self._turn = asyncio.Lock()

    async def make_ready(self, host: Host, data: str | None) -> Ready:
        """Check a host, and have slfac there.

        Args:
            host: The host, connected.
            data: Data set that it must have; None for none.

        Returns:
            What is needed to use it.

        Raises:
            HostError: It cannot be used.
            LinkError: The connection broke.
            ImageError: slfac cannot be packed for it.
        """
        self._show.step(host.name, "looking at it")
        facts = await host.probe()
        kind = kind_of(host.name, facts)
        _check_room(host, facts)
        await host.prepare(facts)
        remarks = [*await _clock_remarks(host)]
        place = None if data is None else await _data_place(host, data)
        program, version = await self._program(host, facts, kind)
        manager = await _manager(host, facts, remarks)
        return Ready(host, facts, program, version, manager, place, tuple(remarks))

    async def _program(
        self, host: Host, facts: dict[str, Any], kind: tuple[str, str]
    ) -> tuple[tuple[str, ...], str]:
        is_server = host.name == SERVER
        if host.target.program is not None and (is_server or not self._install):
            return host.target.program, f"{slfac.__version__}, this machine's own"
        if is_server:
            return await _found_server(host, facts)
        if facts["image_agent"]:
            raise HostError(
                f"{host.name}: slfac-device.service of its image runs, and would train beside",
                "`sudo systemctl disable --now slfac-device` there",
            )
        if not self._install:
            found = await _found_device(host, facts)
            if found is not None:
                return found
        return await self._installed(host, facts, kind)

    async def _installed(
        self, host: Host, facts: dict[str, Any], kind: tuple[str, str]
    ) -> tuple[tuple[str, ...], str]:
        # Made once for all hosts of a kind, and not on the thread that keeps connections alive.
        async with self._turn:
            self._show.step(host.name, f"slfac for {kind[0]}, {kind[1]}")
            release = await asyncio.to_thread(self._releases.release, *kind)
        launcher = f"{host.versions}/{release.version}/bin/slfac"
        program = (str(facts["python_path"]), "-s", launcher)
        if (await host.call("exists", path=launcher))["error"]:
            await self._unpack(host, release)
            await host.call("tidy", folder=host.versions, keep=[release.version])
        return program, release.version

    async def _unpack(self, host: Host, release: Release) -> None:
        what = f"sending slfac, {release.file.stat().st_size / 1e6:.0f} MB"
        self._show.step(host.name, what)
        await host.send(
            "unpack",
            release.file,
            lambda share: self._show.progress(host.name, what, share),
            folder=host.versions,
            version=release.version,
            size_bytes=release.size_bytes,
        )


def _check_room(host: Host, facts: dict[str, Any]) -> None:
    where = facts["folder"]
    if not facts["writable"]:
        raise HostError(
            f"{host.name}: {facts['nearest']} cannot be written, where {where} is to be",
            "set `work` to a folder that the user may write",
        )
    if facts["free_bytes"] < _LEAST_FREE_BYTES:
        raise HostError(
            f"{host.name}: {facts['nearest']} has {facts['free_bytes'] / 1e6:.0f} MB free",
            "free some space there, or set `work` to a folder on a larger drive",
        )


async def _data_place(host: Host, data: str) -> str:
    found = await host.call("exists", path=data)
    if found["error"]:
        raise HostError(
            f"{host.name}: there is no data set at {found['path']}: {found['error']}",
            "put one there, or set `data` (docs/data.md)",
        )
    return str(found["path"])


async def _clock_remarks(host: Host) -> list[str]:
    offset = await clock_offset(host, samples=3)
    if abs(offset.offset_s) <= _MOST_OFFSET_S + offset.error_s:
        return []
    way = "ahead of" if offset.offset_s > 0 else "behind"
    what = f"its clock is {abs(offset.offset_s):.1f} s {way} this machine's"
    return [f"{what}: `sudo timedatectl set-ntp true`"]


async def _found_server(host: Host, facts: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    found = await host.call("look", parts=SERVER_PARTS, needs=SERVER_NEEDS)
    remedy = (
        "install this one there with its extra `server` into an environment of its own (the build "
        "of torch that suits it is yours to choose), and set server.python to its Python"
    )
    if not found["found"]:
        raise HostError(f"server: {facts['python_path']} has no slfac", remedy)
    if found["missing"]:
        missing = ", ".join(found["missing"])
        raise HostError(f"server: {facts['python_path']} lacks {missing}", remedy)
    if found["sum"] != await asyncio.to_thread(own_sum, SERVER_PARTS):
        raise HostError(f"server: {facts['python_path']} has another slfac than this one", remedy)
    return (facts["python_path"], "-m", "slfac.cli"), f"{slfac.__version__}, found"


async def _found_device(host: Host, facts: dict[str, Any]) -> tuple[tuple[str, ...], str] | None:
    image = facts["image"]
    if image and image.rpartition("/")[2].startswith(f"{slfac.__version__}-"):
        return (f"{image}/bin/slfac",), f"{image.rpartition('/')[2]}, of its image"
    found = await host.call("look", parts=DEVICE_PARTS, needs=DEVICE_NEEDS)
    if not found["found"] or found["missing"]:
        return None
    if found["sum"] != await asyncio.to_thread(own_sum, DEVICE_PARTS):
        return None
    return (facts["python_path"], "-m", "slfac.cli"), f"{slfac.__version__}, found"


async def _manager(host: Host, facts: dict[str, Any], remarks: list[str]) -> str:
    if host.target.program is not None or not facts["systemd"]:
        return "built-in"
    known = {name: facts[name] for name in ("systemd", "sudo", "user_units")}
    manager: str = await host.call("manager", work=facts["folder"], **known)
    if manager == "built-in":
        remarks.append(
            "no sudo without a password, and no lingering units: its agent does not come back by "
            "itself after a reboot; `sudo loginctl enable-linger $USER` there changes that"
        )
    return manager

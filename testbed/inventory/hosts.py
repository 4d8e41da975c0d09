"""The machines of a testbed, and how to reach them."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from slfac.hw_profiles.load import profile_path
from slfac.wire.errors import SettingsError
from slfac.wire.keys import NAME

#: A server's host of this name is this machine, and needs no SSH.
THIS_MACHINE: Final = "localhost"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9])?", re.ASCII)
_NUMBERS = re.compile(r"[\d.]+", re.ASCII)


def _check_host(host: str) -> str:
    """A host name or address; two ways to write an address become one."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host) or ".." in host or _NUMBERS.fullmatch(host):
            raise ValueError("give a host name or an address, without user or port") from None
        return host.lower()


def _check_board(board: str) -> str:
    try:
        profile_path(board)
    except SettingsError as error:
        raise ValueError(error.remedy) from error
    return board


HostName = Annotated[str, AfterValidator(_check_host)]
Board = Annotated[str, AfterValidator(_check_board)]
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
User = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")]
# A program or a folder on a host: it is handed to a shell there, quoted, and to units.
HostPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.~/][A-Za-z0-9_.~/+@:,= -]{0,1023}$")]
Program = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./~][A-Za-z0-9_.~/+-]{0,255}$")]


class AnyHost(BaseModel):
    """What the server and the devices have in common; ``defaults`` may hold it.

    Attributes:
        user: Who to log in as; None for SSH's own choice.
        port: Port of SSH.
        key: Private key on this machine; None for those of the SSH agent and ``~/.ssh``.
        python: The Python to install with.
        work: Folder on the host for all that a testbed puts there; ``~`` is the user's home.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: User | None = None
    port: Port = 22
    key: Path | None = None
    python: Program = "python3"
    work: HostPath = "~/slfac-testbed"


class AnyDevice(AnyHost):
    """What devices have in common; ``defaults`` may hold it.

    Attributes:
        board: What it is: a profile of :mod:`slfac.hw_profiles`, or a profile's file; None
            where that is not known.
        provider: What computes the front, as ``slfac device --provider``.
        threads: Threads of onnxruntime.
        energy: Whether the device measures where its joules go.
    """

    board: Board | None = None
    provider: Literal["cpu", "cuda", "auto"] = "cpu"
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    energy: bool = False


class Defaults(AnyDevice):
    """What holds for every host that says nothing else.

    Attributes:
        data: The devices' data set.
    """

    data: HostPath | None = None


class ServerHost(AnyHost):
    """The machine of the server.

    Attributes:
        host: Where SSH reaches it; None where hosts are only emulated.
        address: Where devices reach it; None means at ``host``.
        listen: Port on which it serves devices.
        data: Data set to evaluate on, a path on that machine; None evaluates nothing.
    """

    host: HostName | None = None
    address: HostName | None = None
    listen: Port = 5555
    data: HostPath | None = None

    @property
    def reached_at(self) -> str | None:
        """Host at which devices reach it; None where hosts are only emulated."""
        return self.address or self.host


class DeviceHost(AnyDevice):
    """The machine of a device.

    Attributes:
        name: What the run calls it.
        host: Where SSH reaches it; None where hosts are only emulated.
        data: Data set to train on, a path on that machine.
    """

    name: Name
    host: HostName | None = None
    data: HostPath

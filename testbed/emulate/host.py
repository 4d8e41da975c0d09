"""One emulated host: namespaces of its own for network, processes, mounts and its name.

Its first process holds them. The namespaces have no names in the file system: when that process
ends, the kernel ends every other one in there and takes the network away, so that nothing is left
behind however the LAN ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from slfac.testbed.emulate import linux
from slfac.wire.errors import RunError

_NAMESPACES: Final = (
    linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWPID
)
_NOSUID_NODEV_NOEXEC: Final = 2 | 4 | 8
_LINE_BYTES: Final = 4096
AUTO: Final = "auto"
INHERIT: Final = "inherit"
USUAL: Final = "cubic"


@dataclass(frozen=True)
class MadeHost:
    """A host that was made.

    Attributes:
        name: What it is called.
        pid: Its first process, as this process sees it.
        congestion: TCP's congestion control in there.
        network: Descriptor of its network namespace.
        alive: Descriptor whose closing ends the host.
        parent: The process between, which waits for the first one.
    """

    name: str
    pid: int
    congestion: str
    network: int
    alive: int
    parent: int

    def close(self) -> None:
        """End the host and everything in it."""
        os.close(self.alive)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.parent, 0)
        os.close(self.network)


def become_root() -> None:
    """Enter a user namespace in which this user is root, where it is not root already.

    Raises:
        OSError: The kernel does not let this user have one.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return
    # A network of its own as well: it could not return to one that it is not root of.
    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNET)
    # Without this the kernel refuses the map of groups.
    Path("/proc/self/setgroups").write_text("deny", "ascii")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1", "ascii")


def make_host(name: str, names: Path, congestion: str) -> MadeHost:
    """Make a host; its network has only loopback yet.

    Args:
        name: What to call it.
        names: File that is to be its ``/etc/hosts``.
        congestion: TCP's congestion control, ``auto`` or ``inherit``.

    Returns:
        The host.

    Raises:
        RunError: The kernel refuses some of it.
    """
    alive_read, alive_write = os.pipe()
    ready_read, ready_write = os.pipe()
    parent = os.fork()
    if parent == 0:
        _between(name, names, congestion, alive_read, ready_write)
    os.close(alive_read)
    os.close(ready_write)
    said: dict[str, Any] = {}
    with open(ready_read, encoding="utf-8") as ready:  # noqa: PTH123 - a descriptor
        for line in ready:
            said |= json.loads(line)
    if "done" not in said:
        os.close(alive_write)
        os.waitpid(parent, 0)
        raise RunError(f"host {name} cannot be made: {said.get('error', 'its process ended')}")
    network = os.open(f"/proc/{said['pid']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    return MadeHost(name, said["pid"], said["done"], network, alive_write, parent)


def _between(name: str, names: Path, congestion: str, alive: int, ready: int) -> NoReturn:
    """The process that enters new namespaces, and whose child is the first one in them."""
    code = 1
    try:
        linux.die_with_parent(signal.SIGKILL)
        _keep_only(alive, ready)
        linux.unshare(_NAMESPACES)
        first = os.fork()
        if first == 0:
            _be_first(name, names, congestion, alive, ready)
        _say(ready, {"pid": first})
        os.close(ready)
        os.close(alive)
        os.waitpid(first, 0)
        code = 0
    except OSError as error:
        _say(ready, {"error": _text(error)})
    finally:
        os._exit(code)


def _be_first(name: str, names: Path, congestion: str, alive: int, ready: int) -> NoReturn:
    try:
        linux.die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _set_up(name, names)
        _say(ready, {"done": _set_congestion(congestion)})
        os.close(ready)
        signal.signal(signal.SIGCHLD, _reap)
        select.select([alive], [], [])
    except OSError as error:
        _say(ready, {"error": _text(error)})
    finally:
        os._exit(0)


def _set_up(name: str, names: Path) -> None:
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc", _NOSUID_NODEV_NOEXEC)
    if Path("/etc/hosts").exists():
        linux.mount(str(names), "/etc/hosts", None, linux.MS_BIND)
    linux.set_host_name(name)
    linux.start_interface("lo")
    # One run's guesses about a path must not serve the next.
    settings: Mapping[str, str] = {"ipv4/tcp_no_metrics_save": "1"}
    for path in Path("/proc/sys/net/ipv6/conf").glob("*/disable_ipv6"):
        settings = {**settings, str(path.relative_to("/proc/sys/net")): "1"}
    for setting, value in settings.items():
        with contextlib.suppress(OSError):
            linux.set_sysctl(setting, value)


def _set_congestion(wanted: str) -> str:
    """Set TCP's congestion control; what it is then."""
    if wanted != INHERIT:
        try:
            linux.set_sysctl(linux.CONGESTION, USUAL if wanted == AUTO else wanted)
        except OSError as error:
            if wanted != AUTO:
                allowed = "net.ipv4.tcp_allowed_congestion_control"
                what = f"the kernel lets no host have congestion control {wanted!r} ({allowed})"
                raise OSError(error.errno, what) from error
    return linux.get_sysctl(linux.CONGESTION)


def _reap(number: int, frame: FrameType | None) -> None:
    """Bury what lost its parent, as the first process has to."""
    del number, frame
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _keep_only(*descriptors: int) -> None:
    """Close every other file but the standard ones: they keep other hosts alive."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        if int(name) > 2 and int(name) not in descriptors:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _say(ready: int, what: Mapping[str, object]) -> None:
    with contextlib.suppress(OSError):
        os.write(ready, f"{json.dumps(what)}\n".encode()[:_LINE_BYTES])


def _text(error: OSError) -> str:
    return f"{error.strerror}{f' ({error.filename})' if error.filename else ''}"

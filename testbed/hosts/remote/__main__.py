"""Runs one command on a host: ``python3 ARCHIVE COMMAND``, with its arguments on standard input."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import IO, Any

from slfac.testbed.hosts.remote import agents, files, programs, units, versions, watch
from slfac.testbed.hosts.remote.problem import HostProblem
from slfac.testbed.hosts.remote.supervise import Supervisor

_COMMANDS: dict[str, Any] = {
    "manager": units.choose_manager,
    "look": versions.look,
    "tidy": versions.tidy,
    "exists": files.exists,
    "write": files.write,
    "read": files.read,
    "call": programs.call,
    "attend": programs.attend,
    "start": agents.start,
    "resume": agents.resume,
    "status": agents.status,
    "stop": agents.stop,
    "purge": agents.purge,
    "watch": watch.watch,
    "last_lines": watch.last_lines,
}
_WITH_DATA: dict[str, Any] = {"unpack": versions.unpack, "place": files.place}


def main() -> None:
    """Run it."""
    # One who stops listening ends it.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    name = sys.argv[1]
    if name == "supervise":
        Supervisor(Path(sys.argv[2])).run()
    elif name == "clock":
        programs.clock()
    else:
        stdin = sys.stdin.buffer.raw if hasattr(sys.stdin.buffer, "raw") else sys.stdin.buffer
        values = json.loads(_first_line(stdin))
        if name == "pack":
            files.pack(**values)
        else:
            print(json.dumps(_result(name, values, stdin)), flush=True)


def _first_line(stdin: IO[bytes]) -> bytes:
    """The arguments; what follows them stays unread."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = stdin.read(1)
        if not byte:
            break
        line += byte
    return bytes(line)


def _result(name: str, values: dict[str, Any], stdin: IO[bytes]) -> dict[str, Any]:
    try:
        if name in _WITH_DATA:
            return {"ok": _WITH_DATA[name](**values, data=stdin)}
        return {"ok": _COMMANDS[name](**values)}
    except HostProblem as problem:
        return {"problem": problem.what, "remedy": problem.remedy}
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        return {"problem": f"{error.strerror or error}:{where}", "remedy": ""}


if __name__ == "__main__":
    main()

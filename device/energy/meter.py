"""A meter whose program appends lines to a file, or that writes lines to a serial port.

A line holds numbers between commas, semicolons, tabs or spaces. What the columns are is told by the
first line or by the setting ``meter_columns``: names that end in a unit, such as ``power_w``, or
``voltage_v`` with ``current_a``; others are passed over. A read takes the mean of the lines that
came since the read before: when they came is known, when the meter measured is not.
"""

from __future__ import annotations

import math
import os
import re
import stat
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slfac.device.energy.base import (
    MOST_BOARD_W,
    MOST_WALL_W,
    PassedOver,
    PowerSensor,
    Probe,
    Sample,
    SensorInfo,
    plausible,
)
from slfac.device.energy.host import Host, unreadable
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError

_NAME: Final = "meter"
_RAIL: Final = "supply"
_MOST_BYTES: Final = 1 << 20
_MOST_LINE: Final = 4096
_SPLIT: Final = re.compile(r"[,;\t ]+")
_UNITS: Final = {
    f"{what}_{prefix}{unit}": factor
    for what, unit in (("power", "w"), ("voltage", "v"), ("current", "a"))
    for prefix, factor in (("", 1.0), ("m", 1e-3), ("u", 1e-6))
}
_PERMIT: Final = "let this user read it: sudo usermod -aG dialout $USER for a serial port"
_COLUMNS: Final = "say what the columns are: --meter-columns time_s,voltage_v,current_a"


@dataclass(frozen=True)
class Columns:
    """Which columns of a line hold the power, or voltage and current.

    Attributes:
        indices: One column for a power, two for voltage and current.
        scale: What their product is multiplied with to give watts.
    """

    indices: tuple[int, ...]
    scale: float

    def watts(self, line: str) -> float | None:
        """The power that a line tells; None if it is none, as half a line is.

        Args:
            line: The line.
        """
        cells = _SPLIT.split(line.strip())
        product = self.scale
        for index in self.indices:
            try:
                product *= float(cells[index])
            except (IndexError, ValueError):
                return None
        return product if math.isfinite(product) else None


def columns_of(names: tuple[str, ...]) -> Columns | None:
    """Find the columns by their names; None if there is no power among them.

    Args:
        names: Such as ``("time_s", "voltage_V", "current_A")``.
    """
    known = {name.lower(): index for index, name in reversed(list(enumerate(names)))}

    def find(what: str) -> tuple[int, float] | None:
        found = [
            (known[n], unit) for n, unit in _UNITS.items() if n.startswith(what) and n in known
        ]
        return found[0] if found else None

    power = find("power_")
    if power is not None:
        return Columns((power[0],), power[1])
    volts, amperes = find("voltage_"), find("current_")
    if volts is None or amperes is None:
        return None
    return Columns((volts[0], amperes[0]), volts[1] * amperes[1])


def probe_meter(host: Host, settings: SensorSettings) -> Probe:
    """Open the meter that the settings name.

    Args:
        host: Its clock is taken.
        settings: The file or port, and what its columns are.
    """
    probe = Probe()
    path = settings.serial_port or settings.meter_file
    if path is None:
        return probe
    lines = _Lines(path, settings.serial_baud if settings.serial_port else None)
    try:
        columns = _known(lines, settings)
    except SensorError as error:
        lines.close()
        probe.passed.append(PassedOver(_NAME, str(path), error.what, error.remedy))
        return probe
    probe.sensors.append(MeterSensor(lines, columns, settings, host))
    return probe


def _known(lines: _Lines, settings: SensorSettings) -> Columns:
    if settings.meter_columns is not None:
        names, told = settings.meter_columns, "setting meter_columns"
        lines.open()
    elif lines.baud is not None:
        raise SensorError(f"what {lines.path} writes is not known", _COLUMNS)
    else:
        names, told = tuple(_SPLIT.split(lines.first().strip())), f"the first line of {lines.path}"
    columns = columns_of(names)
    if columns is None:
        raise SensorError(
            f"{told} names no power, nor voltage and current: {','.join(names)[:80]!r}", _COLUMNS
        )
    return columns


class _Lines:
    """Whole lines of a file that grows, or of a port, from now on."""

    def __init__(self, path: Path, baud: int | None) -> None:
        self.path = path
        self.baud = baud
        self._handle: int | None = None
        self._rest = b""
        self._is_part = False

    def first(self) -> str:
        """The first line of the file, at most 4096 bytes of it."""
        handle = self.open()
        try:
            return os.pread(handle, _MOST_LINE, 0).partition(b"\n")[0].decode("utf-8", "replace")
        except OSError as error:
            raise self._failed(error) from error

    def new(self) -> list[str]:
        """Lines that are whole by now and were not by the last call."""
        try:
            handle = self.open()
            data = self._read(handle)
        except OSError as error:
            raise self._failed(error) from error
        *lines, rest = (self._rest + data).split(b"\n")
        # A port that sends no ends of lines must not fill the memory.
        self._rest = rest[-_MOST_LINE:]
        if lines and self._is_part:
            del lines[0]
            self._is_part = False
        return [line.decode("utf-8", "replace") for line in lines]

    def open(self) -> int:
        """Open it, and pass over what is there already."""
        if self._handle is not None:
            return self._handle
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self._handle = os.open(self.path, flags)
            if self.baud is not None:
                _set_port(self._handle, self.baud)
                self._is_part = True
            elif not stat.S_ISREG(os.fstat(self._handle).st_mode):
                raise SensorError(f"{self.path} is no file", "name the file that the meter fills")
            else:
                self._begin(self._handle)
        except (OSError, termios.error) as error:
            failed = error if isinstance(error, OSError) else OSError(*error.args)
            raise self._failed(failed) from error
        except SensorError:
            self.close()
            raise
        return self._handle

    def close(self) -> None:
        """Close it; the next read opens it again."""
        handle, self._handle = self._handle, None
        self._rest = b""
        if handle is not None:
            os.close(handle)

    def _begin(self, handle: int) -> None:
        """Go to the end; a line that is half written there is not looked at."""
        end = os.lseek(handle, 0, os.SEEK_END)
        self._is_part = bool(end) and os.pread(handle, 1, end - 1) != b"\n"

    def _read(self, handle: int) -> bytes:
        here, there = os.fstat(handle), os.stat(self.path)  # noqa: PTH116 - beside fstat
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            self.close()
            handle = self.open()
        elif self.baud is None and here.st_size < os.lseek(handle, 0, os.SEEK_CUR):
            os.lseek(handle, 0, os.SEEK_SET)  # its program has begun it again
            self._rest = b""
        try:
            return os.read(handle, _MOST_BYTES)
        except BlockingIOError:
            return b""

    def _failed(self, error: OSError) -> SensorError:
        self.close()
        return unreadable(self.path, error, _PERMIT)


def _set_port(handle: int, baud: int) -> None:
    """Take bytes as they come, at a rate."""
    speed = getattr(termios, f"B{baud}")
    attributes = termios.tcgetattr(handle)
    control = termios.CS8 | termios.CREAD | termios.CLOCAL
    attributes[:6] = [0, 0, control, 0, speed, speed]
    attributes[6][termios.VMIN] = attributes[6][termios.VTIME] = 0
    termios.tcsetattr(handle, termios.TCSANOW, attributes)
    termios.tcflush(handle, termios.TCIFLUSH)


class MeterSensor(PowerSensor):
    """Takes the mean of the lines that came since the last read.

    Args:
        lines: Where they come.
        columns: What is in them.
        settings: Where the meter is put in, and how often it writes.
        host: Its clock is taken.
    """

    def __init__(
        self, lines: _Lines, columns: Columns, settings: SensorSettings, host: Host
    ) -> None:
        super().__init__(
            SensorInfo(
                name=_NAME,
                kind=_NAME,
                scope=settings.meter_scope,
                gives="power",
                rails=(_RAIL,),
                total=(_RAIL,),
                place=str(lines.path),
                max_hz=settings.meter_hz,
                window_ms=1000 / settings.meter_hz,
                most_w=MOST_WALL_W if settings.meter_scope == "wall" else MOST_BOARD_W,
                note="timed by when its lines come",
            )
        )
        self._lines = lines
        self._columns = columns
        self._host = host
        self._last_ns = host.clock()

    def read(self) -> Sample:
        """Take the lines that have come.

        Raises:
            SensorError: None has, or none that tells a power; or the meter is gone.
        """
        lines = self._lines.new()
        last_ns, self._last_ns = self._last_ns, self._host.clock()
        watts = [w for line in lines if (w := self._columns.watts(line)) is not None]
        if not watts:
            raise SensorError(
                f"meter {self._lines.path} has told nothing for "
                f"{(self._last_ns - last_ns) / 1e9:.2f} s"
                + (f", only {lines[-1][:40]!r}" if lines else ""),
                "check that it runs, meter_hz, and the port's speed",
            )
        power_w = plausible(self.info, _RAIL, sum(watts) / len(watts))
        return Sample(t0_ns=last_ns, t1_ns=self._last_ns, power_w=power_w, rails_w={_RAIL: power_w})

    def close(self) -> None:
        """Close the file or port."""
        self._lines.close()

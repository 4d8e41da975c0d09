"""INA219, 226, 228 and 260 on an I2C bus that the kernel has no driver for.

Registers are only read, never written: the chip goes on as it was set up. Voltage over the shunt
times the supply's is the power, with its sign; an INA228 counts energy itself, without sign, in
steps of what its calibration register says. Registers and steps: the chips' datasheets (TI SBOS448,
SBOS547, SBOS886, SBOS656). Bytes come with the highest first.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slfac.device.energy.base import PassedOver, PowerSensor, Probe, SensorInfo
from slfac.device.energy.counter import Counter, CounterSensor
from slfac.device.energy.host import Bus, Host, unreadable
from slfac.device.energy.rails import RailSensor
from slfac.device.energy.settings import SensorSettings
from slfac.wire.errors import SensorError, SlfacError

_KIND: Final = "i2c"
_RAIL: Final = "supply"
_AVERAGES: Final = (1, 4, 16, 64, 128, 256, 512, 1024)
_TIMES_MS: Final = (0.14, 0.204, 0.332, 0.588, 1.1, 2.116, 4.156, 8.244)
_TIMES_228_MS: Final = (0.05, 0.084, 0.15, 0.28, 0.54, 1.052, 2.074, 4.12)
_TIMES_219_MS: Final = (
    *(0.084, 0.148, 0.276, 0.532, 0.084, 0.148, 0.276, 0.532),
    *(0.532, 1.06, 2.13, 4.26, 8.51, 17.02, 34.05, 68.1),
)
_PERMIT: Final = "let this user use the bus: sudo usermod -aG i2c $USER, and log in again"
_BUSY: Final = (
    "the kernel has a driver for this chip: leave i2c_chip out, and it is found as ina2xx"
)


@dataclass(frozen=True)
class _Register:
    """A number in a chip.

    Attributes:
        at: Its register, of two bytes.
        shift: Low bits that belong to something else.
        signed: Whether it is in two's complement.
        step: What one of it is, in volts or amperes.
    """

    at: int
    shift: int
    signed: bool
    step: float


@dataclass(frozen=True)
class _Model:
    """What differs from chip to chip.

    Attributes:
        current: The voltage over the shunt, or the current itself.
        supply: The supply's voltage.
        has_shunt: Whether the shunt is inside, so that ``current`` is in amperes.
        ident: Register that says which chip it is, the bits that count, and what they are.
        window_ms: How long both conversions take, by register 0.
    """

    current: _Register
    supply: _Register
    has_shunt: bool
    ident: tuple[int, int, int] | None
    window_ms: Callable[[int], float]


def _window_219(setup: int) -> float:
    return _TIMES_219_MS[setup >> 7 & 15] + _TIMES_219_MS[setup >> 3 & 15]


def _window_226(setup: int) -> float:
    times_ms = _TIMES_MS[setup >> 6 & 7] + _TIMES_MS[setup >> 3 & 7]
    return times_ms * _AVERAGES[setup >> 9 & 7]


def _window_228(setup: int) -> float:
    times_ms = sum(_TIMES_228_MS[setup >> bit & 7] for bit in (9, 6, 3))
    return times_ms * _AVERAGES[setup & 7]


_MODELS: Final = {
    "ina219": _Model(
        _Register(1, 0, signed=True, step=10e-6),
        _Register(2, 3, signed=False, step=4e-3),
        has_shunt=False,
        ident=None,
        window_ms=_window_219,
    ),
    "ina226": _Model(
        _Register(1, 0, signed=True, step=2.5e-6),
        _Register(2, 0, signed=True, step=1.25e-3),
        has_shunt=False,
        ident=(0xFF, 0xFFF0, 0x2260),
        window_ms=_window_226,
    ),
    "ina260": _Model(
        _Register(1, 0, signed=True, step=1.25e-3),
        _Register(2, 0, signed=True, step=1.25e-3),
        has_shunt=True,
        ident=(0xFF, 0xFFF0, 0x2270),
        window_ms=_window_226,
    ),
}


# INA228: set-up, conversion times, calibration, energy, identity. 13107.2e6 and 51.2 are its
# datasheet's, sections 8.1.2 and 7.6.
_CONFIG, _ADC, _CAL, _ENERGY, _IDENT = 0x00, 0x01, 0x02, 0x09, 0x3F
_NARROW: Final = 1 << 4
_CAL_SCALE: Final = 13107.2e6
_ENERGY_SCALE: Final = 16 * 3.2
_ENERGY_BITS: Final = 40


def probe_i2c(host: Host, settings: SensorSettings) -> Probe:
    """Find the chip that the settings name.

    Args:
        host: Opens the bus.
        settings: The chip, its bus, address and shunt.
    """
    probe = Probe()
    if settings.i2c_chip is None:
        return probe
    place = f"{settings.i2c_chip} on /dev/i2c-{settings.i2c_bus} at {settings.i2c_address:#x}"
    wire = _Wire(host, settings, place)
    try:
        make = _counter if settings.i2c_chip == "ina228" else _power
        probe.sensors.append(make(host, settings, wire))
    except SlfacError as error:
        wire.close()
        probe.passed.append(PassedOver(_name(settings), place, error.what, error.remedy))
    return probe


def _name(settings: SensorSettings) -> str:
    return f"{_KIND}@{settings.i2c_bus}-{settings.i2c_address:04x}"


def _power(host: Host, settings: SensorSettings, wire: _Wire) -> PowerSensor:
    model = _MODELS[settings.i2c_chip or ""]
    if model.ident is not None:
        wire.check(*model.ident)
    rail = _Supply(wire, model, 1.0 if model.has_shunt else settings.shunt_ohm or 0.0)
    rail.watts()
    window_ms = model.window_ms(wire.number(0, 2))
    info = SensorInfo(
        name=_name(settings),
        kind=_KIND,
        scope=settings.scope or "board",
        gives="power",
        rails=(_RAIL,),
        total=(_RAIL,),
        place=wire.place,
        lsb_w=rail.step_w(),
        max_hz=min(round(1000 / window_ms, 1), 200.0),
        window_ms=window_ms,
    )
    return _WiredRails(info, rail, wire, host)


def _counter(host: Host, settings: SensorSettings, wire: _Wire) -> PowerSensor:
    wire.check(_IDENT, 0xFFF0, 0x2280)
    calibration = wire.number(_CAL, 2) & 0x7FFF
    if not calibration:
        raise SensorError(f"{wire.place} has no calibration", "write its register SHUNT_CAL")
    step_a = calibration / (_CAL_SCALE * (settings.shunt_ohm or 0.0))
    if wire.number(_CONFIG, 2) & _NARROW:
        step_a /= 4
    step_j = step_a * _ENERGY_SCALE
    window_ms = _window_228(wire.number(_ADC, 2))
    info = SensorInfo(
        name=_name(settings),
        kind=_KIND,
        scope=settings.scope or "board",
        gives="energy",
        rails=(_RAIL,),
        total=(_RAIL,),
        place=wire.place,
        lsb_j=step_j,
        max_hz=min(round(1000 / window_ms, 1), 200.0),
        window_ms=window_ms,
    )
    counter = Counter(lambda: wire.number(_ENERGY, 5), step_j, 2**_ENERGY_BITS)
    return _WiredCounter(info, counter, wire, host)


class _Wire:
    """A chip on a bus, which is opened when it is first needed, and again after a failure."""

    def __init__(self, host: Host, settings: SensorSettings, place: str) -> None:
        self.place = place
        self._host = host
        self._bus_number = settings.i2c_bus
        self._address = settings.i2c_address
        self._bus: Bus | None = None

    def number(self, at: int, size: int, *, signed: bool = False) -> int:
        """What a register holds."""
        try:
            if self._bus is None:
                self._bus = self._host.open_bus(self._bus_number)
            data = bytes(self._bus.read_i2c_block_data(self._address, at, size))
        except OSError as error:
            self.close()
            if error.errno == errno.EBUSY:
                raise SensorError(f"{self.place} is taken", _BUSY) from error
            raise unreadable(self.place, error, _PERMIT) from error
        return int.from_bytes(data, "big", signed=signed)

    def check(self, at: int, mask: int, wanted: int) -> None:
        """Make sure that it is the chip."""
        found = self.number(at, 2)
        if found & mask != wanted:
            raise SensorError(
                f"{self.place} says that it is {found:#06x}, not {wanted:#06x}",
                "check i2c_chip and i2c_address: `i2cdetect -y` lists a bus",
            )

    def close(self) -> None:
        """Close the bus; the next read opens it again."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()


class _Supply:
    """The supply that the chip's shunt is in."""

    label = _RAIL

    def __init__(self, wire: _Wire, model: _Model, ohm: float) -> None:
        self._wire = wire
        self._model = model
        self._ohm = ohm

    def watts(self) -> float:
        return self._value(self._model.current) / self._ohm * self._value(self._model.supply)

    def step_w(self) -> float:
        """The current's step at the present voltage."""
        return self._model.current.step / self._ohm * self._value(self._model.supply)

    def _value(self, register: _Register) -> float:
        number = self._wire.number(register.at, 2, signed=register.signed)
        return (number >> register.shift) * register.step


class _WiredRails(RailSensor):
    """A rail whose bus has to be closed."""

    def __init__(self, info: SensorInfo, rail: _Supply, wire: _Wire, host: Host) -> None:
        super().__init__(info, [rail], host)
        self._wire = wire

    def close(self) -> None:
        self._wire.close()


class _WiredCounter(CounterSensor):
    """A counter whose bus has to be closed."""

    def __init__(self, info: SensorInfo, counter: Counter, wire: _Wire, host: Host) -> None:
        super().__init__(info, {_RAIL: counter}, host)
        self._wire = wire

    def close(self) -> None:
        self._wire.close()

"""Damaged payloads: each is named by a number, so that a failure can be seen again."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.codecs import MAX_VALUES, decode_or_refuse, small_payloads

_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF)
_MAX_REPORTED = 12
_TRACED_EVERY = 16
# One small payload takes well below a millisecond; this is a hang, even on a busy machine.
_HANG_S = 5.0


def mutant(corpus: Sequence[bytes], number: int) -> bytes:
    """A damaged payload.

    Args:
        corpus: Sound payloads to start from.
        number: Which one; the same number gives the same bytes.

    Returns:
        One of the corpus after one to three mutations, nearly always different from it.
    """
    rng = random.Random(number)
    return bytes(damage(bytearray(rng.choice(corpus)), rng, corpus))


def damage(payload: bytearray, rng: random.Random, corpus: Sequence[bytes]) -> bytearray:
    """Put one to three mutations on bytes.

    Args:
        payload: The bytes; they may be changed in place.
        rng: Chooses.
        corpus: What pieces may be taken from.

    Returns:
        The bytes, nearly always different.
    """
    for _ in range(rng.choice((1, 1, 2, 3))):
        payload = rng.choice(_MUTATIONS)(payload, rng, corpus)
    return payload


def _place(payload: bytearray, rng: random.Random) -> int:
    """Somewhere; half of the time among the fields in front, where there is most to break."""
    end = len(payload)
    return rng.randrange(min(end, 24) if rng.random() < 0.5 else end) if end else 0


def _flip_bits(payload: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    for _flip in range(rng.choice((1, 1, 2, 8)) if payload else 0):
        payload[_place(payload, rng)] ^= 1 << rng.randrange(8)
    return payload


def _overwrite(payload: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    at, count = _place(payload, rng), rng.choice((1, 2, 4, 16))
    payload[at : at + count] = rng.randbytes(min(count, len(payload) - at))
    return payload


def _truncate(payload: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    return payload[: rng.randrange(len(payload) + 1)]


def _extend(payload: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    count = rng.choice((1, 2, 7, 64))
    return payload + (bytes(count) if rng.random() < 0.3 else rng.randbytes(count))


def _splice(payload: bytearray, rng: random.Random, corpus: Sequence[bytes]) -> bytearray:
    other = rng.choice(corpus)
    return payload[: _place(payload, rng)] + other[rng.randrange(len(other)) :]


def _swap_bodies(payload: bytearray, rng: random.Random, corpus: Sequence[bytes]) -> bytearray:
    """The body of one behind the header of another: nine bytes are a header of four axes."""
    other, at = rng.choice(corpus), rng.choice((7, 8, 9))
    return payload[:at] + other[at:]


def _extreme_field(payload: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    at, count = _place(payload, rng), rng.choice((1, 1, 2, 4, 8))
    low = bytes([rng.choice(_EXTREMES)])
    value = low + bytes([rng.choice((0, 0x7F, 0xFF))]) * (count - 1)
    payload[at : at + count] = value[: len(payload) - at]
    return payload


def _repeat_block(payload: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    at, count = _place(payload, rng), rng.choice((1, 2, 8, 32))
    return payload[: at + count] + payload[at:]


def _drop_block(payload: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    at, count = _place(payload, rng), rng.choice((1, 2, 8, 32))
    return payload[:at] + payload[at + count :]


_MUTATIONS = (
    _flip_bits,
    _flip_bits,
    _overwrite,
    _overwrite,
    _truncate,
    _extend,
    _splice,
    _swap_bodies,
    _extreme_field,
    _extreme_field,
    _repeat_block,
    _drop_block,
)


@dataclass
class FuzzResult:
    """What became of some mutants of one codec.

    Attributes:
        mutants: How many there were.
        decoded: How many of them decoded; the others were refused.
        failures: One reproducer for each place that failed, at most a dozen.
    """

    mutants: int = 0
    decoded: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def fuzz(name: str, numbers: range) -> FuzzResult:
    """Decode mutants of a codec's small payloads; watch the memory of some of them.

    Args:
        name: The codec.
        numbers: Which mutants.

    Returns:
        How it went.
    """
    corpus, result = small_payloads(name), FuzzResult()
    for number in numbers:
        payload = mutant(corpus, number)
        began_s = time.monotonic()
        try:
            trace = number % _TRACED_EVERY == 0
            result.decoded += decode_or_refuse(payload, trace_memory=trace)
            took_s = time.monotonic() - began_s
            assert took_s < _HANG_S, f"took {took_s:.1f} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} in {last.filename}:{last.lineno}"
            if len(result.failures) < _MAX_REPORTED:
                result.failures.setdefault(
                    place,
                    f"{name}, mutant {number}: {type(error).__name__}: {error}\n  "
                    f"decode(bytes.fromhex('{payload.hex()}'), max_values={MAX_VALUES})",
                )
        result.mutants += 1
    return result

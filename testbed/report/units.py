"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping


def human_bytes(count: float) -> str:
    """``1234567`` as ``1.23 MB``; a kB is 1000 bytes.

    Args:
        count: Bytes.
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size * 0.9995:
            return f"{_three_digits(count / size)} {unit}"
    return f"{count:.0f} B"


def human_ratio(part: float, whole: float) -> str:
    """How many times smaller ``part`` is than ``whole``, as ``12.3x``.

    Args:
        part: What was used.
        whole: What it is compared with.
    """
    return f"{_three_digits(whole / part)}x" if part > 0 else "-"


def human_seconds(seconds: float) -> str:
    """``83.21`` as ``83.2 s``, ``754`` as ``12 min 34 s``.

    Args:
        seconds: A duration.
    """
    if seconds < 120:
        return f"{_three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def percent(share: float | None) -> str:
    """``0.9312`` as ``93.1 %``.

    Args:
        share: In [0, 1]; None is a dash.
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def human_joules(joules: Mapping[str, float]) -> str:
    """Energies as people read them; different scopes are listed, and never added up.

    Args:
        joules: Scope -> energy.
    """
    values = (
        f"{value:.3g} J {scope}" if value < 999.5 else f"{value / 1e3:.4g} kJ {scope}"
        for scope, value in joules.items()
    )
    return ", ".join(values) or "unknown"

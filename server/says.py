"""What a server says to people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from slfac.server.energy import ScopeEnergy, energy_words, total_energies

if TYPE_CHECKING:
    from slfac.server.result import RunResult


_LIVE = ("page", "prometheus", "tensorboard")


class Says:
    """Says on standard error what happens, and on standard output what came of it.

    Args:
        rank: Number of this rank; None for a server that is alone.
    """

    def __init__(self, rank: int | None) -> None:
        self._name = name_of(rank)
        # What all ranks know, one of them says.
        self._is_first = not rank

    def event(self, event: dict[str, Any]) -> None:
        """Say what happened.

        Args:
            event: A metrics event.
        """
        kind = event["event"]
        if kind == "run":
            names = ", ".join(event["devices"])
            self._say(f"run {event['run']} at {event['address']}, waiting for {names}")
        elif kind == "restarted":
            self._say(_restarted(event))
        elif kind == "resumed":
            self._say(f"{event['device']} goes on from the beginning of round {event['round'] + 1}")
        elif kind == "live":
            self._say(", ".join(f"{name} at {event[name]}" for name in _LIVE if name in event))
        elif kind == "joined":
            missing = ", ".join(event["missing"])
            self._say(f"{event['device']} joined" + (f"; missing: {missing}" if missing else ""))
        elif kind == "left":
            self._say(f"{event['device']} left: {event['reason']}")
        elif kind == "early_stop" and self._is_first:
            self._say(
                f"early stop: no gain in {event['measure']} "
                f"in {event['rounds_without_gain']} rounds"
            )
        elif kind == "round" and self._is_first:
            accuracy = event["accuracy"]
            scored = f", accuracy {accuracy:.2%}" if accuracy is not None else ""
            if event["participation"] < 1:
                scored += f", {event['participation']:.0%} of batches in time"
            self._say(
                f"round {event['round'] + 1}/{event['rounds']}: "
                f"training loss {event['train_loss']:.4f}{scored}, "
                f"{event['devices']} devices, {event['seconds']:.1f} s, "
                f"{event['bytes_up'] / 1e6:.2f} MB up, "
                f"{event['bytes_down'] / 1e6:.2f} MB down so far" + _after_comma(_spent(event))
            )

    def result(self, result: RunResult) -> None:
        """Say what came of it.

        Args:
            result: The run's result.
        """
        print(
            f"{len(result.rounds)} rounds in {result.seconds:.1f} s, checkpoint {result.checkpoint}"
        )
        for device in result.devices:
            up = _ratio(device.float32_bytes_up, device.bytes_up)
            down = _ratio(device.float32_bytes_down, device.bytes_down)
            print(
                f"  {device.name}: {device.totals.steps} steps, "
                f"{device.bytes_up / 1e6:.2f} MB up ({up} of float32), "
                f"{device.bytes_down / 1e6:.2f} MB down ({down})"
                + _after_comma(energy_words(total_energies([device.totals.energy], ended=True)))
            )
        if spent := energy_words(result.energy, result.energy_unknown):
            print(f"energy of devices: {spent}")
        if result.accuracy is not None and self._is_first:
            print(f"accuracy {result.accuracy:.2%}")
        if result.best is not None and self._is_first:
            best = result.best
            print(f"best after round {best.round + 1}: {_score(best.measure, best.value)}")
        if result.refused_keys:
            print(f"refused {result.refused_keys} connections for their keys")
        if result.refused:
            causes = ", ".join(f"{cause} {count}" for cause, count in result.refused.items())
            print(f"refused {sum(result.refused.values())} messages: {causes}")

    def _say(self, line: str) -> None:
        print(f"{self._name}: {line}", file=sys.stderr, flush=True)


def name_of(rank: int | str | None) -> str:
    """What a server goes by in what it says.

    Args:
        rank: Number of its rank; None for a server that is alone.
    """
    return "slfac server" if rank is None else f"slfac server, rank {rank}"


def _restarted(event: dict[str, Any]) -> str:
    line = (
        f"run {event['run']} at {event['address']} goes on after {event['round']} of "
        f"{event['rounds']} rounds, waiting up to {event['wait_s']:g} s for "
        f"{', '.join(event['missing']) or 'any device'}"
    )
    if event["ended"]:
        line += "; the run had ended, so start its devices again"
    if event["revoked"]:
        line += f"; without {', '.join(event['revoked'])}, not enrolled any more"
    return line


def _spent(event: dict[str, Any]) -> str:
    energies = {scope: ScopeEnergy(**fields) for scope, fields in event["energy"].items()}
    words = energy_words(energies, event["energy_unknown"])
    return f"{words} in this round" if words else ""


def _after_comma(words: str) -> str:
    return f", {words}" if words else ""


def _score(measure: str, value: float) -> str:
    name = measure.replace("_", " ")
    return f"{name} {value:.4f}" if measure == "loss" else f"{name} {value:.2%}"


def _ratio(float32_bytes: int, sent_bytes: int) -> str:
    return f"1/{float32_bytes / sent_bytes:.1f}" if sent_bytes else "-"

"""Attribution of energy to phases on simulated power traces, whose truth is known.

``python -m harness.attribution`` (``make results-energy``) writes what it measures to
``docs/results/energy-attribution.json`` and ``energy-attribution.md``; a test of tests/contract
holds the page to the file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from harness.powertrace import IDLE_W, INSTANCE_SPREAD, PHASES, WANDER_S, Scene, Simulated, simulate
from slfac.device.energy.attribution import attribute
from slfac.device.energy.results import Attribution
from slfac.testbed.collect import machine, versions

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "energy-attribution.json"
REPETITIONS = 100
NOTE = f"""\
Steps of six phases, 265 ms together, that draw what the second table says above {IDLE_W} W when
idle. Durations differ from step to step by 6 to 35 %, power from instance to instance by
{100 * INSTANCE_SPREAD:g} %. 200 steps between two idle times of 10 s; readings dithered, with
1.25 % of white noise, 30 mW of noise that stays for some {WANDER_S} s, and a resolution of 40 mW.
Each line stands for {{count}} simulations, each attributed as a device does it, which does not
know the lag.

*Within*: how many of the 95 % intervals hold the true energy of their phase, in %. *Resolved*: how
many phases have an interval at all, in %. Then by phase, for the whole step by regression and for
the whole time by integration: the median error in %. In brackets, that of integrating power
between readings over each phase's times, which counts twice what two phases share. Last, the
median error of the lag.

The scenes: with *ramps*, power goes from 30 % above a phase's mean (of what it is above idle) to
30 % below, or the other way round. *Settling*, it starts there and decays within a quarter of the
phase; *steep settling* starts at 60 %. *Overlap*: half of forward runs while the other half is
sent. *All* is settling, overlap, drift and a lag of 25 ms at once."""
SENSORS: dict[str, dict[str, Any]] = {
    "10 Hz, 100 ms": {"rate_hz": 10.0, "window_s": 0.1},
    "25 Hz, 40 ms": {"rate_hz": 25.0, "window_s": 0.04},
    "75 Hz, 13 ms": {"rate_hz": 75.0, "window_s": 0.0133},
}
SCENES: dict[str, dict[str, Any]] = {
    "constant": {},
    "ramps": {"ramp": 0.3},
    "settling": {"ramp": 0.3, "curved": True},
    "steep settling": {"ramp": 0.6, "curved": True},
    "overlap": {"overlap": True},
    "idle drifts by 0.3 W": {"drift_w": 0.3},
    "lag of 10 ms": {"lag_s": 0.010},
    "lag of 25 ms": {"lag_s": 0.025},
    "lag of 50 ms": {"lag_s": 0.050},
    "noise of 5 %": {"noise": 0.05},
    "40 steps": {"steps": 40},
    "no idle time": {"idle_s": 0.1},
    "all": {"ramp": 0.3, "curved": True, "overlap": True, "drift_w": 0.3, "lag_s": 0.025},
}
# Sensors of other kinds, with a few scenes each.
OTHERS: list[tuple[str, str, dict[str, Any]]] = [
    ("10 Hz, 23 ms", "constant", {"rate_hz": 10.0, "window_s": 0.023}),
    ("10 Hz, 23 ms", "steep settling", {"rate_hz": 10.0, "window_s": 0.023}),
    ("10 Hz, 23 ms", "all", {"rate_hz": 10.0, "window_s": 0.023}),
    ("counter, 10 Hz", "all", {"rate_hz": 10.0, "counter": True, "lsb_w": 0.0}),
    ("counter, 50 Hz", "all", {"rate_hz": 50.0, "counter": True, "lsb_w": 0.0}),
    ("1 Hz, 1 s", "constant", {"rate_hz": 1.0, "window_s": 1.0}),
]


def conditions() -> list[tuple[str, str, Scene]]:
    """Every sensor with every scene: its name, the scene's, and both together."""
    found = [
        (sensor, name, Scene(**{**changes, **readings}))
        for sensor, readings in SENSORS.items()
        for name, changes in SCENES.items()
    ]
    found += [
        (sensor, name, Scene(**{**SCENES[name], **readings})) for sensor, name, readings in OTHERS
    ]
    return found


def by_windows(made: Simulated) -> dict[str, float]:
    """Joules of each phase in a step as power between readings gives them: the usual way."""
    trace = made.trace
    steps = np.diff(trace.t_s)
    means = (trace.watts[1:] + trace.watts[:-1]) / 2
    joules = np.concatenate([[0.0], np.cumsum(means * steps)])

    def until(t: np.ndarray) -> np.ndarray:
        row = np.clip(np.searchsorted(trace.t_s, t, side="right") - 1, 0, len(steps) - 1)
        after = t - trace.t_s[row]
        slope = (trace.watts[row + 1] - trace.watts[row]) / steps[row]
        return joules[row] + after * (trace.watts[row] + after * slope / 2)

    count = len(made.timeline.steps)
    return {
        name: float(np.sum(until(spans[:, 1]) - until(spans[:, 0]))) / count
        for name, spans in made.timeline.spans.items()
    }


def repetition(scene: Scene, seed: int) -> dict[str, Any]:
    """One simulation and its attribution.

    Returns:
        By phase and for the step: relative errors of both ways, the interval's half width and
        whether it holds the truth; None where not resolved. The total's error, and the lag.
    """
    made = simulate(scene, seed)
    found = attribute(made.timeline, made.trace, seed=seed)
    steps = len(made.timeline.steps)
    truth = {name: joules / steps for name, joules in made.joules.items()}
    truth["step"] = sum(truth.values())
    windows = by_windows(made)
    windows["step"] = sum(windows[name] for name in PHASES)
    row: dict[str, Any] = {"phases": {}}
    for entry in (*found.phases, found.step):
        true, told = truth[entry.phase], entry.joules_per_step
        row["phases"][entry.phase] = {
            "windows": windows[entry.phase] / true - 1,
            "error": told.value / true - 1 if told else None,
            "half": (told.high - told.low) / 2 / true if told else None,
            "holds": bool(told.low <= true <= told.high) if told else None,
        }
    return row | _whole(made, found, scene)


def _whole(made: Simulated, found: Attribution, scene: Scene) -> dict[str, Any]:
    joules, lag = found.total.joules, found.lag_s
    return {
        "total": joules / made.total_joules - 1 if joules is not None else None,
        "lag_error_s": lag.value - scene.lag_s if lag else None,
        "lag_holds": bool(lag.low <= scene.lag_s <= lag.high) if lag else None,
    }


def summary(sensor: str, scene: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table."""
    phases = {
        name: {
            "error": _median(row["phases"][name]["error"] for row in rows),
            "windows": _median(row["phases"][name]["windows"] for row in rows),
            "half": _median(row["phases"][name]["half"] for row in rows),
            "coverage": _share(row["phases"][name]["holds"] for row in rows),
            "resolved": sum(row["phases"][name]["holds"] is not None for row in rows) / len(rows),
        }
        for name in (*PHASES, "step")
    }
    holds = [row["phases"][name]["holds"] for row in rows for name in PHASES]
    return {
        "sensor": sensor,
        "scene": scene,
        "repetitions": len(rows),
        "coverage": _share(holds),
        "resolved": sum(held is not None for held in holds) / len(holds),
        "total": _median(row["total"] for row in rows),
        "lag_error_s": _median(row["lag_error_s"] for row in rows),
        "lag_coverage": _share(row["lag_holds"] for row in rows),
        "phases": phases,
    }


def _median(values: Any) -> float | None:
    known = [abs(value) for value in values if value is not None]
    return float(np.median(known)) if known else None


def _share(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def measure(repetitions: int, seed: int, jobs: int) -> list[dict[str, Any]]:
    """Every condition, so many times."""
    rows = []
    with ProcessPoolExecutor(jobs) as pool:
        for number, (sensor, name, scene) in enumerate(conditions()):
            seeds = [seed + 10_000 * number + i for i in range(repetitions)]
            done = list(pool.map(repetition, [scene] * repetitions, seeds, chunksize=5))
            rows.append(summary(sensor, name, done))
            line = rows[-1]
            sys.stderr.write(
                f"{sensor:16s} {name:22s} coverage {line['coverage'] or 0:.3f} "
                f"resolved {line['resolved']:.3f} "
                + " ".join(
                    f"{k[:4]} {100 * (p['coverage'] or 0):.0f}%/{100 * (p['error'] or 0):.1f}"
                    for k, p in line["phases"].items()
                )
                + f" lag {line['lag_error_s']} {line['lag_coverage']}\n"
            )
    return rows


def page(result: dict[str, Any]) -> str:
    """The page of a result: a table, and what made it."""
    made_by = {**result["machine"], **result["versions"]}
    names = (*PHASES, "step")
    lines = [
        "| Sensor | Scene | Within | Resolved | " + " | ".join(names) + " | Total | Lag |",
        "|---|---|" + "---|" * (len(names) + 4),
    ]
    for row in result["rows"]:
        cells = [_percent(row["coverage"], 0), _percent(row["resolved"], 0)]
        for name in names:
            own = row["phases"][name]
            cells.append(f"{_percent(own['error'], 1)} ({_percent(own['windows'], 1)})")
        lag = row["lag_error_s"]
        cells += [_percent(row["total"], 1), f"{1e3 * lag:.1f} ms" if lag is not None else "-"]
        lines.append(f"| {row['sensor']} | {row['scene']} | " + " | ".join(cells) + " |")
    worst = [
        "| Phase | Mean length | Above idle | Within, all conditions | Within, the worst |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        known = [
            (own["coverage"], own["resolved"], f"{row['sensor']}, {row['scene']}")
            for row in result["rows"]
            if (own := row["phases"][name])["coverage"] is not None
        ]
        mean = sum(c * share for c, share, _ in known) / sum(share for _, share, _ in known)
        # A handful of intervals that a rule let through says little by itself.
        least = min(entry for entry in known if entry[1] >= 0.5)
        length = f"{1e3 * PHASES[name][0]:.0f} ms" if name in PHASES else "265 ms"
        above = f"{PHASES[name][1]:.1f} W" if name in PHASES else ""
        worst.append(
            f"| {name} | {length} | {above} | {_percent(mean, 1)} % "
            f"| {_percent(least[0], 0)} %: {least[2]} |"
        )
    parts = [
        "# Attribution of energy to phases, on simulated traces",
        NOTE.format(count=result["repetitions"]),
        "\n".join(lines),
        "By phase, of what was resolved; worst where at least half of it was:",
        "\n".join(worst),
        f"```sh\ncd tests && {result['command']}\n```",
        ", ".join(f"{name} {value}" for name, value in made_by.items())
        + f", seed {result['seed']}, {result['date']}.",
    ]
    return "\n\n".join(parts) + "\n"


def _percent(value: float | None, digits: int) -> str:
    return f"{100 * value:.{digits}f}" if value is not None else "-"


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m harness.attribution")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    result = {
        "command": "python -m harness.attribution",
        "date": str(date.today()),  # noqa: DTZ011
        "machine": machine(),
        "versions": versions(),
        "seed": args.seed,
        "repetitions": args.repetitions,
        "rows": measure(args.repetitions, args.seed, args.jobs),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(page(result))


if __name__ == "__main__":
    main()

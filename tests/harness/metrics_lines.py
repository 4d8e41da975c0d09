"""Metrics of a run as a server writes them, made up, so that any fault can be among them."""

from __future__ import annotations

import datetime as dt
import json

START = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)


class Lines:
    """Writes a run's ``metrics.jsonl``, event by event.

    Attributes:
        lines: The lines so far.
    """

    def __init__(self, *, codec="slfac", seed=0, partition="iid", **settings):
        self.lines = []
        known = {"codec_up": codec, "codec_down": codec, "seed": seed, "partition": partition}
        self.event(
            "run",
            0.0,
            run="r",
            settings={**known, "rounds": 3, **settings},
            model="cnn",
            cut="pool1",
            mode="parallel",
            devices=["d1", "d2"],
            test_samples=100,
            slfac="0.1.0",
            torch="2.13.0",
            python="3.11.7",
            revision="0123456789ab",
            machine="x86_64",
        )

    def event(self, kind, at_s, **values):
        time = (START + dt.timedelta(seconds=at_s)).isoformat(timespec="milliseconds")
        self.lines.append(json.dumps({"event": kind, "time": time, **values}))
        return self

    def step(self, device, at_s):
        phases = {"forward": 10.0, "send": 5.0, "wait": 25.0, "backward": 10.0}
        return self.event("step", at_s, device=device, samples=8, phase_ms=phases)

    def round(self, number, at_s, *, accuracy=0.5, joules=None, unknown=0, **values):
        known = {
            "round": number,
            "rounds": 3,
            "train_loss": 1.0 / (number + 1),
            "accuracy": accuracy,
            "balanced_accuracy": accuracy,
            "loss": 0.5,
            "seconds": 10.0,
            "bytes_up": 1000 * (number + 1),
            "bytes_down": 900 * (number + 1),
            "float32_bytes_up": 9000 * (number + 1),
            "float32_bytes_down": 9000 * (number + 1),
            "clocks": {"d1": {"offset_ms": 3.25, "round_trip_ms": 1.0}, "d2": None},
            "energy": {scope: {"joules": value} for scope, value in (joules or {}).items()},
            "energy_unknown": unknown,
        }
        return self.event("round", at_s, **{**known, **values})

    def end(self, at_s, **values):
        for name in ("d1", "d2"):
            self.event(
                "device",
                at_s,
                device=name,
                steps=10,
                bytes_up=1500,
                bytes_down=1400,
                float32_bytes_up=9000,
                float32_bytes_down=9000,
                wire_bytes_up=2_500_000,
                wire_bytes_down=5_000_000,
                phase_ms={"forward": 100.0, "send": 50.0, "wait": 250.0, "backward": 100.0},
                late=0,
                refused={},
                energy={"spent": {}},
                summary={
                    "torch_imported": False,
                    "peak_rss_bytes": 10**8,
                    "samples": 50,
                    "provider": "cpu",
                },
            )
        known = {"seconds": at_s, "refused_keys": 0, "refused": {}, "repeated": 0}
        return self.event("end", at_s, **{**known, **values})

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.jsonl").write_text("\n".join(self.lines) + "\n")
        return folder


def whole_run(**settings):
    """A run of three rounds that came to its end."""
    lines = Lines(**settings)
    for number in range(3):
        lines.round(number, 10.0 * (number + 1), accuracy=0.5 + 0.1 * number)
    return lines.end(31.0)

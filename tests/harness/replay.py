"""Devices that compute nothing: they send recorded payloads the way a device does.

``python -m harness.replay ADDRESS KEYS PAYLOADS COUNT`` takes part in a run as d0, d1, ...,
a thread each, with the link that ``slfac device`` has.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from slfac.device.caller import Patience
from slfac.device.link import Link
from slfac.device.network import Sockets
from slfac.device.routes import Fixed
from slfac.wire.keys import device_keys
from slfac.wire.messages import Summary, Timings
from slfac.wire.transfer import Part

WAIT_S = 300.0
_MOST_BYTES = 1 << 26
_SUMMARY = Summary(False, 0, 0, 0, "", "", "", 0)


class Payload(msgspec.Struct):
    """What a device sent in one step.

    Attributes:
        smashed: The encoded smashed data.
        target: The encoded labels.
        samples: Samples in the batch.
    """

    smashed: bytes
    target: bytes
    samples: int


@dataclass
class Replay:
    """One device.

    Attributes:
        address: The server's.
        keys: The device's key folder.
        bundle: Id of the bundle that the run trains.
        payloads: What it sends, in turn.
    """

    address: str
    keys: Path
    bundle: str
    payloads: list[Payload]
    error: BaseException | None = None

    def run(self) -> None:
        """Take part until the server says stop."""
        link = Link(
            Sockets(
                where=Fixed(self.address),
                keys=device_keys(self.keys),
                patience=Patience(connect_s=WAIT_S, reconnect_s=WAIT_S),
                on_status=lambda _line: None,
            ),
            name="",
            bundle_id=self.bundle,
            on_status=lambda _line: None,
        )
        try:
            plan = link.join().plan
            reply = link.request("join", max_reply_bytes=_MOST_BYTES).reply
            step = 0
            while reply.header.directive == "train":
                round_ = reply.header.round
                for _ in range(plan.steps_per_round):
                    self._step(link, round_, step)
                    step += 1
                front = Part("front", "front", bytes(reply.part("front")[1]), "safetensors")
                reply = link.request(
                    "front", [front], max_reply_bytes=_MOST_BYTES, round_=round_, step=step
                ).reply
            link.bye(finished=True, timings=Timings(), summary=_SUMMARY)
        finally:
            link.close()

    def _step(self, link: Link, round_: int, step: int) -> None:
        payload = self.payloads[step % len(self.payloads)]
        parts = [
            Part("smashed", "smashed", payload.smashed),
            Part("target", "target", payload.target),
        ]
        link.request(
            "step",
            parts,
            max_reply_bytes=_MOST_BYTES,
            round_=round_,
            step=step,
            samples=payload.samples,
        )

    def guarded(self) -> None:
        """The same on a thread, whose error would get lost."""
        try:
            self.run()
        except BaseException as error:  # noqa: BLE001 - said at the end
            self.error = error


def main(address: str, keys: str, recorded: str, count: str) -> int:
    """Be so many devices until the run is over."""
    bundle, payloads = msgspec.msgpack.decode(
        Path(recorded).read_bytes(), type=tuple[str, list[Payload]]
    )
    devices = [
        # Not all in step with one another.
        Replay(address, Path(keys) / f"d{i}", bundle, payloads[i % 3 :] + payloads[: i % 3])
        for i in range(int(count))
    ]
    threads = [threading.Thread(target=device.guarded) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [str(device.error) for device in devices if device.error is not None]
    sys.stderr.writelines(f"{error}\n" for error in errors)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

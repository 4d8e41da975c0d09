"""The links of a testbed: what an emulated one is like, and when it is cut."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from slfac.testbed.inventory.fields import RateField, ShareField, TimeField

Shaper = Literal["auto", "tap", "kernel", "relay"]
Congestion = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,14}$")]


class Cut(BaseModel):
    """A time without a link.

    Attributes:
        at_s: When it begins, after the start of the run (``at`` in the file).
        for_s: How long it lasts (``for`` in the file).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_s: TimeField = Field(alias="at")
    for_s: Annotated[TimeField, Field(gt=0)] = Field(alias="for")


class Link(BaseModel):
    """The link of one device; each direction is shaped alike but for its rate.

    Attributes:
        rate: Bits a second up and down, Ethernet's headers included; None for no limit.
        delay_s: Delay one way, beside the time that the rate takes (``delay`` in the file).
        jitter_s: How far the delay varies to either side; packets stay in order (``jitter``).
        loss: Share of packets that get lost, each by itself.
        queue_s: How long a packet may wait for the link before it is dropped instead (``queue``).
        cuts: When the link is cut.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    rate: RateField | None = None
    delay_s: TimeField = Field(default=0.0, alias="delay")
    jitter_s: TimeField = Field(default=0.0, alias="jitter")
    loss: ShareField = 0.0
    queue_s: Annotated[TimeField, Field(gt=0)] = Field(default=0.1, alias="queue")
    cuts: tuple[Cut, ...] = ()


class Emulation(BaseModel):
    """How hosts are emulated.

    Attributes:
        shaper: What shapes links: a process on ``tap`` devices, the ``kernel`` by tbf and
            netem, or a ``relay`` for TCP that needs no rights; ``auto`` is tap, or else relay.
        congestion: TCP's congestion control in all hosts, ``inherit`` for this machine's;
            ``auto`` is ``cubic``, as on most boards, where the kernel lets hosts have it.
        seed: Seed of loss and jitter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shaper: Shaper = "auto"
    congestion: Congestion = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

"""The settings of one run: everything that decides its outcome but the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from slfac.codec.schedule import make_schedule
from slfac.server.modes.kinds import parse_mode
from slfac.server.optim_spec import parse_optimizer
from slfac.server.settings import (
    Precision,
    ServerSettings,
    TorchDevice,
    checked_settings,
    parse_partition,
)
from slfac.testbed.experiment.points import CodecPoint, parse_point
from slfac.testbed.link import LinkRate, parse_link
from slfac.wire.errors import SettingsError

Seed = Annotated[int, Field(ge=0, lt=2**32)]
# Of these, a server has settings of the same name that mean something else.
_OTHERS = {"data", "devices"}
# Of a server's settings, those that only a run's place decides.
_PLACES = {"bundle": Path("bundle"), "out": Path("out"), "keys": Path("keys")}


class RunSettings(BaseModel):
    """Everything a run of an experiment can be told.

    Attributes:
        model: Model to train, from ``slfac.export.models``.
        kwargs: More arguments of the model.
        cut: Its cut layer.
        head_cut: Where the head begins, for mode ``u-shaped``; empty for none.
        data: Name of a data set (docs/experiments.md) or path of one.
        split: ``test`` scores on the test set, ``validation`` on samples held out of the
            training set.
        train_samples: Samples to train on, the same ones for both splits; 0 for all.
        held_out: Samples of the validation split.
        devices: Devices of the run.
        codec: Spec of the codec both ways, or ``UP@DOWN``.
        mode: Way of split learning.
        partition: How the data is shared out over the devices.
        link: Links of the devices, such as ``5Mbit/20ms/1%``; one for all, or one a device;
            empty for no limit.
        seed: Seed of everything random.
        rounds: Rounds to train.
        steps_per_round: Steps of every device in a round; 0 means one pass of its data.
        batch_size: Samples a device puts into one step.
        optimizer: Spec of both halves' optimisers.
        device_optimizer: Spec of the devices'; empty means the same.
        schedule: Schedule of both halves' learning rates.
        micro_batches: Parts of a step, each trained as soon as it is in.
        stream_blocks: Parts in which a step's data is sent; it is trained as one.
        torch_device: Where the back half is: ``auto``, ``cpu`` or ``cuda``.
        precision: In which precision it computes.
        energy: Whether devices measure where their joules go.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str
    kwargs: dict[str, Any] = {}
    cut: str
    head_cut: str = ""
    data: str
    split: Literal["validation", "test"] = "test"
    train_samples: Annotated[int, Field(ge=0, le=10**7)] = 0
    held_out: Annotated[int, Field(ge=1, le=10**7)] = 10_000
    devices: Annotated[int, Field(ge=1, le=1024)] = 2
    codec: str = "slfac"
    mode: str = "parallel"
    partition: str = "iid"
    link: tuple[str, ...] = ()
    seed: Seed = 0
    rounds: Annotated[int, Field(ge=1, le=10**6)] = 10
    steps_per_round: Annotated[int, Field(ge=0, le=10**9)] = 0
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    optimizer: str = "sgd:lr=0.05,momentum=0.9"
    device_optimizer: str = ""
    schedule: str = "constant"
    micro_batches: Annotated[int, Field(ge=1, le=64)] = 1
    stream_blocks: Annotated[int, Field(ge=1, le=64)] = 1
    torch_device: TorchDevice = "auto"
    precision: Precision = "float32"
    energy: bool = False

    @field_validator("link", mode="before")
    @classmethod
    def _one_link(cls, value: Any) -> Any:
        """One text is one link for all devices, an empty one none."""
        if isinstance(value, str):
            return (value,) if value else ()
        return tuple(value) if isinstance(value, list) else value

    @property
    def point(self) -> CodecPoint:
        """The codecs of both directions."""
        return parse_point(self.codec)

    @property
    def links(self) -> tuple[LinkRate, ...]:
        """The link of each device, as numbers; empty for no limit."""
        rates = tuple(parse_link(text) for text in self.link)
        last = len(rates) - 1
        return tuple(rates[min(i, last)] for i in range(self.devices)) if rates else ()

    def check(self) -> None:
        """Check specs, and what must fit together.

        Raises:
            SettingsError: A spec is wrong, or settings do not go together; it names them.
        """
        checks: list[tuple[str, str, Callable[[str], object]]] = [
            ("codec", self.codec, parse_point),
            ("mode", self.mode, parse_mode),
            ("partition", self.partition, parse_partition),
            ("optimizer", self.optimizer, parse_optimizer),
            ("schedule", self.schedule, self._schedule),
            *(("link", text, parse_link) for text in self.link),
        ]
        if self.device_optimizer:
            checks.append(("device_optimizer", self.device_optimizer, parse_optimizer))
        for name, value, check in checks:
            try:
                check(value)
            except SettingsError as error:
                if error.what.startswith("setting "):
                    raise
                what = f"setting {name} is {value!r}: {error.what}"
                raise SettingsError(what, error.remedy) from error
        self._check_together()

    def _schedule(self, spec: str) -> object:
        return make_schedule(spec, rounds=self.rounds, steps_per_round=self.steps_per_round)

    def _check_together(self) -> None:
        if len(self.link) > self.devices:
            raise SettingsError(
                f"setting link has {len(self.link)} links for {self.devices} devices",
                "give one for all, or one a device",
            )
        if self.micro_batches > 1 and self.stream_blocks > 1:
            raise SettingsError(
                f"setting stream_blocks is {self.stream_blocks}, but micro_batches is "
                f"{self.micro_batches}: a step comes in parts of one kind",
                "leave out one of them",
            )
        if bool(self.head_cut) != (self.mode == "u-shaped"):
            raise SettingsError(
                f"setting mode is {self.mode!r} and head_cut is {self.head_cut!r}",
                "mode u-shaped needs a head_cut, and no other has one",
            )
        # What else its server would refuse, when other runs may have taken hours.
        names = (type(self).model_fields.keys() & ServerSettings.model_fields) - _OTHERS
        codecs = {"codec_up": self.point.up, "codec_down": self.point.down}
        checked_settings({**{name: getattr(self, name) for name in names}, **codecs, **_PLACES}, {})

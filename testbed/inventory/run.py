"""What a testbed trains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from slfac.server.settings import ServerSettings

# Of the server's settings, those that follow from the inventory itself.
DECIDED: Final = {
    "out": "results go where `slfac testbed` is told",
    "resume": "it is for `slfac testbed run` to say",
    "bind": "give server.listen",
    "announce": "devices are given the server's address",
    "advertise": "give server.address",
    "shards": "a testbed has one server process",
    "keys": "keys are made on the hosts",
    "insecure": "keys are made on the hosts",
    "devices": "the list of devices says it",
    "data": "give server.data",
}
_SHAPE = re.compile(r"\d{1,6}(x\d{1,6}){0,4}", re.ASCII)


class ModelChoice(BaseModel):
    """A model to export before the run, as ``slfac export`` does.

    Attributes:
        name: A model of ``slfac.export.models``.
        cut: Its cut layer.
        input: Shape of one sample, such as ``1x28x28``.
        classes: Number of classes.
        kwargs: More arguments of the model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    cut: Annotated[str, Field(min_length=1)]
    input: Annotated[str, Field(pattern=f"^{_SHAPE.pattern}$")]
    classes: Annotated[int, Field(ge=2, le=10**6)]
    kwargs: dict[str, Any] = {}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape as numbers."""
        return tuple(int(part) for part in self.input.split("x"))


class Run(BaseModel):
    """What to train, and how.

    Attributes:
        bundle: Bundle on this machine, which goes to the server; None where ``model`` is given.
        model: Model to make a bundle of; None where ``bundle`` is given.
        settings: Everything else that stands there: settings of ``slfac server``, checked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: Path | None = None
    model: ModelChoice | None = None
    settings: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _sort(cls, values: Any) -> Any:
        """Take the server's settings apart from the rest."""
        if not isinstance(values, dict) or "settings" in values:
            return values
        own = {name: values[name] for name in ("bundle", "model") if name in values}
        rest = {name: value for name, value in values.items() if name not in own}
        return {**own, "settings": rest} if rest else own

    @model_validator(mode="after")
    def _check(self) -> Run:
        if (self.bundle is None) == (self.model is None):
            raise ValueError("give either bundle or model")
        return self


def server_fields() -> list[str]:
    """Names of the settings of ``slfac server`` that may stand in ``run``."""
    return sorted({*ServerSettings.model_fields, "codec"} - {*DECIDED, "bundle"})

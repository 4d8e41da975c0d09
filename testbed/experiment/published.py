"""Figures that others have published of the same setting, to be shown beside an experiment's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from slfac.testbed.experiment.settings import RunSettings


class PublishedFigure(BaseModel):
    """A figure of somebody else's, as an experiment file has it.

    Attributes:
        label: Whose it is, and of what.
        round: After which round it was reached.
        accuracy: Test accuracy in per cent.
        where: Setting -> value of the runs that it is set beside.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    label: Annotated[str, Field(min_length=1, max_length=80)]
    round: Annotated[int, Field(ge=1, le=10**6)]
    accuracy: Annotated[float, Field(ge=0, le=100)]
    where: dict[str, Any] = {}

    @field_validator("where")
    @classmethod
    def _settings_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Refuse what no run can be told; one link is one for all devices, as in a run's."""
        for name in value:
            if name not in RunSettings.model_fields:
                raise ValueError(f"no run has a setting {name!r}")
        link = value.get("link")
        if isinstance(link, str):
            return {**value, "link": (link,) if link else ()}
        return {**value, "link": tuple(link)} if isinstance(link, list) else value

    def fits(self, run: Mapping[str, Any]) -> bool:
        """Whether it is of a run's setting.

        Args:
            run: The run's settings.
        """
        return all(run[name] == value for name, value in self.where.items())

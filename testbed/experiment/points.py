"""One point of a rate experiment: the codecs of the two directions."""

from __future__ import annotations

from dataclasses import dataclass

from slfac.codec import make_codec
from slfac.codec.spec import parse_spec
from slfac.wire.errors import SettingsError

BASELINE = "none"


@dataclass(frozen=True)
class CodecPoint:
    """What is coded how.

    Attributes:
        label: As the user wrote it.
        up: Canonical spec of the smashed data's codec.
        down: Canonical spec of the gradients' codec.
        family: Names of the codecs without their fields, ``slfac`` or ``slfac@fp16``.
    """

    label: str
    up: str
    down: str
    family: str


def parse_point(text: str) -> CodecPoint:
    """Read a point.

    Args:
        text: A codec's spec, which then serves both ways, or ``UP@DOWN``.

    Returns:
        The point.

    Raises:
        SettingsError: A spec is wrong.
    """
    up, at, down = text.partition("@")
    if not at:
        down = up
    try:
        names = parse_spec(up)[0], parse_spec(down)[0]
        specs = make_codec(up).spec, make_codec(down).spec
    except SettingsError as error:
        raise SettingsError(
            f"codec {text!r}: {error.what}",
            error.remedy or "give a spec, or one a direction as UP@DOWN",
        ) from error
    family = names[0] if names[0] == names[1] else "@".join(names)
    return CodecPoint(label=text, up=specs[0], down=specs[1], family=family)

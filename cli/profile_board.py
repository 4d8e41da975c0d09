"""Which board this machine is, by the profiles that slfac brings."""

from __future__ import annotations

import platform
import re

from slfac.device.energy.host import Host
from slfac.device.profiling.board import board_model, processor
from slfac.device.profiling.record import BoardFacts
from slfac.hw_profiles import load_profile, profile_names

_OTHER = re.compile(r"[^a-z0-9+._-]+")
_X86 = ("x86_64", "AMD64", "i686")


def name_board(host: Host) -> BoardFacts:
    """Which board this machine is.

    Args:
        host: Where its device tree is.

    Returns:
        The board of the profile whose ``model_match`` is the longest piece of the board's model;
        else what its model or its processor is called.
    """
    model = board_model(host)
    known = [load_profile(name).board for name in profile_names()]
    fitting = [board for board in known if board.model_match and board.model_match in model]
    if fitting:
        board = max(fitting, key=lambda one: len(one.model_match))
        return BoardFacts(name=board.name, title=model, model=model, model_match=board.model_match)
    if model:
        return BoardFacts(name=_slug(model), title=model, model=model)
    kind = platform.machine()
    return BoardFacts(name="x86" if kind in _X86 else _slug(kind), title=processor(host))


def _slug(text: str) -> str:
    """A name as profiles have them."""
    return _OTHER.sub("-", text.lower()).strip("-._+")[:64] or "board"

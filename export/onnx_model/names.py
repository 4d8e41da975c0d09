"""Names of weights: attributes of a module, made of ONNX's names, which can be anything."""

from __future__ import annotations

import keyword
import re

from torch import fx, nn

_LONGEST = 100
_TAKEN = frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph())))


def is_free(name: str) -> bool:
    """Whether a module may have an attribute of this name."""
    return name.isidentifier() and not keyword.iskeyword(name) and name not in _TAKEN


class Names:
    """Gives each weight a name that no other has.

    Args:
        reserved: Names of tensors, which a weight shares its inputs with.
    """

    def __init__(self, reserved: set[str]) -> None:
        self._reserved = reserved
        self._given: set[str] = set()

    def give(self, wanted: str, *, module: bool = False) -> str:
        """A name as near as can be to one that is wanted.

        Args:
            wanted: Any text, such as ``layer1.0.conv1.weight``.
            module: Whether it is for a module, whose weights have longer names.

        Returns:
            An identifier without dots, such as ``layer1_0_conv1_weight``.
        """
        plain = re.sub(r"[^A-Za-z0-9]+", "_", wanted).strip("_")[-_LONGEST:].strip("_")
        if not plain or plain[0].isdigit():
            plain = f"w{plain}"
        name, number = plain, 2
        taken = self._given if module else self._given | self._reserved
        while name in taken or not is_free(name):
            name, number = f"{plain}_{number}", number + 1
        self._given.add(name)
        return name

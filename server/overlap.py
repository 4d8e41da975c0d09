"""In how many parts a run's steps come, so that computing and sending overlap."""

from __future__ import annotations

from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from slfac.server.modes.kinds import parse_mode
from slfac.server.settings import ServerSettings
from slfac.wire.errors import SettingsError
from slfac.wire.manifest import Manifest

_AUTO = 4


def choose_micro_batches(settings: ServerSettings, manifest: Manifest, back: nn.Module) -> int:
    """How many micro-batches the devices are told to make.

    Args:
        settings: The server's settings; 0 leaves the choice to this function.
        manifest: The bundle's manifest.
        back: The back half.

    Returns:
        1 to 16.

    Raises:
        SettingsError: Some were asked for, and a half holds BatchNorm, or the bundle a head.
    """
    if manifest.head and max(settings.micro_batches, settings.stream_blocks) > 1:
        raise SettingsError(
            f"settings micro_batches and stream_blocks are {settings.micro_batches} and "
            f"{settings.stream_blocks}, but in mode u-shaped steps come whole",
            "leave both out",
        )
    half = _half_with_batch_norm(manifest, back)
    if settings.micro_batches > 1 and half:
        raise SettingsError(
            f"setting micro_batches is {settings.micro_batches}, but the {half} half holds "
            "BatchNorm, whose statistics would be those of a part of the batch",
            f"leave it out; stream_blocks = {settings.micro_batches} sends whole batches in parts",
        )
    if settings.micro_batches:
        return settings.micro_batches
    waits = (
        parse_mode(settings.mode, head=bool(manifest.head)).kind.in_parts
        and not settings.step_deadline_s
    )
    alone = settings.stream_blocks == 1
    return _AUTO if waits and alone and not half else 1


def _half_with_batch_norm(manifest: Manifest, back: nn.Module) -> str:
    """Which half normalises with the statistics of the batch; empty for none."""
    if manifest.batch_norm:
        return "front"
    return "back" if any(map(_holds_batch_norm, back.modules())) else ""


def _holds_batch_norm(module: nn.Module) -> bool:
    if isinstance(module, fx.GraphModule):
        return any(_trains_batch_norm(module, node) for node in module.graph.nodes)
    return isinstance(module, _BatchNorm)


def _trains_batch_norm(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.target is not functional.batch_norm:
        return False
    arguments = node.normalized_arguments(graph, normalize_to_only_use_kwargs=True)
    # A flag that the model computes may be true.
    return arguments is None or arguments.kwargs.get("training", False) is not False

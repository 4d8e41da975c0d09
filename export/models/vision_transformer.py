"""A vision transformer, with parameters named as in timm.

Sources: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image
Recognition at Scale", ICLR 2021; the tiny size of Touvron et al., "Training
data-efficient image transformers & distillation through attention", ICML 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from slfac.export.models.attention import EPS, Block, PatchEmbed
from slfac.export.models.limits import (
    check_choice,
    check_image,
    check_number,
    check_sizes,
    make_bounded,
)
from slfac.wire.errors import ExportError

POOLINGS = ("token", "mean")
_MAX_TOKENS = 4096
_MAX_BLOCKS = 48


class VisionTransformer(nn.Module):
    """The whole network; :func:`vit` checks its arguments."""

    def __init__(
        self,
        *,
        channels: int,
        tokens: int,
        num_classes: int,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        pooling: str,
    ) -> None:
        super().__init__()
        self.has_token = pooling == "token"
        if self.has_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens + self.has_token, dim))
        self.patch_embed = PatchEmbed(channels, dim, patch)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        # As timm has it: the last norm stands before the pooling of a token, after a mean.
        self.norm = nn.LayerNorm(dim, EPS) if self.has_token else nn.Identity()
        self.fc_norm = nn.Identity() if self.has_token else nn.LayerNorm(dim, EPS)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` to ``(B, num_classes)``."""
        x = self.patch_embed(x)
        if self.has_token:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        x = self.norm(self.blocks(x + self.pos_embed))
        pooled = x[:, 0] if self.has_token else x.mean(1)
        result: torch.Tensor = self.head(self.fc_norm(pooled))
        return result


def vit(
    *,
    num_classes: int,
    input_shape: Sequence[int],
    patch: int = 16,
    dim: int = 192,
    depth: int = 12,
    heads: int = 3,
    pooling: str = "token",
) -> nn.Module:
    """Build a vision transformer from JSON values; the defaults are ViT-Tiny's.

    Its modules are ``patch_embed``, ``blocks.0`` and on, ``norm``, ``fc_norm`` and ``head``.

    Args:
        num_classes: Width of the output.
        input_shape: ``(C, H, W)`` of one sample, H and W multiples of ``patch``, at most
            4096 patches.
        patch: Height and width of a patch.
        dim: Width of a token, a multiple of ``heads``.
        depth: Number of blocks, 1 to 48.
        heads: Heads of attention.
        pooling: What is classified: ``token``, a learned token that looks at all others,
            or ``mean`` of all tokens.

    Returns:
        The model, in training mode, freshly initialised.

    Raises:
        ExportError: A value is of the wrong type or out of bounds.
    """
    channels, height, width = check_image(input_shape, smallest=1)
    sizes = {"num_classes": num_classes, "patch": patch, "dim": dim, "depth": depth, "heads": heads}
    for name, value in sizes.items():
        check_sizes(name, [value], count=1)
    check_number("depth", depth, 1, _MAX_BLOCKS)
    check_choice("pooling", pooling, POOLINGS)
    if dim % heads:
        raise ExportError(f"argument dim is {dim}", f"give a multiple of heads, {heads}")
    tokens = (height // patch) * (width // patch)
    if height % patch or width % patch or tokens > _MAX_TOKENS:
        raise ExportError(
            f"argument patch is {patch} for images of {height}x{width}",
            f"give a divisor of both that makes at most {_MAX_TOKENS} patches",
        )
    return make_bounded(
        lambda: VisionTransformer(
            channels=channels,
            tokens=tokens,
            num_classes=num_classes,
            patch=patch,
            dim=dim,
            depth=depth,
            heads=heads,
            pooling=pooling,
        )
    )

"""Bounds on what a file or a structure may ask for, far above what classifiers need."""

from __future__ import annotations

# A file of 1 GiB of weights holds as many values as ViT-L or a ResNet-152 four times over.
MAX_WEIGHT_VALUES = 1 << 28
# One activation of one sample; EfficientNet-B7's largest has 2^23 values.
MAX_ACTIVATION_VALUES = 1 << 26
MAX_INPUT_VALUES = 1 << 24
MAX_NODES = 20_000
MAX_WEIGHTS = 20_000
MAX_NAME_CHARACTERS = 256
MAX_RANK = 8
MAX_SIZE = 1 << 31

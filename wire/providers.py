"""Where onnxruntime computes: its execution providers, with the options that training needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_DEVICE_ID = 0


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Attributes:
        label: What users call it.
        name: What onnxruntime calls it.
        options: Its options, as onnxruntime takes them.
        memory: Memory in which a step's tensors stay between the graphs, ``cpu`` or
            ``cuda``; empty where runs take and give NumPy arrays.
    """

    label: str
    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    memory: str = ""

    @property
    def entry(self) -> tuple[str, dict[str, str]]:
        """Name and options, for ``InferenceSession(providers=[...])``."""
        return self.name, dict(self.options)


CPU = Provider("cpu", "CPUExecutionProvider")

# https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
# TF32 keeps 10 bits of a float32's 23: gradients would be those of no other device. Searching
# for the best algorithm tries each one on every new shape, minutes on a small board. A board's
# GPU shares its memory with everything else, so that the arena grows by what is asked for.
CUDA = Provider(
    "cuda",
    "CUDAExecutionProvider",
    {
        "device_id": str(_DEVICE_ID),
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    },
    memory="cuda",
)

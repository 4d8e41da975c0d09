"""Which device torch works on, how precisely, and what is said when its memory is full."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from slfac.server.settings import Precision, TorchDevice
from slfac.wire.errors import SettingsError, TrainingError


def choose_device(name: TorchDevice) -> torch.device:
    """The device for the back half, and for the codecs that have a twin.

    Args:
        name: ``auto`` takes CUDA where torch finds it.

    Returns:
        The device.

    Raises:
        SettingsError: CUDA is asked for, but torch finds none.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise SettingsError(
            f"setting torch_device is 'cuda', but torch {torch.__version__} finds no CUDA device",
            "use auto or cpu, or install a CUDA build of torch and a driver; "
            "CUDA_VISIBLE_DEVICES may hide the device",
        )
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def choose_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The type in which layers that bear it compute.

    Args:
        name: ``auto`` takes bf16 on a CUDA device whose hardware has it.
        device: The device.

    Returns:
        ``torch.float32`` or ``torch.bfloat16``.
    """
    # Emulated, it would round without being any quicker.
    quick = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if name == "bf16" or (name == "auto" and quick) else torch.float32


def mixed_precision(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """A context in which a forward pass computes in a precision; weights stay float32.

    Args:
        device: The device.
        dtype: As :func:`choose_precision` gives it; with float32 the context does nothing.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype != torch.float32)


@contextlib.contextmanager
def memory_errors(doing: str) -> Iterator[None]:
    """Say what to do when the memory of the device is full.

    Args:
        doing: What is under way.

    Raises:
        TrainingError: Torch ran out of the device's memory.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory is full while {doing}: {error}",
            "use a smaller --batch-size or fewer devices, or --torch-device cpu",
        ) from error

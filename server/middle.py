"""The middle of a model that is cut twice: a training step in two phases.

Forward gives each device what the middle makes of its smashed data; each sends back the gradient
of its own mean loss with respect to that; backward makes of them one step of the middle and the
gradients of the smashed data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from slfac.server.accelerator import memory_errors
from slfac.server.back import LARGEST_VALUE, BackHalf, restore_tensors
from slfac.wire.errors import TrainingError

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class _Forward:
    """A forward pass whose gradients are to come.

    Attributes:
        sizes: Samples by device, in the order of concatenation.
        inputs: Smashed data of all devices.
        outputs: What the middle made of it.
        buffers: The middle's buffers, each with its value before.
    """

    sizes: dict[int, int]
    inputs: list[torch.Tensor]
    outputs: Tensors
    buffers: list[tuple[torch.Tensor, torch.Tensor]]


class Middle:
    """Trains a back half that does not reach to the loss.

    Args:
        back: The middle, with its optimiser.
    """

    def __init__(self, back: BackHalf) -> None:
        self.back = back
        self._forward: _Forward | None = None

    @memory_errors("the middle trains")
    def forward(self, smashed: Mapping[int, Tensors]) -> dict[int, Tensors]:
        """Forward over the samples of all devices as one batch.

        A device whose values exceed :data:`slfac.server.back.LARGEST_VALUE`, or for whom the
        middle gives what is not finite, is left out, as if it had sent nothing.

        Args:
            smashed: One tensor per smashed tensor by device, in the order of their indices.

        Returns:
            What the middle gives for each device; none for one that was left out.

        Raises:
            TrainingError: torch failed on the batch; or the memory of the device is full.
        """
        module = self.back.module.train()
        buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        taken = {index: tensors for index, tensors in smashed.items() if _is_sane(tensors)}
        while taken:
            sizes = {index: len(tensors[0]) for index, tensors in taken.items()}
            inputs = [
                torch.cat(parts).requires_grad_() for parts in zip(*taken.values(), strict=True)
            ]
            outputs = self._run(inputs)
            made = _split(outputs, sizes)
            finite = {index for index, tensors in made.items() if _is_finite(tensors)}
            if len(finite) == len(taken):
                self._forward = _Forward(sizes, inputs, outputs, buffers)
                return made
            # BatchNorm has taken the left-out samples into its statistics by now.
            restore_tensors(buffers)
            taken = {index: tensors for index, tensors in taken.items() if index in finite}
        return {}

    @memory_errors("the middle trains")
    def backward(self, gradients: Mapping[int, Tensors]) -> dict[int, Tensors]:
        """Backward of the last forward, and a step of the optimiser.

        The loss is the mean over the N samples of the devices that sent gradients. Each sent
        that of the mean over its own n_i, which weighs n_i / N; it gets the gradient of that
        same mean, so that its front takes the step that it would take alone. Samples of those
        who sent none, or one that is not finite or exceeds
        :data:`slfac.server.back.LARGEST_VALUE`, give no gradient.

        Args:
            gradients: Of what the middle gave, by device; of devices of the last forward.

        Returns:
            Gradients of the smashed data, for each device that sent sound ones. With none, the
            weights are as before.

        Raises:
            TrainingError: A gradient of the weights is not finite; the weights are as before.
                Or the memory of the device is full.
        """
        forward, self._forward = self._forward, None
        sound = {i for i, tensors in gradients.items() if _is_sane(tensors)}
        if forward is None or not sound:
            if forward is not None:
                restore_tensors(forward.buffers)
            return {}
        total = sum(size for index, size in forward.sizes.items() if index in sound)
        parts = [
            tuple(gradient * (size / total) for gradient in gradients[index])
            if index in sound
            else tuple(output.new_zeros(size, *output.shape[1:]) for output in forward.outputs)
            for index, size in forward.sizes.items()
        ]
        upstream = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        self.back.apply_gradients(forward.outputs, upstream)
        crossing = [
            torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
            for tensor in forward.inputs
        ]
        return {
            index: tuple(tensor * (total / forward.sizes[index]) for tensor in tensors)
            for index, tensors in _split(crossing, forward.sizes).items()
            if index in sound
        }

    def drop(self) -> None:
        """Forget a forward pass whose gradients will not come, statistics and all."""
        if self._forward is not None:
            restore_tensors(self._forward.buffers)
            self._forward = None

    @memory_errors("the middle is evaluated")
    @torch.no_grad()
    def evaluate(self, smashed: Sequence[torch.Tensor]) -> Tensors:
        """What the middle gives in evaluation mode.

        Args:
            smashed: One tensor per smashed tensor.

        Returns:
            Its outputs.

        Raises:
            TrainingError: torch failed on the batch; or the memory of the device is full.
        """
        self.back.module.eval()
        return self._run(smashed)

    def _run(self, inputs: Sequence[torch.Tensor]) -> Tensors:
        try:
            return self.back.outputs(inputs)
        except torch.cuda.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            raise TrainingError(
                f"the middle failed on a batch of {len(inputs[0])}: {error}",
                "change the batch size, or export the model again",
            ) from error


def _split(tensors: Sequence[torch.Tensor], sizes: Mapping[int, int]) -> dict[int, Tensors]:
    """Each device's own part of tensors of all."""
    parts = [torch.split(tensor.detach(), list(sizes.values())) for tensor in tensors]
    return dict(zip(sizes, zip(*parts, strict=True), strict=True))


def _is_sane(tensors: Tensors) -> bool:
    return all(bool((tensor.abs() <= LARGEST_VALUE).all()) for tensor in tensors)


def _is_finite(tensors: Tensors) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)

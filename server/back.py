"""The back half: rebuilt from a bundle, trained by one step over all devices' samples."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch

from slfac.server.accelerator import memory_errors, mixed_precision
from slfac.server.losses import per_sample_loss
from slfac.server.optim import make_torch_optimizer
from slfac.server.peers import Peers
from slfac.wire.bundle import BACK_FILE, Bundle
from slfac.wire.errors import BundleError, SlfacError, TrainingError
from slfac.wire.factories import check_allowed, import_allowed

# What trained layers put out stays within thousands, and float16, which a codec sends, ends
# at 65504. Products of values below this one with weights stay far inside float32, so what
# is larger can only ruin the weights that all devices share.
LARGEST_VALUE = 1e6
CPU = torch.device("cpu")
# Cuts a whole model; it needs torch alone, and no package of the exporter.
_REBUILD = "slfac.export.rebuild"


@dataclass(frozen=True)
class Batch:
    """One device's share of a step.

    Attributes:
        smashed: One tensor per smashed tensor, ``(B, ...) float32``, where the back half is.
        target: ``(B,) int64`` or ``(B, outputs) float32``.
        step_samples: Samples of the device's whole step, where this is a part of it; else 0.
    """

    smashed: tuple[torch.Tensor, ...]
    target: np.ndarray
    step_samples: int = 0

    @property
    def own_samples(self) -> int:
        """Samples of the device's whole step."""
        return self.step_samples or len(self.target)


@dataclass(frozen=True)
class Portion:
    """Which portion of a step is trained on at a time.

    Attributes:
        samples: Samples of the whole step, those of all devices and parts.
        first: Whether the step begins with it.
        last: Whether the step ends with it.
    """

    samples: int
    first: bool
    last: bool


@dataclass(frozen=True)
class Outcome:
    """What a step gives back to one device.

    Attributes:
        loss: Mean loss of its own samples in the call.
        gradients: Gradient of the mean loss of its whole step, one tensor per smashed tensor,
            where the back half is.
        staleness: Updates of the back half by other devices since the device's last
            gradient; None where a step waits for all.
    """

    loss: float
    gradients: tuple[torch.Tensor, ...]
    staleness: int | None = None


class BackHalf:
    """The model from the cut to the loss, with its optimiser.

    Args:
        bundle: Where it comes from.
        optimizer: Spec of the optimiser.
        allow: What its factory may be: ``package.module:callable`` for one callable,
            ``package.module`` for any that it or a module inside it defines.
        device: Where to train.
        peers: The ranks that train replicas of it.
        precision: In which type layers that bear it compute; weights, optimiser, losses and
            the gradients that leave are float32.

    Attributes:
        manifest: The bundle's.
        module: The torch module.
        optimizer: Its optimiser.
        device: Where both are.
        precision: As given.
        peers: The ranks that train replicas of it; a step is one of all of them.

    Raises:
        BundleError: The factory is not allowed, cannot be imported, or does not fit.
        TrainingError: The device cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        optimizer: str,
        allow: Sequence[str],
        device: torch.device = CPU,
        precision: torch.dtype = torch.float32,
        *,
        peers: Peers | None = None,
    ) -> None:
        self.peers = peers or Peers()
        self.manifest = bundle.manifest
        self._spec = optimizer
        self.device = device
        self.precision = precision
        self._take(_moved(_build(bundle, allow), device))

    def copy(self) -> BackHalf:
        """A back half of equal weights, with a fresh optimiser of its own."""
        twin = copy.copy(self)
        twin._take(copy.deepcopy(self.module))
        return twin

    def _take(self, module: torch.nn.Module) -> None:
        self.module = module
        parameters = list(module.parameters())
        # A cut behind the last layer with weights leaves nothing to train here.
        parameters = parameters or [torch.nn.Parameter(torch.zeros(0))]
        self.optimizer = make_torch_optimizer(self._spec, parameters)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._accumulated = 0

    def scale_rate(self, share: float) -> None:
        """Set the learning rate for the steps to come.

        Args:
            share: What to multiply the optimiser's own rate with.
        """
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share

    @memory_errors("the back half trains")
    def step(
        self, batches: Sequence[Batch], portion: Portion | None = None
    ) -> list[Outcome | None]:
        """Train on the samples of all devices, those of other ranks too, as one batch.

        The loss is the mean over all N samples. Device i gets the gradient of the mean
        over its own n_i, which is the global one times N / n_i, so that its front takes
        the step that it would take alone. A device whose values exceed :data:`LARGEST_VALUE`,
        or whose own loss is not finite, is left out, as if it had sent nothing.

        A step may come in portions: then N and the n_i are those of the whole step, the
        gradients of the weights add up over its calls, and the weights move with the last
        one. What a device that was left out had sent before stays in; the gradients are then
        those of the mean over what was trained on.

        Args:
            batches: One per device, in the order of their indices; none where all devices in
                the step are other ranks', or to end a step whose last portion never came.
            portion: Which portion of the step this is; None for the whole of it, which alone
                several ranks can make.

        Returns:
            One outcome per device, in the same order; None for a device that was left out.
            With all of all ranks left out, the weights are as before.

        Raises:
            TrainingError: A gradient of the weights is not finite, or torch failed on the
                batch; the weights are as before. Or the memory of the device is full, and
                the step is not to be made again.
        """
        self.module.train()
        if portion is None or portion.first:
            self.optimizer.zero_grad(set_to_none=True)
            self._accumulated = 0
        taken, inputs, losses, total = self._without_bad_ones(batches)
        samples = total if portion is None else portion.samples
        if total:
            self._backward(losses, 1 / samples if taken else 0.0)
            self._accumulated += total
        if (portion is None or portion.last) and self._accumulated:
            self._update(samples)
        outcomes: list[Outcome | None] = [None] * len(batches)
        if not taken:
            return outcomes
        sizes = [len(batches[i].target) for i in taken]
        parts = zip(*(torch.split(_gradient(tensor), sizes) for tensor in inputs), strict=True)
        for i, own, gradients in zip(
            taken, torch.split(losses.detach(), sizes), parts, strict=True
        ):
            scale = samples / batches[i].own_samples
            outcomes[i] = Outcome(float(own.mean()), tuple(g * scale for g in gradients))
        return outcomes

    def _without_bad_ones(
        self, batches: Sequence[Batch]
    ) -> tuple[list[int], list[torch.Tensor], torch.Tensor, int]:
        """Who is trained on, their samples as one batch, their losses; all ranks' samples."""
        taken = [i for i, batch in enumerate(batches) if _is_sane(batch)]
        buffers = [(buffer, buffer.clone()) for buffer in self.module.buffers()]
        while True:
            sizes = [len(batches[i].target) for i in taken]
            (total,) = self.peers.sums(sum(sizes))
            if not total:
                return [], [], torch.zeros(0), 0
            with self.peers.as_one_batch(counts=bool(taken)):
                inputs, losses = self._forward([batches[i] for i in taken] or [self._stand_in()])
            own = torch.split(losses.detach(), sizes) if taken else ()
            finite = [bool(part.mean().isfinite()) for part in own]
            (lost,) = self.peers.sums(finite.count(False))
            if not lost:
                return taken, inputs, losses, total
            # BatchNorm has taken the left-out samples into its statistics by now.
            restore_tensors(buffers)
            taken = [i for i, keep in zip(taken, finite, strict=True) if keep]

    def _stand_in(self) -> Batch:
        """A sample that does not count, for a rank without any to keep step with the others."""
        manifest, device = self.manifest, self.device
        smashed = tuple(torch.zeros(1, *spec.shape, device=device) for spec in manifest.smashed)
        if manifest.loss == "cross_entropy":
            return Batch(smashed, np.zeros(1, np.int64))
        return Batch(smashed, np.zeros((1, manifest.num_outputs), np.float32))

    def _forward(self, batches: Sequence[Batch]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The samples of all batches as one, and the loss of each."""
        inputs = [
            torch.cat(tensors).requires_grad_()
            for tensors in zip(*(batch.smashed for batch in batches), strict=True)
        ]
        whole = np.concatenate([batch.target for batch in batches])
        target = torch.from_numpy(whole).to(self.device)
        try:
            losses = per_sample_loss(self.manifest.loss, self.outputs(inputs)[0], target)
        except torch.cuda.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            # BatchNorm, for one, cannot train on a single sample.
            raise TrainingError(
                f"the back half failed on a batch of {len(target)}: {error}",
                "change the batch size, or export the model again",
            ) from error
        return inputs, losses

    def apply_gradients(
        self, outputs: Sequence[torch.Tensor], upstream: Sequence[torch.Tensor]
    ) -> None:
        """Backward through the module, and a step of the optimiser.

        Args:
            outputs: What the module gave.
            upstream: The gradient of each.

        Raises:
            TrainingError: A gradient of the weights is not finite; they are as before.
        """
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(outputs, upstream)
        self._accumulated = 1
        self._update(1)

    def outputs(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """What the module makes of its inputs, as float32 in whatever precision it computes.

        Args:
            inputs: Its inputs.

        Returns:
            One tensor an output.
        """
        with mixed_precision(self.device, self.precision):
            made: torch.Tensor | tuple[torch.Tensor, ...] = self.module(*inputs)
        return tuple(tensor.float() for tensor in (made if isinstance(made, tuple) else (made,)))

    def _backward(self, losses: torch.Tensor, weight: float) -> None:
        torch.autograd.backward(losses, torch.full_like(losses, weight))
        if not weight:
            # What does not count may still not be finite.
            torch._foreach_zero_(self._gradients())

    def _gradients(self) -> list[torch.Tensor]:
        return [p.grad for p in self.module.parameters() if p.grad is not None]

    def _update(self, samples: int) -> None:
        gradients = self._gradients()
        self.peers.add(gradients)
        if not all(bool(gradient.isfinite().all()) for gradient in gradients):
            raise TrainingError(
                "a gradient of the back half is no longer finite: training diverged",
                "lower the learning rate",
            )
        if self._accumulated < samples:
            for gradient in gradients:
                gradient.mul_(samples / self._accumulated)
        self.optimizer.step()

    @memory_errors("the back half is evaluated")
    @torch.no_grad()
    def evaluate(
        self, smashed: Sequence[np.ndarray], target: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Loss and largest outputs on samples whose activations were computed elsewhere.

        Args:
            smashed: One array per smashed tensor.
            target: As in :class:`Batch`.

        Returns:
            Sum of the samples' losses, and which output is the largest, ``(N,) int64``.

        Raises:
            TrainingError: The memory of the device is full.
        """
        self.module.eval()
        (output,) = self.outputs([torch.from_numpy(array).to(self.device) for array in smashed])
        expected = torch.from_numpy(target).to(self.device)
        loss = float(per_sample_loss(self.manifest.loss, output, expected).sum())
        return loss, output.argmax(1).cpu().numpy()


def _is_sane(batch: Batch) -> bool:
    tensors = [*batch.smashed]
    if batch.target.dtype.kind == "f":
        tensors.append(torch.from_numpy(batch.target))
    return all(bool((tensor.abs() <= LARGEST_VALUE).all()) for tensor in tensors)


@torch.no_grad()
def restore_tensors(tensors: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Give tensors back the values that they had.

    Args:
        tensors: Each with its value.
    """
    for tensor, before in tensors:
        tensor.copy_(before)


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)


def _moved(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    try:
        return module.to(device)
    # torch asserts that it was built for the device.
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(
            f"the back half cannot be moved to {device}: {error}",
            "--torch-device cpu trains on the CPU",
        ) from error


def _build(bundle: Bundle, allow: Sequence[str]) -> torch.nn.Module:
    spec = bundle.manifest.back
    check_allowed(spec.factory, allow, bundle=bundle.path)
    try:
        factory = import_allowed(spec.factory, allow)
        if spec.cut:
            rebuild = importlib.import_module(_REBUILD).back_half
            head = bundle.manifest.head
            head_cut = head.cut if head else ""
            module = rebuild(factory, spec.kwargs, spec.cut, bundle.manifest.input.shape, head_cut)
        else:
            module = factory(**spec.kwargs)
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"it made a {type(module).__name__}, not a torch module")
        state = safetensors.torch.load_file(bundle.file(BACK_FILE))
        module.load_state_dict(state, strict=True)
    except SlfacError:
        raise
    except Exception as error:
        raise BundleError(
            f"bundle {bundle.path}: its back half {spec.factory} cannot be rebuilt: {error}",
            "export it again with this release",
        ) from error
    return module

"""The all-torch twin of a run in any mode: it takes the batches in the order in which the run did.

The order comes from the run's metrics: each step's line says which training of its round it was
part of, and at which place. The batches come from the data set, drawn as the devices draw them.
None of slfac's machinery computes anything here.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from harness.site import ServerThread
from slfac.data import BatchStream, apply, open_dataset, partition
from slfac.device import DeviceResult
from slfac.wire.bundle import Bundle

Draw = Callable[[], tuple[torch.Tensor, torch.Tensor]]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Event = dict[str, object]


def device_batches(
    bundle: Bundle,
    data: Path,
    *,
    index: int,
    count: int,
    batch_size: int,
    scheme: str,
    seed: int,
    beta: float = 0.5,
) -> tuple[Draw, int]:
    """What a device draws, as tensors, and how many batches make a pass."""
    manifest = bundle.manifest
    dataset = open_dataset(
        data, split="train", input_shape=manifest.input.shape, num_classes=manifest.num_outputs
    )
    chosen = partition(
        dataset.labels,
        scheme=scheme,
        index=index,
        count=count,
        beta=beta,
        seed=seed,
        min_samples=2,
    )
    stream = BatchStream(len(chosen), batch_size, seed, index)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        rows = chosen[stream.next()]
        x = apply(manifest.preprocessing, dataset.images[rows])
        return torch.from_numpy(x), torch.from_numpy(dataset.labels[rows])

    return draw, stream.batches_per_epoch


class Half:
    """A part of a model with an optimiser of its own."""

    def __init__(self, module: nn.Module, make: MakeOptimizer) -> None:
        self.module = module
        self.optimizer = make(module.parameters())

    def load(self, state: dict[str, torch.Tensor]) -> None:
        self.module.load_state_dict(state)


class ModeTwin:
    """Fronts, one a device, and back halves as the mode has them.

    Args:
        mode: Name of the mode.
        front: The front that all begin with.
        back: The back half, likewise.
        draws: What each device draws.
        make: Makes an optimiser.

    Attributes:
        losses: Of each device's steps.
        front: The front after the rounds so far.
        back: The back half, likewise.
    """

    def __init__(
        self,
        mode: str,
        front: nn.Module,
        back: nn.Module,
        draws: Sequence[Draw],
        make: MakeOptimizer,
    ) -> None:
        self.losses: list[list[float]] = [[] for _ in draws]
        self.front, self.back = front, back
        self._mode = mode
        self._draws = draws
        self._fronts = [Half(copy.deepcopy(front), make) for _ in draws]
        count = len(draws) if mode == "sfl-v1" else 1
        self._backs = [Half(copy.deepcopy(back), make) for _ in range(count)]

    def replay(self, events: Sequence[Event], names: Sequence[str]) -> None:
        """Go through a whole run.

        Args:
            events: Its metrics.
            names: The devices', by index.
        """
        rounds: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        for event in events:
            if event["event"] == "step":
                place = event["place"], names.index(event["device"])
                rounds[event["round"]][event["training"]].append(place)
        for _, trainings in sorted(rounds.items()):
            self._round([[i for _, i in sorted(group)] for _, group in sorted(trainings.items())])

    def _round(self, trainings: Sequence[Sequence[int]]) -> None:
        samples = [0] * len(self._draws)
        turn = None
        for order in trainings:
            if self._mode == "relay" and order[0] != turn:
                if turn is not None:
                    self._fronts[order[0]].load(self._fronts[turn].module.state_dict())
                turn = order[0]
            together = self._mode in {"parallel", "u-shaped"}
            groups = [order] if together else [[index] for index in order]
            for group in groups:
                for index, size in zip(group, self._step(group), strict=True):
                    samples[index] += size
        fronts = [half.module.state_dict() for half in self._fronts]
        front = fronts[turn] if turn is not None else average(fronts, samples)
        for half in self._fronts:
            half.load(front)
        self.front.load_state_dict(front)
        backs = [half.module.state_dict() for half in self._backs]
        back = average(backs, samples) if len(backs) > 1 else backs[0]
        for half in self._backs:
            half.load(back)
        self.back.load_state_dict(back)

    def _step(self, order: Sequence[int]) -> list[int]:
        back = self._backs[order[0] if len(self._backs) > 1 else 0]
        drawn = {index: self._draws[index]() for index in order}
        smashed = {index: self._fronts[index].module(x) for index, (x, _) in drawn.items()}
        leaves = {index: z.detach().requires_grad_() for index, z in smashed.items()}
        target = torch.cat([drawn[index][1] for index in order])
        output = back.module(torch.cat([leaves[index] for index in order]))
        losses = functional.cross_entropy(output, target, reduction="none")
        back.optimizer.zero_grad()
        losses.mean().backward()
        back.optimizer.step()
        sizes = [len(drawn[index][1]) for index in order]
        for index, own, size in zip(order, torch.split(losses.detach(), sizes), sizes, strict=True):
            self.losses[index].append(float(own.mean()))
            front = self._fronts[index]
            front.optimizer.zero_grad()
            smashed[index].backward(leaves[index].grad * (len(target) / size))
            front.optimizer.step()
        return sizes

    @torch.no_grad()
    def accuracy(self, bundle: Bundle, data: Path) -> float:
        """Accuracy on the test split."""
        manifest = bundle.manifest
        dataset = open_dataset(
            data, split="test", input_shape=manifest.input.shape, num_classes=manifest.num_outputs
        )
        self.front.eval(), self.back.eval()
        right = 0
        for start in range(0, len(dataset.labels), 1000):
            rows = slice(start, start + 1000)
            x = torch.from_numpy(apply(manifest.preprocessing, dataset.images[rows]))
            right += int((self.back(self.front(x)).argmax(1).numpy() == dataset.labels[rows]).sum())
        return right / len(dataset.labels)


def average(
    states: Sequence[dict[str, torch.Tensor]], samples: Sequence[int]
) -> dict[str, torch.Tensor]:
    """The mean, weighted by samples."""
    total = sum(samples)
    return {
        name: sum(
            state[name].double() * (count / total)
            for state, count in zip(states, samples, strict=True)
        ).to(tensor.dtype)
        for name, tensor in states[0].items()
    }


def assert_follows(
    server: ServerThread,
    devices: Sequence[DeviceResult],
    twin: ModeTwin,
    front: Mapping[str, torch.Tensor],
) -> None:
    """A run made its twin's losses, and both learned; weights and losses within 1e-3.

    Args:
        server: The server of the run, which is over.
        devices: What its devices say.
        twin: The twin, after its replay.
        front: All that the twin's devices hold.
    """
    for device, losses in zip(devices, twin.losses, strict=True):
        assert len(device.losses) == len(losses) > 0
        assert np.abs(np.array(device.losses) - np.array(losses)).max() < 1e-3
    losses = np.array(twin.losses)
    learned = losses[:, -5:].mean() < 0.9 * losses[:, :5].mean()
    assert learned, "it has to learn, or this proves nothing"
    result = server.finished()
    for name, tensor in front.items():
        assert np.abs(result.front[name] - tensor.numpy()).max() < 1e-3
    trained = load_file(result.checkpoint / "back.safetensors")
    for name, tensor in twin.back.state_dict().items():
        assert (trained[name] - tensor).abs().max() < 1e-3

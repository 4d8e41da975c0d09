"""The ranks of a torchrun, and the collectives they work by.

Integers, bytes and decisions cross between CPUs (gloo); gradients and BatchNorm's sums cross where
the back half is: gloo on a CPU, NCCL on GPUs. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from slfac.server.peers import Peers
from slfac.server.shard.batchnorm import SyncedBatchNorm
from slfac.wire.errors import RunError, TrainingError

# Largest piece that gradients cross in.
_PIECE_BYTES = 64 << 20
_FAILED = "failed"
_MOST_REASON = 2048
_SOURCE = re.compile(r"\[[^\]]*\.(cc|cpp|h):\d+\] *")


class RankLostError(RunError):
    """Another rank of the run failed, and with it this one's part in the run.

    Args:
        what: See :class:`SlfacError`.
        remedy: See :class:`SlfacError`.
        final: Whether that rank has left word that the run cannot go on.
    """

    def __init__(self, what: str, remedy: str = "", *, final: bool = False) -> None:
        super().__init__(what, remedy)
        self.final = final


class Group(Peers):
    """All ranks of a run; each call is a collective of theirs.

    Args:
        ranks: The process group.
        store: What all ranks see, even when one has failed.
        rank: Number of this rank.
        world: How many ranks there are.
    """

    def __init__(
        self,
        ranks: dist.ProcessGroup | dist.ProcessGroupGloo,
        store: Store,
        *,
        rank: int,
        world: int,
    ) -> None:
        self.rank = rank
        self.world = world
        self._ranks: Any = ranks
        self._store = store

    def share(self, *values: float) -> list[tuple[float, ...]]:
        """See :meth:`Peers.share`; a signal can interrupt the wait for slower ranks.

        Raises:
            RankLostError: Another rank failed.
        """
        every = self.gather_tensor(torch.tensor(values, dtype=torch.float64))
        return [tuple(entry.tolist()) for entry in every]

    def gather(self, data: bytes) -> list[bytes]:
        """See :meth:`Peers.gather`.

        Raises:
            RankLostError: Another rank failed.
        """
        sizes = [int(size) for (size,) in self.share(len(data))]
        padded = torch.frombuffer(bytearray(data.ljust(max(sizes) or 1, b"\0")), dtype=torch.uint8)
        every = self.gather_tensor(padded)
        return [entry.numpy().tobytes()[:size] for entry, size in zip(every, sizes, strict=True)]

    def gather_tensor(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """See :meth:`Peers.gather_tensor`.

        Raises:
            RankLostError: Another rank failed.
        """
        every = [torch.empty_like(tensor) for _ in range(self.world)]
        self._wait(lambda: self._ranks.allgather([every], [tensor]), tensor.device)
        return every

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """See :meth:`Peers.add`. The ranks get the same bits.

        Raises:
            RankLostError: Another rank failed.
        """
        for piece in _pieces(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in piece])
            self._wait(lambda flat=flat: self._ranks.allreduce([flat]), flat.device)  # type: ignore[misc]
            sums = torch.split(flat, [tensor.numel() for tensor in piece])
            for tensor, total in zip(piece, sums, strict=True):
                tensor.copy_(total.view_as(tensor))

    def confirm(self, module: torch.nn.Module) -> None:
        """See :meth:`Peers.confirm`.

        Raises:
            RankLostError: Another rank failed.
            TrainingError: The replicas differ.
        """
        total = hashlib.sha256()
        for name, tensor in module.state_dict().items():
            total.update(name.encode())
            total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        if len({*self.gather(total.digest())}) > 1:
            raise TrainingError(
                "the ranks' replicas of the back half are not the same any more",
                "use one version of torch and one kind of machine for all ranks",
            )

    def as_one_batch(self, *, counts: bool) -> contextlib.AbstractContextManager[object]:
        """See :meth:`Peers.as_one_batch`: BatchNorm is what depends on a batch."""
        return SyncedBatchNorm(self, counts=counts)

    def declare(self, reason: str) -> None:
        """Leave word why the run cannot go on; the first word stays.

        Args:
            reason: For people.
        """
        with contextlib.suppress(RuntimeError):
            text = f"rank {self.rank}: {reason}"[:_MOST_REASON]
            self._store.compare_set(_FAILED, "", text)

    def _wait(self, begin: Callable[[], Any], device: torch.device) -> None:
        try:
            work = begin()
            if device.type == "cpu":
                # Unlike torch's own wait, this one lets Ctrl-C and SIGTERM in.
                done = threading.Event()
                work.get_future().add_done_callback(lambda _: done.set())
                done.wait()
            work.wait()
        except RuntimeError as error:
            if reason := self._reason():
                raise RankLostError(reason, final=True) from error
            raise RankLostError(
                f"the link to another rank broke: {first_line(error)}",
                "see what that rank said; torchrun starts all again while --max-restarts lasts",
            ) from error

    def _reason(self) -> str:
        with contextlib.suppress(RuntimeError):
            if self._store.check([_FAILED]):
                return str(self._store.get(_FAILED).decode())
        return ""


def _pieces(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Tensors of one dtype behind one another, together no larger than a piece if they can be."""
    piece: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        grown = size + tensor.nbytes
        if piece and (grown > _PIECE_BYTES or tensor.dtype != piece[0].dtype):
            yield piece
            piece, grown = [], tensor.nbytes
        piece.append(tensor)
        size = grown
    if piece:
        yield piece


def first_line(error: BaseException) -> str:
    """What torch says of a failure, without its stack.

    Args:
        error: The failure.
    """
    line = (str(error).splitlines() or [type(error).__name__])[0]
    # Before it comes a place in torch's source, behind it advice about training by torch alone.
    return _SOURCE.sub("", line).partition(". ")[0]

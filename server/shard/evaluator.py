"""Scores that one rank computes for all."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from slfac.server.back import BackHalf
from slfac.server.evaluate import Evaluator, Score
from slfac.server.peers import Peers
from slfac.wire.errors import BundleError


class SharedEvaluator(Evaluator):
    """Tells all ranks what the first one's evaluator finds.

    Args:
        own: This rank's evaluator; None on all but the first.
        peers: The ranks.
    """

    def __init__(self, own: Evaluator | None, peers: Peers) -> None:
        self._own = own
        self._peers = peers

    def __len__(self) -> int:
        """Samples that this rank evaluates on."""
        return len(self._own) if self._own is not None else 0

    def score(self, front: Mapping[str, np.ndarray], back: BackHalf) -> Score:
        """See :meth:`Evaluator.score`.

        Raises:
            OSError: The first rank's data cannot be read any more.
            BundleError: The first rank could not evaluate.
        """
        data = b""
        try:
            if self._own is not None:
                data = msgspec.msgpack.encode(self._own.score(front, back))
        finally:
            # The others wait for it, whatever became of it.
            told = self._peers.gather(data)[0]
        if not told:
            raise BundleError("the first rank could not evaluate", "see its metrics")
        return msgspec.msgpack.decode(told, type=Score)

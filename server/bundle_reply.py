"""The answer to a device that asks for the bundle, cut once for all who ask."""

from __future__ import annotations

from slfac.wire.bundle import Bundle
from slfac.wire.messages import Reply, Request
from slfac.wire.transfer import Frames, Part, address_frames, cut_transfer


class BundleReply:
    """A bundle's device files: read, joined and summed once.

    The bodies of all answers are the same memory; only their headers differ.

    Args:
        bundle: The bundle.

    Raises:
        OSError: A file of it cannot be read.
    """

    def __init__(self, bundle: Bundle) -> None:
        parts = [Part("bundle", name, data) for name, data in bundle.contents("device").items()]
        self._frames = cut_transfer(_REPLY, parts)

    def frames(self, request: Request) -> Frames:
        """The answer to one request.

        Args:
            request: The request.

        Returns:
            Its messages.
        """
        return address_frames(self._frames, session=request.session, seq=request.seq)


_REPLY = Reply(
    session=0,
    seq=0,
    kind="bundle",
    round=0,
    directive="train",
    loss=float("nan"),
    decode_ms=0.0,
    train_ms=0.0,
    encode_ms=0.0,
    sections=(),
)

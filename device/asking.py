"""What a request says of itself, and what came of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from slfac.wire.messages import Kind, Reply
from slfac.wire.transfer import Frames, Transfer

# Beginning and end of something, nanoseconds of the monotonic clock.
Span = tuple[int, int]


@dataclass(frozen=True)
class Exchanged:
    """A request that was answered.

    Attributes:
        reply: The reply with its payload.
        send_ms: Time spent handing bytes to the socket, and waiting until it takes them.
        wait_ms: Time spent waiting for the reply with nothing left to hand over.
        sending_ns: From the first byte that was handed over to the last, whatever else was
            done meanwhile.
        waiting_ns: When nothing was done but to wait for the reply.
        without_link_ns: When the link was broken, meanwhile.
    """

    reply: Transfer[Reply]
    send_ms: float
    wait_ms: float
    sending_ns: Span
    waiting_ns: Span
    without_link_ns: tuple[Span, ...] = ()


class Share(NamedTuple):
    """Which part of a step a request holds.

    Attributes:
        part: Counts them from 0.
        parts: How many there are.
        step_samples: Samples of all of them.
    """

    part: int = 0
    parts: int = 1
    step_samples: int = 0


class Scores(NamedTuple):
    """How good the model is on the samples behind a request.

    Attributes:
        loss: Mean loss; NaN where it was not computed here.
        accuracy: Share of samples classified correctly; likewise.
        balanced_accuracy: Mean of the classes' recalls; likewise.
    """

    loss: float = math.nan
    accuracy: float = math.nan
    balanced_accuracy: float = math.nan


WHOLE = Share()
UNSCORED = Scores()


@dataclass
class Asked:
    """A request that its device still counts on an answer to.

    Attributes:
        kind: What is asked.
        frames: Its messages.
        max_reply_bytes: Largest payload that its reply may have.
        begun_ns: When its first byte was handed over, by the monotonic clock.
        posted_ns: How long the device itself was at that.
        sent_ns: When its last byte was handed over; 0 until then.
        reply: The answer, once it is in.
    """

    kind: Kind
    frames: Frames
    max_reply_bytes: int
    begun_ns: int = 0
    posted_ns: int = 0
    sent_ns: int = 0
    reply: Transfer[Reply] | None = None

"""One device's connection and session, as the I/O thread sees them."""

from __future__ import annotations

from dataclasses import dataclass, field

from slfac.wire.messages import Request
from slfac.wire.transfer import WINDOW_BYTES, Frames, Inbox, Outbox


@dataclass
class Connection:
    """One ZeroMQ peer, from its first message to its last.

    Attributes:
        identity: The routing id that the ROUTER gave it.
        device: Name of its device, by its key.
        max_request_bytes: Largest payload of a request.
        inbox: Collects its payloads.
        outbox: What waits to be sent to it.
        session: The session it said HELLO for; None before that.
        heard_s: Monotonic time of its last message.
        pinged_s: Monotonic time of the last ping to it.
        request_bytes: Bytes of the request under way, every frame counted.
        probes: Whether it is there for probes alone.
        counted: Name of the device in whose traffic it is counted; empty for none.
    """

    identity: bytes
    device: str
    max_request_bytes: int
    heard_s: float
    inbox: Inbox[Request] = field(init=False)
    outbox: Outbox = field(default_factory=lambda: Outbox(WINDOW_BYTES))
    session: Session | None = None
    pinged_s: float = 0.0
    request_bytes: int = 0
    probes: bool = False
    counted: str = ""

    def __post_init__(self) -> None:
        self.inbox = Inbox(self.max_request_bytes)

    def end_session(self) -> None:
        """Speak for no session any more, and keep nothing of a payload under way."""
        self.session = None
        self.inbox = Inbox(self.max_request_bytes)


@dataclass
class Session:
    """One device's stay in the run; it outlives connections.

    Attributes:
        id: The random number the device chose.
        index: Index of the device.
        name: Its enrolled name.
        connection: Its present connection; None while it is cut off.
        software: Release of slfac on the device, as it says.
        lost_s: Monotonic time since when it is cut off.
        heard_s: Monotonic time of the last message over connections that are gone.
        last_seq: Highest request number seen.
        last: That request's header.
        asked: Requests that the device may still be without an answer to, by number, with the
            answer as soon as there is one.
    """

    id: int
    index: int
    name: str
    connection: Connection | None
    software: str = ""
    lost_s: float = 0.0
    heard_s: float = 0.0
    last_seq: int = 0
    last: Request | None = None
    asked: dict[int, Frames | None] = field(default_factory=dict)

    @property
    def kept_messages(self) -> int:
        """Messages of the answers that it holds."""
        return sum(len(frames) for frames in self.asked.values() if frames is not None)

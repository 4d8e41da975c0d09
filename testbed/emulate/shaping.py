"""One direction of a link: when each packet that comes in goes out, if it does.

Nothing here reads a clock or a socket.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass


@dataclass
class Traffic:
    """What came to a direction so far.

    Attributes:
        packets: Packets that were passed on.
        sent_bytes: Their bytes, Ethernet's headers included.
        lost: Packets that the link lost, as it was told to.
        overflowed: Packets that would have waited longer than the queue allows.
        cut_off: Packets that came or were under way while the link was cut.
        late_s: By how much this machine passed a packet on too late, at worst.
    """

    packets: int = 0
    sent_bytes: int = 0
    lost: int = 0
    overflowed: int = 0
    cut_off: int = 0
    late_s: float = 0.0


class Direction:
    """Queue, rate, delay, jitter and loss of one direction.

    The rate is that of a wire which passes one packet after the other: the time that a packet
    takes is reckoned, not waited for, so that a machine that wakes up late loses none of it.
    A packet that will be lost takes its time on the wire too. Jitter never swaps packets.

    Args:
        bit_per_s: The rate; None for no limit.
        delay_s: Delay beside that.
        jitter_s: How far the delay varies to either side.
        loss: Share of packets that get lost.
        queue_s: How long a packet may wait for the wire.
        seed: Seed of jitter and loss.

    Attributes:
        traffic: What came so far.
        is_cut: Whether the link is cut.
    """

    def __init__(
        self,
        *,
        bit_per_s: float | None,
        delay_s: float,
        jitter_s: float,
        loss: float,
        queue_s: float,
        seed: int,
    ) -> None:
        self._s_per_byte = 8 / bit_per_s if bit_per_s else 0.0
        self._delay_s = delay_s
        self._jitter_s = jitter_s
        self._loss = loss
        self._queue_s = queue_s
        # Not for secrets: the same seed must give the same losses.
        self._random = random.Random(seed)  # noqa: S311
        self._free_s = 0.0
        self._last_s = 0.0
        self._under_way: deque[tuple[float, bytes]] = deque()
        self.traffic = Traffic()
        self.is_cut = False

    @property
    def next_s(self) -> float | None:
        """When the next packet goes out; None while none is under way."""
        return self._under_way[0][0] if self._under_way else None

    def offer(self, packet: bytes, now_s: float) -> None:
        """Take a packet in, or drop it.

        Args:
            packet: The packet.
            now_s: The time.
        """
        if self.is_cut:
            self.traffic.cut_off += 1
            return
        begin_s = max(now_s, self._free_s)
        if begin_s - now_s > self._queue_s:
            self.traffic.overflowed += 1
            return
        self._free_s = begin_s + len(packet) * self._s_per_byte
        if self._loss and self._random.random() < self._loss:
            self.traffic.lost += 1
            return
        due_s = self._free_s + self._delay_s
        if self._jitter_s:
            due_s += self._random.uniform(-self._jitter_s, self._jitter_s)
        self._last_s = max(due_s, self._last_s, now_s)
        self._under_way.append((self._last_s, packet))

    def take(self, now_s: float) -> list[bytes]:
        """Packets that are through.

        Args:
            now_s: The time.
        """
        through = []
        waiting, traffic = self._under_way, self.traffic
        while waiting and waiting[0][0] <= now_s:
            due_s, packet = waiting.popleft()
            traffic.late_s = max(traffic.late_s, now_s - due_s)
            traffic.packets += 1
            traffic.sent_bytes += len(packet)
            through.append(packet)
        return through

    def cut(self) -> None:
        """Cut the link; what is under way is lost."""
        self.is_cut = True
        self.traffic.cut_off += len(self._under_way)
        self._under_way.clear()

    def restore(self) -> None:
        """Mend the link."""
        self.is_cut = False

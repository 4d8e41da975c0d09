"""One direction of a shaped link, on a clock of the test's own."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slfac.testbed.emulate.plan import PlannedLink
from slfac.testbed.emulate.shaping import Direction
from slfac.testbed.emulate.tapped import both_ways


def direction(**values):
    plain = {"bit_per_s": None, "delay_s": 0, "jitter_s": 0, "loss": 0, "queue_s": 0.1, "seed": 1}
    return Direction(**{**plain, **values})


def taken_until(link, end_s):
    """When each packet goes out, each looked for at its own time."""
    times = []
    while link.next_s is not None and link.next_s <= end_s:
        now_s = link.next_s
        times += [now_s] * len(link.take(now_s))
    return times


PACKETS = st.lists(st.tuples(st.floats(0, 0.01), st.integers(60, 1514)), min_size=1, max_size=80)


@given(
    PACKETS,
    st.fixed_dictionaries(
        {
            "bit_per_s": st.sampled_from([None, 1e5, 1e6, 1e8]),
            "delay_s": st.floats(0, 0.1),
            "jitter_s": st.floats(0, 0.05),
            "loss": st.sampled_from([0.0, 0.1, 1.0]),
            "queue_s": st.floats(0.001, 1),
        }
    ),
)
def test_every_packet_is_passed_on_in_order_or_accounted_for(packets, values):
    link = direction(**values)
    bit_per_s, queue_s = values["bit_per_s"], values["queue_s"]
    delay_s, jitter_s = values["delay_s"], values["jitter_s"]
    now_s, sent, out = 0.0, [], []
    for number, (gap_s, size) in enumerate(packets):
        now_s += gap_s
        packet = number.to_bytes(4, "big") + bytes(size - 4)
        sent.append((now_s, packet))
        link.offer(packet, now_s)
    last_s = 0.0
    while link.next_s is not None:
        assert link.next_s >= last_s
        last_s = link.next_s
        out += [(last_s, packet) for packet in link.take(last_s)]
    traffic = link.traffic
    assert len(out) == traffic.packets
    assert traffic.packets + traffic.lost + traffic.overflowed == len(packets)
    assert traffic.sent_bytes == sum(len(packet) for _, packet in out)
    numbers = [packet[:4] for _, packet in out]
    assert numbers == sorted(numbers)
    came = {packet[:4]: at_s for at_s, packet in sent}
    wire_s = 1514 * 8 / bit_per_s if bit_per_s else 0.0
    for at_s, packet in out:
        waited_s = at_s - came[packet[:4]]
        assert waited_s >= max(0.0, delay_s - jitter_s) - 1e-9
        assert waited_s <= queue_s + wire_s + delay_s + jitter_s + 1e-9


def test_the_rate_is_kept_to_the_byte():
    link = direction(bit_per_s=8e6, queue_s=60)
    for _ in range(1000):
        link.offer(bytes(1000), 0.0)
    times = taken_until(link, math.inf)
    assert times[0] == pytest.approx(1e-3)
    assert times[-1] == pytest.approx(1.0)


def test_a_late_look_loses_none_of_the_rate():
    link = direction(bit_per_s=8e6, queue_s=60)
    for _ in range(100):
        link.offer(bytes(1000), 0.0)
    assert len(link.take(0.0505)) == 50
    assert link.traffic.late_s == pytest.approx(0.0495)
    for _ in range(50):
        link.offer(bytes(1000), 0.0505)
    assert taken_until(link, math.inf)[-1] == pytest.approx(0.15)


def test_what_would_wait_too_long_is_dropped():
    link = direction(bit_per_s=8e6, queue_s=0.0105)
    for _ in range(100):
        link.offer(bytes(1000), 0.0)
    assert link.traffic.overflowed == 89
    assert len(taken_until(link, math.inf)) == 11
    link.offer(bytes(1000), 1.0)
    assert taken_until(link, math.inf) == [pytest.approx(1.001)]


@pytest.mark.parametrize("loss", [0.01, 0.3])
def test_losses_are_as_many_as_they_should_be_and_the_same_for_a_seed(loss):
    def lost(seed):
        link = direction(loss=loss, seed=seed)
        for number in range(20_000):
            link.offer(number.to_bytes(4, "big"), 0.0)
        return link.traffic.lost, link.take(0.0)

    count, packets = lost(5)
    assert abs(count - 20_000 * loss) < 5 * math.sqrt(20_000 * loss)
    assert lost(5) == (count, packets)
    assert lost(6)[1] != packets


def test_a_packet_that_gets_lost_takes_its_time_on_the_wire():
    link = direction(bit_per_s=8e6, loss=0.5, queue_s=60)
    for number in range(100):
        link.offer(number.to_bytes(2, "big") + bytes(998), 0.0)
    out = []
    while link.next_s is not None:
        now_s = link.next_s
        out += [(now_s, int.from_bytes(packet[:2], "big")) for packet in link.take(now_s)]
    assert link.traffic.lost == 100 - len(out) > 20
    for at_s, number in out:
        assert at_s == pytest.approx(1e-3 * (number + 1))


def test_jitter_spreads_the_delay_to_both_sides():
    waits = []
    link = direction(delay_s=0.1, jitter_s=0.05)
    for number in range(500):
        now_s = float(number)
        link.offer(b"x", now_s)
        waits += [at_s - now_s for at_s in taken_until(link, math.inf)]
    assert 0.05 <= min(waits) < 0.06
    assert 0.14 < max(waits) <= 0.15


def test_a_cut_loses_what_is_under_way_and_what_comes():
    link = direction(delay_s=1.0)
    link.offer(b"a", 0.0)
    link.cut()
    link.offer(b"b", 0.1)
    assert link.take(10.0) == []
    assert link.traffic.cut_off == 2
    link.restore()
    link.offer(b"c", 10.0)
    assert link.take(11.0) == [b"c"]


def test_links_and_their_ways_lose_packets_independently_and_again_alike():
    plan = PlannedLink(
        device="pi-1",
        up_bit_per_s=2e6,
        down_bit_per_s=4e6,
        delay_s=0.02,
        jitter_s=0.0,
        loss=0.5,
        queue_s=1.0,
    )

    def passed(seed, number):
        """Which packets pass each way of a link."""
        out = []
        for way in both_ways(plan, seed, number):
            for count in range(64):
                way.offer(bytes([count]), 0.0)
            out.append(b"".join(way.take(1.0)))
        return out

    links = [tuple(passed(seed, number)) for seed in (0, 1) for number in (0, 1, 2)]
    assert len({way for link in links for way in link}) == 12
    assert all(10 < len(way) < 54 for link in links for way in link)
    assert tuple(passed(0, 0)) == links[0]
    up, down = both_ways(dataclasses.replace(plan, loss=0.0), 0, 0)
    for way in (up, down):
        way.offer(bytes(1000), 0.0)
    assert up.next_s == pytest.approx(0.024)
    assert down.next_s == pytest.approx(0.022)

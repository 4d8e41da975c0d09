import threading
import time

from slfac.server.live.feed import Feed

MOST = 10_000


def test_events_reach_every_sink_in_order_on_another_thread():
    seen, threads = {"a": [], "b": []}, set()

    def sink(name):
        def take(event, at_s):
            threads.add(threading.current_thread())
            seen[name].append((event["n"], at_s))

        return take

    feed = Feed({name: sink(name) for name in seen})
    feed.start()
    before_s = time.monotonic()
    for n in range(100):
        feed.put({"n": n})
    feed.close()
    assert [n for n, _ in seen["a"]] == list(range(100))
    assert seen["a"] == seen["b"]
    assert all(before_s <= at_s <= time.monotonic() for _, at_s in seen["a"])


def test_a_sink_that_fails_is_named_once_and_harms_no_other(caplog):
    seen = []

    def fails(_event, _at_s):
        raise OSError("no space left")

    feed = Feed({"tensorboard": fails, "page": lambda event, _: seen.append(event)})
    feed.start()
    for n in range(3):
        feed.put({"n": n})
    feed.close()
    assert seen == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [record.message for record in caplog.records] == [
        "tensorboard does not show all: OSError: no space left"
    ]


def test_a_sink_that_hangs_costs_no_memory_and_not_the_trainer(caplog):
    seen, held = [], threading.Event()
    entered = threading.Event()

    def hangs(event, _at_s):
        entered.set()
        held.wait(60)
        seen.append(event)

    feed = Feed({"page": hangs})
    feed.start()
    feed.put({})
    assert entered.wait(60)
    # The sink is stuck until after the loop: a put that waited for it would never return.
    for _ in range(2 * MOST):
        feed.put({})
    assert feed.missed == MOST
    held.set()
    feed.close()
    assert len(seen) == MOST + 1
    feed.put({})
    feed.close()
    assert "lacks events" in caplog.text

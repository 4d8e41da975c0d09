"""Devices as coroutines: in order, together where they want the same, and never left behind."""

import threading

import pytest

from slfac.testbed.simulate.stage import Actor, Stage


def staged(*lives):
    return Stage([Actor(f"d{number}", life) for number, life in enumerate(lives)])


def test_devices_take_turns_by_index_whatever_comes_first():
    said = []

    def life(name):
        def live(actor):
            for step in range(3):
                said.append((step, name))
                actor.run(lambda: None)

        return live

    stage = staged(life("a"), life("b"), life("c"))
    assert stage.play()
    assert said == [(step, name) for step in range(3) for name in "abc"]
    assert not stage.play(), "there is nothing left to do"


def test_what_is_alike_is_done_at_once_and_on_the_caller_s_thread():
    seen, got = [], {}

    def double(values):
        seen.append((threading.current_thread(), values))
        return [2 * value for value in values]

    def life(value):
        def live(actor):
            got[value] = actor.do(double, value)

        return live

    staged(*map(life, range(4))).play()
    assert seen == [(threading.current_thread(), [0, 1, 2, 3])]
    assert got == {0: 0, 1: 2, 2: 4, 3: 6}


def test_an_error_is_that_of_the_device_it_came_from():
    caught = []

    def check(values):
        return [ValueError("odd") if value % 2 else value for value in values]

    def live(value):
        def live(actor):
            try:
                caught.append(actor.do(check, value))
            except ValueError as error:
                caught.append(str(error))

        return live

    staged(*map(live, range(3))).play()
    assert caught == [0, "odd", 2]


def test_a_device_waits_until_what_it_waits_for_has_come():
    inbox, got = [], []

    def live(actor):
        actor.until(lambda: bool(inbox))
        got.append(inbox.pop())

    stage = staged(live)
    assert stage.play()
    assert not stage.play()
    assert not got
    inbox.append("reply")
    assert stage.play()
    assert got == ["reply"]


def test_a_device_that_fails_fails_the_play_and_the_others_end():
    unwound = threading.Event()

    def waits(actor):
        try:
            actor.until(lambda: False)
        finally:
            unwound.set()

    def fails(actor):
        actor.run(lambda: 1 / 0)

    stage = staged(waits, fails)
    with pytest.raises(ZeroDivisionError):
        stage.play()
    stage.close()
    assert unwound.is_set()
    assert not [one for one in threading.enumerate() if one.name.startswith("slfac-d")]


def test_devices_that_never_had_a_turn_end_as_well():
    stage = staged(lambda _: None)
    stage.close()
    stage.close()

"""A real browser draws what the server holds, and asks nobody else."""

import itertools
from urllib.parse import urlsplit

import pytest

from harness.browser import Browser, find_chromium
from harness.live import energy_event, event, round_event, run_event, state_of, step_event
from slfac.server.live.live import Live, Shown

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: the live page is NOT tested in a browser"
)
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def browser():
    with Browser(CHROMIUM) as browser:
        yield browser


@pytest.fixture
def show(browser, monkeypatch):
    """Opens the page of a made-up run, and checks at the end what the browser thought of it."""
    monkeypatch.setattr("slfac.server.live.page._POLL_MS", 100)
    monkeypatch.setattr("slfac.server.live.page._EVERY_S", 0.05)
    monkeypatch.setattr("slfac.server.live.page._SLACK_S", 0.0)
    lives = []

    def start(*events):
        live = Live(Shown(page="0"))
        live.start()
        lives.append(live)
        for one in events:
            live.listen(one)
        browser.requests.clear()
        browser.complaints.clear()
        browser.screen(1180, 900)
        browser.open(live.places["page"])
        browser.await_true("document.querySelector('main[aria-busy=false]')")
        return live

    yield start
    hosts = {urlsplit(url).netloc for url in browser.requests if not url.startswith("about:")}
    assert hosts <= {urlsplit(live.places["page"]).netloc for live in lives}
    assert browser.complaints == []
    browser.open("about:blank")
    for live in lives:
        live.close()


def texts(browser, selector):
    return browser.value(f"[...document.querySelectorAll('{selector}')].map(e => e.textContent)")


def text(browser, selector):
    return browser.value(f"document.querySelector('{selector}').textContent")


def a_run(*devices, rounds=2, steps=6):
    events = [run_event(*devices)]
    events += [event("joined", device=name, round=0, missing=[]) for name in devices]
    for number in range(rounds):
        for step in range(steps):
            events += [step_event(name, round_=number, step=step) for name in devices]
        events.append(round_event(number))
    return events


def test_a_real_run_from_its_start_to_its_end(site, browser):
    browser.requests.clear()
    browser.complaints.clear()
    browser.screen(1180, 900)
    with site.server(page="0", rounds=3, codec_up="slfac", codec_down="slfac") as server:
        page = server.await_event("live")["page"]
        browser.open(page)
        browser.await_true("document.querySelectorAll('#devices tr').length == 2")
        assert text(browser, "#state") == "waiting for devices"
        assert texts(browser, "#devices th") == ["d0", "d1"]
        assert texts(browser, "#devices .mark") == ["expected", "expected"]
        devices = [site.device(name, server.address).start() for name in site.names]
        for device in devices:
            device.finish()
        browser.await_true("document.getElementById('state').dataset.state == 'ended'")
        state = state_of(page)
    result = server.finished()
    assert text(browser, "#state") == "finished"
    assert text(browser, "#rounds") == "3 of 3 rounds"
    assert text(browser, "#accuracy") == f"{100 * result.accuracy:.1f} %"
    assert text(browser, "#title") == "cnn, cut behind pool1"
    assert texts(browser, "#devices .mark") == ["finished", "finished"]
    assert texts(browser, "#devices td:nth-child(4)") == ["24", "24"]
    assert len(texts(browser, "#chart-accuracy circle.s0")) == 3
    assert len(texts(browser, "#table-rounds tr")) == 3
    sent = state["bytes_up"] + state["bytes_down"]
    wide = state["float32_bytes_up"] + state["float32_bytes_down"]
    assert text(browser, "#ratio") == f"{wide / sent:.1f}\u00d7"
    assert set(texts(browser, "#notices li span")) >= {"the run has finished", "d0 joined"}
    # The server is gone by now; the page stays, and says so.
    browser.await_true("document.getElementById('state').dataset.state == 'gone'")
    assert text(browser, "#state") == "finished; the server has gone"
    assert text(browser, "#rounds") == "3 of 3 rounds"
    assert {urlsplit(url).netloc for url in browser.requests} == {urlsplit(page).netloc}
    refused = [said for said in browser.complaints if "ERR_CONNECTION_REFUSED" not in said]
    assert refused == []


def test_charts_are_drawn_to_scale(show, browser):
    events = a_run("a", rounds=0)
    events += [round_event(n, accuracy=value) for n, value in enumerate([0.5, 0.75, 1.0])]
    show(*events)
    browser.await_true("document.querySelectorAll('#chart-accuracy circle.s0').length == 3")
    places = browser.value(
        "[...document.querySelectorAll('#chart-accuracy circle.s0')]"
        ".map(c => [+c.getAttribute('cx'), +c.getAttribute('cy')])"
    )
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y0 > y2 + 50
    assert browser.value("document.querySelector('#chart-accuracy svg').clientWidth") >= x2


def test_phases_and_bytes_have_the_widths_of_what_they_stand_for(show, browser):
    phases = {"load": 1, "forward": 2, "encode": 3, "send": 4, "wait": 20}
    phases |= {"decode": 5, "backward": 6, "update": 7}
    slow = {name: 2 * value for name, value in phases.items()}
    show(
        run_event("a", "b"),
        *[step_event("a", step=n, phase_ms=phases) for n in range(5)],
        *[step_event("b", step=n, phase_ms=slow) for n in range(5)],
    )
    browser.await_true("document.querySelectorAll('.stack').length == 2")
    widths = browser.value(
        "[...document.querySelectorAll('.stack')].map(s => [s.getBoundingClientRect().width,"
        " ...[...s.children].map(c => c.getBoundingClientRect().width)])"
    )
    (quick, *parts), (whole, *_) = widths
    assert quick == pytest.approx(whole / 2, rel=0.01)
    # Of the 20 ms that it waits, the server computes 6; gaps between the parts take some width.
    expected = [1, 2, 3, 4, 14, 6, 5, 6, 7]
    assert [part / sum(parts) for part in parts] == pytest.approx(
        [ms / 48 for ms in expected], abs=0.01
    )
    label = browser.value("document.querySelector('.stack').getAttribute('aria-label')")
    assert label.startswith("a: load batch 1.0 ms, forward 2.0 ms")
    bars = browser.value(
        "[...document.querySelectorAll('#bytes .bar i')].map(b => b.getBoundingClientRect().width)"
    )
    assert bars[0] / bars[1] == pytest.approx(1100 / 9100, rel=0.02)
    assert texts(browser, "#bytes .way b") == ["8.3\u00d7", "15.2\u00d7"]


def test_names_and_reasons_are_text_whatever_they_hold(show, browser):
    show(
        *a_run(HOSTILE, rounds=1),
        event("left", device=HOSTILE, reason=HOSTILE),
    )
    browser.await_true("document.querySelectorAll('#devices tr').length == 1")
    assert texts(browser, "#devices th") == [HOSTILE]
    assert texts(browser, ".phase span:first-child") == [HOSTILE]
    assert texts(browser, "#notices li span")[0] == f"{HOSTILE} left: {HOSTILE}"
    assert browser.value("document.querySelectorAll('main img').length") == 1
    assert browser.value("document.title") != "taken"


def test_it_fits_any_screen_in_both_colours(show, browser):
    show(*a_run("a-device-with-quite-a-long-name-1", "b"))
    for width, dark in itertools.product([360, 768, 1600], [False, True]):
        browser.screen(width, 800, dark=dark)
        browser.await_true(f"innerWidth == {width} && document.querySelector('.stack')")
        assert browser.value("document.documentElement.scrollWidth") <= width
        shade = browser.value(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        assert (max(shade) < 64) == dark
        assert (min(shade) > 192) != dark


def test_who_cannot_see_it_is_told(show, browser):
    show(*a_run("a"))
    browser.await_true("document.querySelectorAll('.chart svg').length >= 2")
    labels = browser.value(
        "[...document.querySelectorAll('[role=img]')].map(e => e.getAttribute('aria-label'))"
    )
    assert "Accuracy by round: accuracy 60 % at 2, balanced accuracy 25 % at 2" in labels
    assert all(labels)
    assert browser.value("document.querySelectorAll('[role=status]').length") == 1
    assert browser.value("[...document.querySelectorAll('th')].every(th => th.scope)")
    assert browser.value("document.documentElement.lang") == "en"
    # Every control has a name, and can be reached by keyboard.
    assert browser.value("[...document.querySelectorAll('[tabindex]')].every(e => e.tabIndex == 0)")


def test_a_point_tells_its_values(show, browser):
    show(*a_run("a"))
    browser.await_true("document.querySelector('#chart-accuracy svg')")
    assert text(browser, "#read-accuracy") == "by round"
    x, y = browser.value(
        "(r => [r.right - 30, r.top + 60])"
        "(document.querySelector('#chart-accuracy svg').getBoundingClientRect())"
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.await_true("document.getElementById('read-accuracy').textContent != 'by round'")
    assert text(browser, "#read-accuracy") == "2: accuracy 60 %, balanced accuracy 25 %"


def test_devices_that_do_not_wait_show_how_far_they_are_behind(show, browser):
    show(run_event("a", "b"), *[step_event("a", step=n, staleness=3) for n in range(3)])
    browser.await_true("document.querySelectorAll('#devices tr').length == 2")
    assert browser.value("document.getElementById('behind').hidden") is False
    assert texts(browser, "#devices td:nth-child(7)") == ["3.00", "\u2013"]


def test_energy_is_shown_where_somebody_measures_it(show, browser):
    live = show(run_event("a", "b", "c"), *[step_event(name) for name in "abc"])
    browser.await_true("document.querySelectorAll('#devices tr').length == 3")
    assert browser.value("document.getElementById('energy-tile').hidden") is True
    assert browser.value("document.getElementById('spent').hidden") is True
    partial = {"joules": 12345.6, "covered_s": 9.0, "missing_s": 1.0}
    live.listen(energy_event("a"))
    live.listen(energy_event("b", total={"wall": partial}))
    browser.await_true("!document.getElementById('energy-tile').hidden")
    browser.await_true("document.getElementById('energy').textContent.includes('kJ')")
    assert text(browser, "#energy") == "813 J · ≥ 12.3 kJ"
    assert text(browser, "#energy-note") == "module · wall; 1 unknown"
    assert texts(browser, "#devices td:last-child") == ["813 J module", "≥ 12.3 kJ wall", "unknown"]


def test_a_failure_is_named(show, browser, monkeypatch):
    live = show(*a_run("a"))
    browser.value(
        "new MutationObserver(() => (window.seen ??= []).push(document.getElementById('state')"
        ".dataset.state)).observe(document.getElementById('state'), {attributes: true})"
    )
    monkeypatch.setattr("slfac.server.live.page._SLACK_S", 2.0)
    live.close("training diverged; lower the learning rate")
    browser.await_true("document.getElementById('state').dataset.state == 'gone'")
    expected = "failed: training diverged; lower the learning rate; the server has gone"
    assert text(browser, "#state") == expected
    assert browser.value("window.seen.includes('failed')")
    browser.complaints.clear()

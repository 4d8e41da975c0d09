"""From a generic image to a board in training: injected, started once, enrolled."""

import os
import re
import shutil
import socket
import subprocess
import sys
import traceback

import pytest

from harness.cards import MIB, make_card, mtool
from harness.fake_board import FakeBoard
from harness.site import Site
from slfac.cli import main
from slfac.device import device_settings, run_device
from slfac.device.image.board import firstboot
from slfac.device.image.programs import run_program
from slfac.wire.keys import new_keys

# As its unit does, where the kernel can (6.3): no memory that is written and run.
AGENT = """\
#!{python}
import ctypes, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
from slfac.cli import main
sys.exit(main())
"""


@pytest.fixture
def board(tmp_path):
    """A board's system, with the agent, and programs that need root left out."""
    board = FakeBoard(tmp_path / "board")
    agent = board.put("opt/slfac/current/bin/slfac", AGENT.format(python=sys.executable))
    agent.chmod(0o755)
    (board.root / "bin").mkdir()
    (board.root / "bin" / "chown").symlink_to(shutil.which("true"))
    board.boot.rmdir()
    return board


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def put_in(card, board):
    """Put the card into the board: its boot files, and its data where they are mounted."""
    mtool("mcopy", "-s", "-i", f"{card}@@{MIB}", "::/slfac", str(board.boot.parent))
    place = board.root / "var/lib/slfac/data"
    place.mkdir(parents=True)
    where = f"{card}?offset={57 * MIB}"
    listed = run_program(["debugfs", "-R", "ls -p /", where]).output.decode()
    for name in re.findall(r"/10\d{4}/\d+/\d+/([^/]+)/", listed):
        (place / name).write_bytes(run_program(["debugfs", "-R", f"cat /{name}", where]).output)


def start(board):
    """Its first boot; what the console shows."""
    done = subprocess.run(
        [sys.executable, "-I", firstboot.__file__, "--root", str(board.root)],
        env={"PATH": str(board.root / "bin"), "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def agent(board, *more, **environment):
    """The agent as its unit starts it, but with this folder's paths in place of the board's."""
    root = board.root
    own = {"keys": "etc/slfac/keys", "data": "var/lib/slfac/data"}
    own |= {"cache": "var/lib/slfac/cache", "journal": "var/lib/slfac/journal"}
    places = [part for name, path in own.items() for part in (f"--{name}", str(root / path))]
    command = (root / "opt/slfac/current/bin/slfac", "device")
    return subprocess.run(
        [*command, "--config", root / "etc/slfac/device.toml", *places, *more],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_an_injected_board_makes_its_key_is_enrolled_and_trains(
    tmp_path, board, cnn_bundle, digits, capsys
):
    address = f"tcp://127.0.0.1:{free_port()}"
    site = Site(root=tmp_path, bundle=cnn_bundle, data=digits, names=["pi-1"])
    public = new_keys(site.keys("server"), "server")
    data = shutil.copytree(digits, tmp_path / "digits")
    data.chmod(0o755)
    card = make_card(tmp_path / "card.img")
    config = tmp_path / "more.toml"
    config.write_text("connect_timeout_s = 60\n")
    told = ("--hostname", "pi-1", "--server", address, "--server-key", str(public))
    assert main(["image", "inject", str(card), *told, "--data", str(data)]) == 0
    assert main(["image", "inject", str(card), "--show"]) == 0
    assert f"device.toml: server = {address}" in capsys.readouterr().out
    put_in(card, board)
    hint = re.search(r"slfac (keys enroll \S+ )(\S+) --dir keys", start(board))
    certificate = board.boot / hint[2]
    assert main([*hint[1].split(), str(certificate), "--dir", str(site.keys("server"))]) == 0
    assert not (board.boot / "device.json").exists()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.setblocking(False)
        with site.server(bind=address, rounds=1) as server:
            done = agent(
                board, NOTIFY_SOCKET=ear.getsockname(), WATCHDOG_USEC="60000000", WATCHDOG_PID=""
            )
        said = []
        while (word := heard(ear)) is not None:
            said.append(word)
    assert done.returncode == 0, done.stderr
    assert len(server.finished().rounds) == 1
    assert "READY=1" in said
    assert "WATCHDOG=1" in said


def heard(ear):
    try:
        return ear.recv(4096).decode()
    except BlockingIOError:
        return None


def test_a_device_says_that_it_is_alive_at_each_step(tmp_path, cnn_bundle, digits):
    site = Site.make(tmp_path, cnn_bundle, digits, devices=1)
    alive = []
    with site.server(rounds=1) as server:
        values = site.device("d0", server.address).values
        result = run_device(device_settings(**values), on_alive=lambda: alive.append(where()))
    assert result.steps > 1
    waits = [names for names in alive if "receive" in names]
    assert len(waits) > 0
    assert sum("_train" in names for names in alive if names not in waits) == result.steps


def where():
    """Names of the functions that are running."""
    return {frame.name for frame in traceback.extract_stack()}


def test_a_board_that_nobody_enrolled_is_refused(tmp_path, board, cnn_bundle, digits):
    site = Site.make(tmp_path, cnn_bundle, digits, devices=1)
    card = make_card(tmp_path / "card.img")
    with site.server(rounds=1) as server:
        told = ("--hostname", "pi-9", "--server", server.address, "--data-at", "/srv/mnist")
        key = str(site.keys("server") / "server.key")
        assert main(["image", "inject", str(card), *told, "--server-key", key]) == 0
        put_in(card, board)
        start(board)
        done = agent(board, "--wait-enrolled-s", "0")
        assert done.returncode == 33
        assert "slfac keys enroll NAME device.key" in done.stderr
        site.device("d0", server.address).start().finish()
    server.finished()


def test_a_pair_that_was_enrolled_before_needs_nobody(tmp_path, board, cnn_bundle, digits):
    site = Site.make(tmp_path, cnn_bundle, digits, devices=1)
    card = make_card(tmp_path / "card.img")
    with site.server(rounds=1) as server:
        told = ("--hostname", "d0", "--server", server.address, "--data-at", "/srv/mnist")
        folder = str(site.keys("d0"))
        assert main(["image", "inject", str(card), *told, "--preenrolled", folder]) == 0
        secret = (site.keys("d0") / "device.key_secret").read_text().split('"')[-2]
        assert secret.encode() in card.read_bytes()
        put_in(card, board)
        start(board)
        done = agent(board, "--data", str(digits))
        assert done.returncode == 0, done.stderr
    assert len(server.finished().rounds) == 1

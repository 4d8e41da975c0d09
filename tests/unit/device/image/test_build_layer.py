"""The edge layer's files, the same whoever makes them."""

import io
import re
import tarfile

import pytest

from slfac.device.image.board import BOARD_FILES, ENABLED
from slfac.device.image.build.files import sha256_of
from slfac.device.image.build.recipe import HOOKS, trixie
from slfac.device.image.build.running import run_lines
from slfac.device.image.build.system import system_tree
from slfac.device.image.layer.edge import board_tree, layer_version
from slfac.device.image.layer.tree import Tree
from slfac.device.image.layer.wheels import ABIS, lock_file
from slfac.wire.errors import ImageError

pytestmark = pytest.mark.device


def make_tree(order):
    tree = Tree()
    adds = {
        "file": lambda: tree.file("usr/bin/slfac", "#!/bin/sh\n", 0o755),
        "link": lambda: tree.link("opt/slfac/current", "versions/1"),
        "folder": lambda: tree.folder("var/lib/slfac", 0o700),
    }
    for name in order:
        adds[name]()
    return tree


def test_the_same_files_give_the_same_archive():
    one = make_tree(["file", "link", "folder"]).tar(1_764_000_000)
    assert one == make_tree(["folder", "file", "link"]).tar(1_764_000_000)
    with tarfile.open(fileobj=io.BytesIO(one)) as archive:
        members = {m.name: m for m in archive.getmembers()}
    assert list(members) == sorted(members)
    assert {"usr", "usr/bin", "opt", "opt/slfac", "var/lib"} <= set(members)
    assert (members["usr/bin/slfac"].mode, members["var/lib/slfac"].mode) == (0o755, 0o700)
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 1_764_000_000)}


def test_a_tree_is_written_and_copied_as_it_is(tmp_path):
    tree = make_tree(["file", "link", "folder"])
    (tmp_path / "root").mkdir()
    tree.write(tmp_path / "root")
    copied = Tree()
    copied.copy("copy", tmp_path / "root")
    assert copied.entries["copy/usr/bin/slfac"] == tree.entries["usr/bin/slfac"]
    assert copied.entries["copy/opt/slfac/current"].target == "versions/1"


@pytest.mark.parametrize("abi", sorted(ABIS))
def test_every_python_has_a_lock_with_hashes(abi):
    text = lock_file(abi).read_text()
    pins = re.findall(r"^([a-z0-9_.-]+)==(\S+)", text, re.MULTILINE)
    assert {"msgspec", "numpy", "onnxruntime", "psutil", "pyzmq", "safetensors"} <= dict(
        pins
    ).keys()
    for piece in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in piece
    # Nothing that is not for boards, and no place to fetch from.
    assert not {"torch", "onnx", "pydantic", "rich"} & dict(pins).keys()
    assert "http" not in text
    assert layer_version(abi).split("-")[1] == abi


def test_a_python_without_a_layer_is_refused():
    with pytest.raises(ImageError, match="there is no layer for 'cp39'; choose one of cp310"):
        lock_file("cp39")


def test_the_system_has_no_password_and_no_keys_of_its_own():
    entries = system_tree(0xC0FFEE01, "slfac-rpi", trixie().sources).entries
    assert b"PARTUUID=c0ffee01-03 / ext4" in entries["etc/fstab"].data
    assert b"PARTUUID=c0ffee01-01 /boot/firmware vfat" in entries["etc/fstab"].data
    ssh = entries["etc/ssh/sshd_config.d/10-slfac.conf"].data
    assert b"PasswordAuthentication no" in ssh
    assert b"ssh-keygen -A" in entries["etc/systemd/system/ssh.service.d/keys.conf"].data
    assert not [path for path in entries if "ssh_host" in path or "shadow" in path]
    links = [path for path in entries if path.endswith(".wants/systemd-networkd.service")]
    assert entries[links[0]].target == "/usr/lib/systemd/system/systemd-networkd.service"


def test_another_recipe_makes_another_base(tmp_path):
    recipe = trixie()
    command = recipe.command(sources=tmp_path / "s", hooks=HOOKS, target=tmp_path / "t")
    assert command[:3] == ["mmdebstrap", "--mode=unshare", "--variant=minbase"]
    assert command[-3:] == ["trixie", str(tmp_path / "t"), str(tmp_path / "s")]
    assert "--dpkgopt=force-confold" in command
    other = type(recipe)(**{**vars(recipe), "packages": (*recipe.packages, "vim")})
    assert recipe.digest == trixie().digest != other.digest


def test_hooks_can_run():
    for script in HOOKS.iterdir():
        assert script.stat().st_mode & 0o111
        assert script.read_text().startswith("#!/bin/sh\n")


@pytest.mark.parametrize("abi", sorted(ABIS))
def test_every_layer_has_what_stands_beside_the_wheels(abi):
    entries = board_tree(abi).entries
    backoff = "usr/lib/systemd/system/slfac-device.service.d/10-backoff.conf"
    # Older releases of systemd warn about what they do not know.
    assert (backoff in entries) == (abi in {"cp312", "cp313"})
    assert {file.place.lstrip("/") for file in BOARD_FILES} - {backoff} <= set(entries)
    assert entries["usr/lib/slfac/firstboot.py"].mode == 0o755
    for unit in ENABLED:
        link = entries[f"etc/systemd/system/multi-user.target.wants/{unit}"]
        assert link.target.lstrip("/") in entries


def test_a_program_that_fails_is_quoted(tmp_path):
    script = tmp_path / "fail"
    script.write_text("#!/bin/sh\necho 'I: fetching' >&2\necho 'E: no such package' >&2\nexit 3\n")
    script.chmod(0o755)
    seen = []
    with pytest.raises(ImageError, match=r"fail failed: I: fetching \| E: no such package; check"):
        run_lines([str(script)], on_line=seen.append)
    assert seen == ["I: fetching", "E: no such package"]


def test_a_hash_is_that_of_the_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a").startswith("ba7816bf")

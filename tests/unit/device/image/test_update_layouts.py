"""Images, the Jetson's installer and the Debian package put versions into the same places."""

import shutil
import subprocess

import pytest

from harness.tegra import make_tegra
from harness.versions import VersionedBoard, version_tree
from slfac.device.image.deb.package import PAYLOAD, make_package
from slfac.device.image.jetson.installer import write_installer
from slfac.device.image.layer.archive import pack_tree
from slfac.device.image.layer.edge import layer_tree
from slfac.device.image.update.versions import install, roll_back

pytestmark = pytest.mark.device

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg")


def unpack_by_dpkg(root, release):
    """What dpkg does before it runs the package's script."""
    made = make_package("cp313", version_tree(release), time_s=1_780_000_000, preset=0)
    file = root.parent / made.file_name
    file.write_bytes(made.data)
    known = root / "var/lib/dpkg"
    for folder in ("info", "updates"):
        (known / folder).mkdir(parents=True, exist_ok=True)
    (known / "status").touch()
    forced = ("--force-not-root", "--force-architecture", "--force-script-chrootless")
    command = ["dpkg", f"--root={root}", *forced, "--unpack", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root / PAYLOAD


def hidden(board):
    return sorted(path.name for path in board.versions.glob(".*"))


@needs_dpkg
def test_a_package_updates_an_image_whose_layer_came_without_dpkg(tmp_path):
    board = VersionedBoard(tmp_path / "root")
    layer_tree(version_tree(), "0.1.0-test", "cp313").write(board.root)
    board.up = "0.1.0"
    install(board, unpack_by_dpkg(board.root, "0.2.0"))
    assert (board.release(), board.release("previous"), board.up) == ("0.2.0", "0.1.0", "0.2.0")
    roll_back(board)
    assert (board.release(), board.release("previous"), board.up) == ("0.1.0", "0.2.0", "0.1.0")
    install(board, unpack_by_dpkg(board.root, "0.3.0"))
    assert (board.release(), board.release("previous")) == ("0.3.0", "0.1.0")
    growroot = "usr/lib/systemd/system/slfac-growroot.service"
    assert (board.root / growroot).is_file()
    assert (board.root / "usr/bin/slfac").resolve() == board.linked("current") / "bin/slfac"


def run_installer(root, release):
    """What `slfac image jetson --installer` writes, into a root file system."""

    def make_layer(abi, extra):
        tree = layer_tree(version_tree(release), f"{release}-test", abi)
        tree.entries |= extra.entries
        return pack_tree(tree, abi, f"{release}-test", 0)

    file = root.parent / "installer.run"
    write_installer(file, jetpacks=(6,), make_layer=make_layer)
    subprocess.run(["sh", file, "--root", root], check=True, capture_output=True)


def test_a_package_and_an_installer_take_turns(tmp_path):
    root = make_tegra(tmp_path / "L4T") / "rootfs"
    board = VersionedBoard(root)
    run_installer(root, "0.1.0")
    install(board, board.unpacked(version_tree("0.2.0")))
    assert (board.release(), board.release("previous")) == ("0.2.0", "0.1.0")
    # Which archive a version came from is known as long as it is there, and no longer.
    assert hidden(board) == [".0.1.0-test.sha256"]
    install(board, board.unpacked(version_tree("0.3.0")))
    assert hidden(board) == []
    run_installer(root, "0.4.0")
    assert (board.release(), board.release("previous")) == ("0.4.0", "0.3.0")
    roll_back(board)
    assert (board.release(), board.release("previous")) == ("0.3.0", "0.4.0")
    # Installers remove what is left over before they need its room.
    run_installer(root, "0.5.0")
    run_installer(root, "0.6.0")
    assert (board.release(), board.release("previous")) == ("0.6.0", "0.5.0")
    assert sorted(path.name for path in board.versions.glob("[!.]*")) == [
        *("0.3.0-test", "0.5.0-test", "0.6.0-test"),
    ]
    assert hidden(board) == [".0.5.0-test.sha256", ".0.6.0-test.sha256"]


def test_an_installer_leaves_what_a_package_has_put_there(tmp_path):
    root = make_tegra(tmp_path / "L4T") / "rootfs"
    board = VersionedBoard(root)
    before = install(board, board.unpacked(version_tree("0.1.0", more="# another build\n")))
    run_installer(root, "0.1.0")
    assert board.linked("previous") == before
    assert board.linked("current").name == "0.1.0-test.1"
    roll_back(board)
    assert board.linked("current") == before

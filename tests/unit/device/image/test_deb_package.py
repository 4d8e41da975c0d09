"""The Debian package: an archive that comes out the same, with the layer's files and none more."""

import io
import re
import shutil
import subprocess
import tarfile

import pytest

from harness.versions import version_tree
from slfac.device.image.board import BOARD_FILES
from slfac.device.image.deb.archive import AR_MAGIC, pack_deb
from slfac.device.image.deb.package import PAYLOAD, make_package, package_tree
from slfac.device.image.layer.edge import board_tree
from slfac.device.image.layer.manifest import pack_manifest, release_of
from slfac.device.image.layer.tree import Tree
from slfac.device.image.layer.wheels import ABIS
from slfac.device.image.update.versions import MANIFEST, parse_manifest, require_whole
from slfac.wire.errors import ImageError

pytestmark = pytest.mark.device

TIME_S = 1_760_000_000
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


def members(data):
    """What an ar archive holds."""
    assert data.startswith(AR_MAGIC)
    position, found = len(AR_MAGIC), {}
    while position < len(data):
        head = data[position : position + 60]
        size = int(head[48:58])
        assert head[58:] == b"`\n"
        assert int(head[16:28]) == TIME_S
        found[head[:16].decode().strip()] = data[position + 60 : position + 60 + size]
        position += 60 + size + size % 2
    return found


def archive(data, name):
    with tarfile.open(fileobj=io.BytesIO(members(data)[f"{name}.tar.xz"])) as opened:
        return {
            told.name: (told, opened.extractfile(told).read() if told.isreg() else b"")
            for told in opened.getmembers()
        }


def control(data):
    text = archive(data, "control")["./control"][1].decode()
    return dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(" "))


@pytest.fixture
def package():
    return make_package("cp313", version_tree(), time_s=TIME_S)


def test_the_same_files_give_the_same_bytes(package):
    assert package == make_package("cp313", version_tree(), time_s=TIME_S)
    other = make_package("cp313", version_tree(more="# more\n"), time_s=TIME_S)
    assert other.data != package.data
    assert list(members(package.data)) == ["debian-binary", "control.tar.xz", "data.tar.xz"]
    for name in ("control", "data"):
        for told, _ in archive(package.data, name).values():
            assert (told.uid, told.gid, told.uname, told.mtime) == (0, 0, "root", TIME_S)


@pytest.mark.parametrize("abi", sorted(ABIS))
def test_it_asks_for_the_python_that_its_wheels_are_for(abi):
    package = make_package(abi, version_tree("0.3.0"), time_s=TIME_S)
    fields = control(package.data)
    assert package.file_name == f"slfac-device_0.3.0+{abi}-1_arm64.deb"
    assert (fields["Package"], fields["Version"]) == ("slfac-device", f"0.3.0+{abi}-1")
    assert fields["Architecture"] == "arm64"
    python, after = ABIS[abi][0], f"3.{int(abi[3:]) + 1}"
    wanted = fields["Depends"].split(", ")
    for name in ("python3-minimal", "libpython3-stdlib"):
        assert {f"{name} (>= {python}~)", f"{name} (<< {after}~)"} <= set(wanted)


@pytest.mark.parametrize("abi", sorted(ABIS))
def test_it_holds_the_layer_and_what_stands_beside_the_wheels(abi):
    version = version_tree()
    found = package_tree(abi, version).entries
    files = {path: entry.data for path, entry in found.items() if entry.kind == "file"}
    payload = {path: data for path, data in files.items() if path.startswith(f"{PAYLOAD}/")}
    assert payload == {
        f"{PAYLOAD}/{path}": entry.data
        for path, entry in version.entries.items()
        if entry.kind == "file"
    }
    beside = {path: e.data for path, e in board_tree(abi).entries.items() if e.kind == "file"}
    left_out = {path for path in beside if "growroot" in path}
    assert len(left_out) == 2
    condition = "usr/lib/systemd/system/slfac-firstboot.service.d/10-package.conf"
    assert files.keys() - payload.keys() == (beside.keys() - left_out) | {condition}
    assert all(files[path] == data for path, data in beside.items() if path not in left_out)
    assert found["usr/bin/slfac"].target == "../../opt/slfac/current/bin/slfac"
    # What is in /etc is the user's, and versions are not dpkg's.
    assert not [path for path in found if path.startswith(("etc", "opt", "var"))]


def test_dpkg_can_verify_each_file(package):
    listed = archive(package.data, "control")["./md5sums"][1].decode().splitlines()
    installed = {
        name.removeprefix("./")
        for name, (told, _) in archive(package.data, "data").items()
        if told.isreg()
    }
    assert {line.partition("  ")[2] for line in listed} == installed
    assert int(control(package.data)["Installed-Size"]) >= len(installed)


@needs_dpkg
def test_debians_own_tool_reads_it(package, tmp_path):
    path = tmp_path / package.file_name
    path.write_bytes(package.data)
    shown = subprocess.run(
        ["dpkg-deb", "--field", path, "Package", "Depends"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "slfac-device" in shown.stdout
    assert shown.stderr == ""
    subprocess.run(["dpkg-deb", "--extract", path, tmp_path / "root"], check=True)
    layer = tmp_path / "root" / PAYLOAD
    require_whole(layer, parse_manifest((layer / MANIFEST).read_bytes()))
    (tmp_path / "control").mkdir()
    subprocess.run(["dpkg-deb", "--control", path, tmp_path / "control"], check=True)
    for name in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n", tmp_path / "control" / name], check=True)
        assert (tmp_path / "control" / name).stat().st_mode & 0o111


def test_files_of_odd_length_keep_the_archive_even():
    for length in range(3):
        tree = Tree()
        tree.file("a", b"x" * length)
        data = pack_deb({"Package": "p"}, {}, tree, time_s=TIME_S)
        assert len(data) % 2 == 0
        assert archive(data, "data")["./a"][1] == b"x" * length


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_scripts_do_nothing_when_they_are_told_to_do_nothing_of_theirs(script, package):
    text = archive(package.data, "control")[f"./{script}"][1]
    done = subprocess.run(
        ["sh", "-s", "failed-upgrade", "0.0.1"], input=text, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_scripts_name_files_that_there_are(package):
    paths = {name.removeprefix(".") for name in archive(package.data, "data")}
    text = archive(package.data, "control")["./postinst"][1].decode()
    assert f"/{PAYLOAD}" in paths
    assert f"/{PAYLOAD}/lib/slfac/device/image/update/versions.py" in text
    line = re.compile(r"^systemd-(?:sysusers|tmpfiles)(?: --create)? (\S+)", re.MULTILINE)
    for name in line.findall(text):
        assert [file.place for file in BOARD_FILES if file.place.endswith(f".d/{name}")]
    for unit in re.findall(r"slfac-[a-z]+\.service", text):
        assert f"/usr/lib/systemd/system/{unit}" in paths


def test_a_version_says_what_it_holds():
    tree = Tree()
    with pytest.raises(ImageError, match="no release of slfac"):
        release_of(tree)
    tree.file("lib/slfac/__init__.py", '"""Doc."""\n\n__version__ = "0.4.0"\n')
    tree.file("bin/slfac", "#!/bin/sh\n", 0o755)
    told = parse_manifest(pack_manifest(tree, "cp311", "0.4.0-cp311-00"))
    assert (told["slfac"], told["python"], told["machine"]) == ("0.4.0", "3.11", "aarch64")
    assert sorted(told["files"]) == ["bin/slfac", "lib/slfac/__init__.py"]
    tree.link("lib/a", "b")
    with pytest.raises(ImageError, match="a wheel holds the link lib/a"):
        pack_manifest(tree, "cp311", "0.4.0")

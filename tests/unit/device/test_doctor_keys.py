"""What the doctor says of key folders, a device's and a server's."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from slfac.device.doctor.keys import check_keys
from slfac.wire.keys import AllowList, new_keys

pytestmark = pytest.mark.device


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    new_keys(folder, "server")
    return folder


@pytest.fixture
def device(tmp_path, server):
    folder = tmp_path / "device"
    new_keys(folder, "device", server / "server.key")
    AllowList(server).enroll("pi-1", folder / "device.key")
    return folder


def said(folder):
    """Level, name and text of each finding; whatever is not in order names a remedy."""
    findings = list(check_keys(folder))
    assert all(finding.remedy for finding in findings if finding.level != "ok")
    return [(finding.level, finding.name, finding.found) for finding in findings]


def only(folder):
    (one,) = said(folder)
    return one


def test_a_devices_folder_in_order(device):
    level, name, found = only(device)
    assert (level, name) == ("ok", "device key")
    assert found.count(", for the server ") == 1


def test_a_servers_folder_in_order(server, device):
    assert [line[:2] for line in said(server)] == [("ok", "server key"), ("ok", "allow-list")]
    AllowList(server).revoke("pi-1")
    AllowList(server).enroll("pi-2", new_keys(device / "two", "device"))
    assert said(server)[1][2] == "enrolled: pi-2; revoked: pi-1"


def test_a_folder_of_both_has_both_looked_at(server):
    new_keys(server, "device", None)
    assert [line[1] for line in said(server)] == ["device key", "server key", "allow-list"]


def test_nowhere_and_an_empty_folder(tmp_path):
    level, _, found = only(tmp_path / "nowhere")
    assert (level, "cannot be read: No such file" in found) == ("failed", True)
    level, _, found = only(tmp_path)
    assert (level, "holds neither" in found) == ("failed", True)


def test_a_secret_that_others_can_read(device, server):
    (device / "device.key_secret").chmod(0o640)
    assert "can be read by others (mode 0640)" in only(device)[2]
    (server / "server.key_secret").chmod(0o604)
    assert said(server)[0][0] == "failed"


def test_a_folder_that_anyone_can_write(server):
    server.chmod(0o777)
    assert said(server)[0][:2] == ("warning", "keys")


@pytest.mark.parametrize("owner", ["device", "server"])
def test_halves_that_do_not_belong_together(tmp_path, device, server, owner):
    folder = {"device": device, "server": server}[owner]
    other = tmp_path / "other"
    new_keys(other, owner)
    path = folder / f"{owner}.key_secret"
    mine, theirs = (p.read_text().splitlines() for p in (path, other / path.name))
    swap = next(i for i, line in enumerate(mine) if "secret-key" in line)
    path.write_text("\n".join([*mine[:swap], theirs[swap], *mine[swap + 1 :], ""]))
    assert "do not belong together" in said(folder)[0][2]


@pytest.mark.parametrize("owner", ["device", "server"])
def test_a_public_file_of_another_key(tmp_path, device, server, owner):
    folder = {"device": device, "server": server}[owner]
    new_keys(tmp_path / "other", owner)
    (tmp_path / "other" / f"{owner}.key").replace(folder / f"{owner}.key")
    level, name, found = said(folder)[0]
    assert (level, name) == ("failed", f"{owner} key")
    assert f"{owner}.key does not belong to" in found
    (folder / f"{owner}.key").unlink()
    assert f"{owner}.key is missing" in said(folder)[0][2]


def test_a_devices_server_key(device):
    (device / "server.key").write_bytes((device / "device.key").read_bytes())
    assert "holds this device's own key" in only(device)[2]
    (device / "server.key").write_bytes((device / "device.key_secret").read_bytes())
    assert "holds a secret key" in only(device)[2]
    (device / "server.key").write_text("junk")
    assert "is no readable key certificate" in only(device)[2]
    (device / "server.key").unlink()
    assert "server.key is missing" in only(device)[2]


def test_nobody_is_let_in(server):
    level, name, found = said(server)[1]
    assert (level, name, found) == ("warning", "allow-list", "no device is enrolled")


def test_files_that_the_server_passes_over(server, device):
    (server / "allowed" / "junk.key").write_text("junk")
    (server / "allowed" / "Upper Case.key").write_bytes((device / "device.key").read_bytes())
    lines = said(server)[1:]
    assert [line[0] for line in lines] == ["warning", "warning", "ok"]
    assert "Upper Case.key is not named" in lines[0][2]
    assert "junk.key is no readable" in lines[1][2]
    assert lines[2][2] == "enrolled: pi-1"


def test_one_key_under_two_names(server, device):
    (server / "allowed" / "pi-2.key").write_bytes((device / "device.key").read_bytes())
    assert ("failed", "allow-list", "pi-1 and pi-2 have the same key") in said(server)


def test_a_revoked_key_that_came_back(server, device):
    AllowList(server).revoke("pi-1")
    AllowList(server).enroll("pi-3", device / "device.key")
    found = said(server)[1]
    assert found[:2] == ("warning", "allow-list")
    assert "the key of pi-3 was revoked as pi-1" in found[2]


AS_ANOTHER_USER = """
import os, sys
from pathlib import Path
from slfac.device.doctor.keys import check_keys
if os.getuid() == 0:
    os.setuid(65534)
for finding in check_keys(Path(sys.argv[1])):
    print(finding.level, finding.name, finding.found, "->", finding.remedy)
"""


def test_an_allow_list_that_cannot_be_read(server):
    (server / "allowed").symlink_to("allowed")
    assert ("failed", "allow-list") in [line[:2] for line in said(server)]


@pytest.mark.parametrize("file", ["device.key_secret", "server.key", "device.key", ""])
def test_what_may_not_be_read_is_named(file):
    with tempfile.TemporaryDirectory() as folder:
        # The user that runs this may be root, whom no mode keeps out.
        Path(folder).chmod(0o755)
        new_keys(Path(folder) / "server", "server")
        new_keys(Path(folder) / "device", "device", Path(folder) / "server" / "server.key")
        secret = Path(folder) / "device" / "device.key_secret"
        if os.getuid() == 0:
            os.chown(secret, 65534, 65534)
            (Path(folder) / "device").chmod(0o755)
        shut = Path(folder) / "device" / file
        if os.getuid() == 0:
            os.chown(shut, 0, 0)
        shut.chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER_USER, str(secret.parent)],
            capture_output=True,
            text=True,
            check=False,
        )
        shut.chmod(0o700)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith("failed ")
    assert str(shut) in line
    assert "may not be read by this user" in line or "cannot be read: Permission denied" in line

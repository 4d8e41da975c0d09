"""slfac for a Jetson: into trees laid out as NVIDIA's, by the installer that boards run."""

import base64
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import onnxruntime
import pytest

from harness.raspios import elf, small_layer
from harness.tegra import make_tegra
from slfac.device.image import board
from slfac.device.image.board import BOARD_FILES
from slfac.device.image.jetson import installer as installer_module
from slfac.device.image.jetson import try_provider
from slfac.device.image.jetson.apply import apply
from slfac.device.image.jetson.installer import jetson_tree, pack_installer, write_installer
from slfac.device.image.jetson.release import read_release
from slfac.device.image.jetson.target import look_at
from slfac.device.image.update.versions import read_manifest, require_whole
from slfac.wire.errors import ImageError

pytestmark = pytest.mark.device

VERSION = "0.1.0-test"
GPU = ("onnxruntime/__init__.py",)
WHEEL = "onnxruntime_gpu-1.23.0-cp310-cp310-linux_aarch64.whl"


def make_layer(abi, extra, version=VERSION):
    """A layer without wheels but for an onnxruntime of no use."""
    return small_layer(abi, version=version, extra=extra)


@pytest.fixture
def tegra(tmp_path):
    return make_tegra(tmp_path / "Linux_for_Tegra")


def run(file, *arguments, **options):
    done = subprocess.run(
        ["sh", file, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def installer(tmp_path):
    path = tmp_path / "slfac-jetson.run"
    write_installer(path, jetpacks=(6, 7), make_layer=make_layer)
    return path


def everything(root):
    """All files below a folder, with what they hold."""
    return {
        str(path.relative_to(root)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_it_goes_into_a_root_file_system_and_again(tegra):
    said = []
    for _ in range(2):
        apply(look_at(tegra), make_layer=make_layer, nvpmodel=2, on_status=said.append)
    root = tegra / "rootfs"
    assert (root / "opt/slfac/current").readlink() == Path(f"versions/{VERSION}")
    assert "cp310" in (root / "opt/slfac/current/bin/slfac").read_text()
    units = root / "usr/lib/systemd/system"
    assert (
        "MemoryDenyWriteExecute=no" in (units / "slfac-device.service.d/20-jetson.conf").read_text()
    )
    assert (root / "etc/slfac/nvpmodel.conf").read_text() == "MODE=2\n"
    wants = root / "etc/systemd/system/multi-user.target.wants"
    assert {path.name for path in wants.iterdir()} == {
        "nvpmodel.service",
        "slfac-device.service",
        "slfac-firstboot.service",
        "slfac-nvpmodel.service",
    }
    assert (root / "lib").is_symlink()
    assert said[-1] == f"{VERSION} is in {root}"
    assert not (root / "boot").exists()


def test_settings_go_where_the_first_boot_looks(tegra):
    apply(look_at(tegra), make_layer=make_layer, settings=b'{"schema": 1}', on_status=[].append)
    path = tegra / "rootfs/boot/firmware/slfac/device.json"
    assert path.read_bytes() == b'{"schema": 1}'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nvidias_own_commands_follow(tegra):
    user, flash = look_at(tegra).next_commands()
    assert user.startswith("sudo ./tools/l4t_create_default_user.sh -u ")
    assert "-c tools/kernel_flash/flash_l4t_t234_nvme.xml" in flash
    assert '-p "-c bootloader/generic/cfg/flash_t234_qspi.xml"' in flash
    assert look_at(tegra).boards() == ["jetson-agx-orin-devkit", "jetson-orin-nano-devkit"]
    shutil.rmtree(tegra / "tools")
    assert look_at(tegra).next_commands() == []


def test_what_is_no_jetsons_is_refused(tmp_path, tegra):
    with pytest.raises(ImageError, match="is no Linux_for_Tegra"):
        look_at(tmp_path)
    with pytest.raises(ImageError, match="is not for 64-bit ARM"):
        look_at(make_tegra(tmp_path / "x86", machine=0x3E))
    with pytest.raises(ImageError, match="has Python cp312, JetPack 6 has cp310"):
        look_at(make_tegra(tmp_path / "python", python="3.12"))
    (tegra / "rootfs/usr/bin/python3.10").write_bytes(b"#!/bin/sh\n")
    with pytest.raises(ImageError, match="has no Python"):
        look_at(tegra)
    (tegra / "rootfs/etc/nv_tegra_release").unlink()
    with pytest.raises(ImageError, match="nv_tegra_release") as failed:
        look_at(tegra)
    assert "apply_binaries.sh" in failed.value.remedy


def test_a_link_out_of_the_root_file_system_is_refused(tegra):
    """It would lead into this machine's own system."""
    for name in ("opt", "usr/lib/udev"):
        (tegra / "rootfs" / name).symlink_to("/usr")
        with pytest.raises(ImageError, match="leads out of the root file system, to /usr"):
            look_at(tegra)
        (tegra / "rootfs" / name).unlink()


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic", ("36.4.3", 6)),
        ("# R38 (release), REVISION: 2.0, GCID: 1, BOARD: generic", ("38.2.0", 7)),
        ("# R39 (release), REVISION: 2.1, GCID: 1", ("39.2.1", 7)),
    ],
)
def test_releases_are_read(text, release):
    found = read_release(text)
    assert (found.linux, found.jetpack) == release


@pytest.mark.parametrize(
    "text", ["", "R36", "# R35 (release), REVISION: 4.1", "# R99 (release), REVISION: 1.0"]
)
def test_other_releases_are_refused(text):
    with pytest.raises(ImageError):
        read_release(text)


# The installer


def test_the_installer_picks_the_layer_of_the_python(tmp_path, installer):
    for major, python, abi in ((36, "3.10", "cp310"), (39, "3.12", "cp312")):
        root = make_tegra(tmp_path / abi, major=major, python=python) / "rootfs"
        # A path that is relative will do.
        assert run(installer, "--root", root.name, cwd=root.parent)[0] == 0
        done = subprocess.run(
            [root / "opt/slfac/current/bin/slfac"], capture_output=True, text=True, check=True
        )
        assert done.stdout.split()[2] == abi


def test_the_same_layers_give_the_same_installer():
    layers = [make_layer("cp310", jetson_tree())]
    assert pack_installer(layers) == pack_installer(layers)


def test_settings_in_an_installer_are_for_its_owner_only(tmp_path, tegra):
    path = tmp_path / "one.run"
    write_installer(path, jetpacks=(6,), make_layer=make_layer, settings=b'{"schema": 1}')
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert run(path, "--root", tegra / "rootfs")[0] == 0
    settings = tegra / "rootfs/boot/firmware/slfac/device.json"
    assert settings.read_bytes() == b'{"schema": 1}'


def test_an_update_switches_and_keeps_the_old_release(tmp_path, tegra, installer):
    root = tegra / "rootfs"
    assert run(installer, "--root", root)[0] == 0
    newer = tmp_path / "newer.run"
    write_installer(
        newer, jetpacks=(6,), make_layer=lambda abi, tree: make_layer(abi, tree, "0.2.0-test")
    )
    assert run(newer, "--root", root)[0] == 0
    assert (root / "opt/slfac/current").readlink() == Path("versions/0.2.0-test")
    # Where `slfac update` looks for the one to go back to.
    assert (root / "opt/slfac/previous").readlink() == Path(f"versions/{VERSION}")
    assert (root / "opt/slfac/versions" / VERSION).is_dir()


def test_the_same_release_from_other_sources_is_put_beside_it(tmp_path, tegra, installer):
    root = tegra / "rootfs"
    assert run(installer, "--root", root)[0] == 0

    def other(abi, extra):
        extra.file(f"opt/slfac/versions/{VERSION}/lib/new.py", "")
        return make_layer(abi, extra)

    rebuilt = tmp_path / "rebuilt.run"
    write_installer(rebuilt, jetpacks=(6,), make_layer=other)
    for _ in range(2):
        assert run(rebuilt, "--root", root)[0] == 0
        assert (root / "opt/slfac/current/lib/new.py").is_file()
        # What may run is never taken away, not for an instant.
        assert (root / "opt/slfac/previous").readlink() == Path(f"versions/{VERSION}")
        assert (root / "opt/slfac/versions" / VERSION).is_dir()


def test_uninstalling_leaves_what_was_there_and_the_keys(tegra, installer):
    root = tegra / "rootfs"
    before = everything(root)
    assert run(installer, "--root", root, "--nvpmodel", 0)[0] == 0
    (root / "etc/slfac/keys").mkdir()
    assert run(installer, "--root", root, "--uninstall")[0] == 0
    after = everything(root)
    assert after.pop("etc/slfac/nvpmodel.conf") == b"MODE=0\n"
    assert after == before
    assert (root / "etc/slfac/keys").is_dir()
    code, said = run(installer, "--root", root, "--uninstall")
    assert (code, "is not installed" in said) == (1, True)
    assert run(installer, "--root", root)[0] == 0
    assert run(installer, "--root", root, "--uninstall", "--purge")[0] == 0
    assert everything(root) == before


def damaged(path, tmp_path):
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    out = tmp_path / "damaged.run"
    out.write_bytes(data)
    return out


def test_an_installer_cut_short_or_damaged_changes_nothing(tmp_path, installer):
    root = make_tegra(tmp_path / "7", major=39, python="3.12") / "rootfs"
    short = tmp_path / "short.run"
    short.write_bytes(installer.read_bytes()[:-1000])
    for file in (short, damaged(installer, tmp_path)):
        code, said = run(file, "--root", root)
        assert (code, "is damaged" in said) == (1, True)
        assert not (root / "opt/slfac/current").is_symlink()
        assert not (root / "usr/lib/slfac").exists()


def test_wrong_machines_and_options_are_refused(tegra, installer):
    root = tegra / "rootfs"
    wrong = {
        ("--nvpmodel", "max"): "--nvpmodel is max",
        ("--nvpmodel",): "--nvpmodel lacks its value",
        ("--what",): "unknown option --what",
        ("--settings", "/nowhere"): "/nowhere is no file",
    }
    for options, said in wrong.items():
        assert said in run(installer, "--root", root, *options)[1]
    assert not (root / "opt").exists()
    (root / "usr/bin/python3").unlink()
    (root / "usr/bin/python3").symlink_to("python3.11")
    (root / "usr/bin/python3.11").write_bytes(elf())
    assert "has no layer for python3.11, only: cp310 cp312" in run(installer, "--root", root)[1]
    (root / "usr/bin/python3.11").write_bytes(elf(64, 0x3E))
    assert "is not for 64-bit ARM" in run(installer, "--root", root)[1]
    (root / "etc/nv_tegra_release").unlink()
    assert "this is no Jetson" in run(installer, "--root", root)[1]
    assert "sudo sh slfac-jetson.run" in run(installer, "--help")[1]


def wheel(path, *, names=GPU):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "whose = 'gpu'\n")
    return path


def test_a_wheel_for_the_gpu_is_a_version_of_its_own(tmp_path, tegra, installer):
    root = tegra / "rootfs"
    given = wheel(tmp_path / WHEEL)
    assert run(installer, "--root", root, "--gpu-wheel", given)[0] == 0
    assert (root / "opt/slfac/current").readlink() == Path(f"versions/{VERSION}-gpu")
    lib = root / "opt/slfac/current/lib"
    assert "gpu" in (lib / "onnxruntime/__init__.py").read_text()
    assert not list(lib.glob("onnxruntime-*.dist-info"))
    version = root / "opt/slfac/current"
    manifest = read_manifest(version)
    require_whole(version, manifest)
    assert manifest["version"] == f"{VERSION}-gpu"
    assert "lib/onnxruntime/__init__.py" in manifest["files"]
    cpu = root / "opt/slfac/versions" / VERSION / "lib/onnxruntime/__init__.py"
    assert "cpu" in cpu.read_text()
    # Without it, the CPU's is back.
    assert run(installer, "--root", root)[0] == 0
    assert (root / "opt/slfac/current").readlink() == Path(f"versions/{VERSION}")


@pytest.mark.parametrize(
    ("name", "names", "said"),
    [
        ("onnxruntime_gpu-1.31.1-cp312-cp312-manylinux_2_28_aarch64.whl", GPU, "not for cp310"),
        ("onnxruntime_gpu-1.23.0-cp310-cp310-linux_x86_64.whl", GPU, "is not for cp310"),
        (WHEEL, (), "is no wheel"),
        (WHEEL, ("torch/__init__.py",), "has no onnxruntime in it"),
    ],
)
def test_a_wheel_of_no_use_leaves_the_cpus(tegra, installer, name, names, said):
    given = installer.with_name(name)
    if names:
        wheel(given, names=names)
    else:
        given.write_bytes(b"not a zip")
    assert said in run(installer, "--root", tegra / "rootfs", "--gpu-wheel", given)[1]
    home = tegra / "rootfs/opt/slfac"
    assert (home / "current").readlink() == Path(f"versions/{VERSION}")
    assert {path.name for path in (home / "versions").iterdir()} - {f".{VERSION}.sha256"} == {
        VERSION
    }


# The real inference


def libraries():
    return str(Path(onnxruntime.__file__).parents[1])


def test_a_provider_that_computes_is_of_use(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", libraries(), "--provider", "CPUExecutionProvider"])
    assert try_provider.main() == 0
    assert "computes what the CPU does" in capsys.readouterr().out


def test_a_provider_that_is_missing_is_not(tmp_path):
    program = Path(try_provider.__file__)
    done = subprocess.run(
        ["python3", "-s", program, libraries()], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "has no CUDAExecutionProvider, only" in done.stdout or "Error" in done.stdout
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime/__init__.py").write_text("raise OSError('libcudart.so.12')")
    done = subprocess.run(
        ["python3", "-I", program, tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_a_provider_that_computes_something_else_is_not(monkeypatch):
    """The same graph but for a weight."""
    other = try_provider.MODEL.replace(b"\x00\x00\x80\x3e", b"\x00\x00\x00\x3f")
    assert other != try_provider.MODEL
    real, opened = onnxruntime.InferenceSession, []

    def session(model, *rest, **options):
        opened.append(model)
        return real(other if len(opened) == 1 else model, *rest, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    assert "differs from the CPU" in try_provider.compare("CPUExecutionProvider")
    assert base64.b64encode(opened[0]).startswith(b"CAg6")


# The units


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    verify = shutil.which("systemd-analyze")
    assert verify, "systemd-analyze is missing: sudo apt install systemd"
    shutil.copytree("/usr/lib/systemd", tmp_path / "usr/lib/systemd", symlinks=True)
    said = subprocess.run([verify, "--version"], capture_output=True, text=True, check=True)
    release = int(said.stdout.split()[1])
    for file in BOARD_FILES:
        if release >= file.least_systemd:
            path = tmp_path / file.place.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((Path(board.__file__).parent / file.name).read_bytes())
    tree = jetson_tree()
    for name, entry in tree.entries.items():
        if entry.kind == "file":
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.data)
    for name in ("opt/slfac/current/bin/slfac", "usr/bin/python3", "usr/sbin/nvpmodel"):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    for name in ("systemd-sysusers", "systemd-tmpfiles"):
        shutil.copy("/bin/true", tmp_path / "usr/bin" / name)
    units = ("slfac-device.service", "slfac-firstboot.service", "slfac-nvpmodel.service")
    done = subprocess.run(
        [verify, f"--root={tmp_path}", "verify", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_installer_is_what_the_shell_takes(installer):
    """Nothing behind the script is ever read as one."""
    text = installer.read_bytes()
    assert text.startswith(b"#!/bin/sh\n")
    script = text[: text.index(b"\x1f\x8b")]
    assert script.rstrip().endswith(b"exit $?")
    assert subprocess.run(["sh", "-n"], input=script, check=False).returncode == 0
    assert installer_module.jetson_tree().entries

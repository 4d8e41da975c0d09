"""Wheels for another machine than the board are told, whatever they call themselves."""

import struct
import zipfile

import pytest

from harness.cards import with_tools
from slfac.device.image.layer.wheels import install_wheels
from slfac.wire.errors import ImageError

X86 = 62


def make_wheel(folder, tag, machine):
    """A wheel of slfac with one program in it."""
    info = "slfac-0.1.0.dist-info"
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine) + bytes(44)
    files = {
        "slfac/fast.cpython-313-aarch64-linux-gnu.so": elf,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: slfac\nVersion: 0.1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nTag: {tag}\n".encode(),
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in files).encode()
    path = folder / f"slfac-0.1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("tag", ["cp313-cp313-manylinux_2_28_x86_64", "cp311-cp311-linux_aarch64"])
def test_a_wheel_for_another_machine_or_python_is_refused(tmp_path, tag):
    with_tools("uv")
    wheel = make_wheel(tmp_path, tag, X86)
    with pytest.raises(ImageError, match=r"uv pip failed: .*slfac") as caught:
        install_wheels("cp313", tmp_path / "lib", wheel)
    assert caught.value.exit_code == 80


def test_a_program_for_another_machine_in_a_wheel_for_any_is_refused(tmp_path):
    with_tools("uv")
    wheel = make_wheel(tmp_path, "py3-none-any", X86)
    with pytest.raises(ImageError, match=r"fast.*\.so is for another machine than arm64") as caught:
        install_wheels("cp313", tmp_path / "lib", wheel)
    assert "give a wheel for arm64" in caught.value.remedy


def test_a_file_that_is_no_wheel_is_refused(tmp_path):
    with_tools("uv")
    (tmp_path / "slfac-0.1.0-py3-none-any.whl").write_bytes(b"no wheel")
    with pytest.raises(ImageError, match="uv pip failed"):
        install_wheels("cp313", tmp_path / "lib", tmp_path / "slfac-0.1.0-py3-none-any.whl")

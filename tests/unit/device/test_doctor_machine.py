"""What the doctor reads of a machine: files as the kernels of real boards write them."""

import ctypes
import shutil
from collections import namedtuple

import pytest

from slfac.device.doctor.clock import check_clock, kernel_synchronized
from slfac.device.doctor.heat import (
    check_governor,
    check_power_mode,
    check_temperature,
    check_throttling,
)
from slfac.device.doctor.resources import check_disk, check_memory
from slfac.device.doctor.system import check_glibc, check_platform, check_python

pytestmark = pytest.mark.device

NOW_S = 1_795_000_000.0  # November 2026
ORIN_CONF = """\
< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""


def write(root, **files):
    """Files of a fake tree; ``__`` stands for ``/``."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def zones(root, *temperatures):
    for number, (kind, temp) in enumerate(temperatures):
        folder = root / f"sys/class/thermal/thermal_zone{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{kind}\n")
        (folder / "temp").write_text(f"{temp}\n")
    return root


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ((3, 9, 18), "failed"),
        ((3, 10, 0), "ok"),
        ((3, 13, 9), "ok"),
        ((3, 14, 0), "warning"),
        ((2, 7, 18), "failed"),
    ],
)
def test_pythons(version, level):
    finding = check_python(version)
    assert finding.level == level
    assert ".".join(map(str, version)) in finding.found
    assert bool(finding.remedy) == (level != "ok")


@pytest.mark.parametrize(
    ("system", "machine", "bits", "level"),
    [
        ("Linux", "aarch64", 64, "ok"),
        ("Linux", "x86_64", 64, "ok"),
        ("Linux", "armv7l", 32, "failed"),
        ("Linux", "aarch64", 32, "failed"),
        ("Linux", "riscv64", 64, "warning"),
        ("Darwin", "arm64", 64, "failed"),
    ],
)
def test_platforms(tmp_path, system, machine, bits, level):
    finding = check_platform(tmp_path, system=system, machine=machine, bits=bits)
    assert finding.level == level
    assert machine in finding.found


def test_a_boards_model_is_named_without_its_nul(tmp_path):
    write(tmp_path, **{"proc__device-tree__model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    found = check_platform(tmp_path, system="Linux", machine="aarch64", bits=64).found
    assert found.endswith(", Raspberry Pi 5 Model B Rev 1.0")


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("glibc 2.28", "ok"),
        ("glibc 2.36", "ok"),
        ("glibc 3.0", "ok"),
        ("glibc 2.27", "warning"),
        ("glibc 2.4", "warning"),
        ("musl 1.2", "unknown"),
        ("glibc", "unknown"),
        (None, "unknown"),
    ],
)
def test_c_libraries(version, level):
    assert check_glibc(version).level == level


def test_a_clock_that_a_service_keeps(tmp_path):
    assert check_clock(tmp_path, now_s=NOW_S, kernel=True).level == "ok"
    write(tmp_path, run__systemd__timesync__synchronized="")
    assert check_clock(tmp_path, now_s=NOW_S, kernel=False).level == "ok"
    assert check_clock(tmp_path, now_s=NOW_S, kernel=None).level == "ok"


def test_a_clock_that_nobody_keeps(tmp_path):
    assert check_clock(tmp_path, now_s=NOW_S, kernel=False).level == "warning"
    assert check_clock(tmp_path, now_s=NOW_S, kernel=None).level == "unknown"


@pytest.mark.parametrize("now_s", [0.0, 1_700_000_000.0, 5_000_000_000.0])
def test_a_clock_that_cannot_be_right(tmp_path, now_s):
    finding = check_clock(tmp_path, now_s=now_s, kernel=True)
    assert (finding.level, "cannot be" in finding.found) == ("warning", True)


@pytest.mark.parametrize(("state", "kept"), [(0, True), (4, True), (5, False), (-1, None)])
def test_the_kernels_word_on_its_clock(monkeypatch, state, kept):
    class Libc:
        def adjtimex(self, buffer):
            assert buffer.raw == bytes(512)
            return state

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Libc())
    assert kernel_synchronized() is kept
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert kernel_synchronized() is None


def test_this_kernel_says_something_or_nothing():
    assert kernel_synchronized() in (True, False, None)


def test_memory(tmp_path):
    assert check_memory(tmp_path).level == "unknown"
    text = "MemTotal:         524288 kB\nMemFree:  5 kB\nMemAvailable:     {} kB\n"
    write(tmp_path, proc__meminfo=text.format(400_000))
    finding = check_memory(tmp_path)
    assert (finding.level, finding.found) == ("ok", "400 MB available of 524 MB")
    write(tmp_path, proc__meminfo=text.format(99_000))
    assert check_memory(tmp_path).level == "warning"


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free_mb", "level"), [(10, "failed"), (100, "warning"), (900, "ok"), (90_000, "ok")]
)
def test_disks(tmp_path, monkeypatch, free_mb, level):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free_mb * 10**6))
    finding = check_disk("cache", tmp_path / "not" / "yet")
    assert (finding.level, finding.name) == (level, "disk cache")
    assert f"{free_mb} MB free at {tmp_path}" in finding.found
    assert not (tmp_path / "not").exists()


def test_a_disk_behind_a_file_or_one_that_may_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert check_disk("out", tmp_path / "file" / "runs").level == "failed"
    monkeypatch.setattr("os.access", lambda *_: False)
    finding = check_disk("out", tmp_path)
    assert (finding.level, "cannot be written" in finding.found) == ("failed", True)


def test_the_hottest_zone_is_said(tmp_path):
    zones(tmp_path, ("cpu-thermal", 48312), ("gpu-thermal", -256000), ("tj-thermal", 61500))
    (tmp_path / "sys/class/thermal/thermal_zone3").mkdir()
    finding = check_temperature(tmp_path)
    assert finding.level == "ok"
    assert finding.found == "61.5 degrees C (tj-thermal, the hottest of 2)"


def test_a_hot_board(tmp_path):
    assert check_temperature(zones(tmp_path, ("cpu-thermal", 80000))).level == "warning"


@pytest.mark.parametrize("text", ["", "x", "9999999999", "-256000", "200000"])
def test_a_temperature_that_is_none(tmp_path, text):
    assert check_temperature(zones(tmp_path, ("cpu", text))).level == "unknown"


PI = "sys__devices__platform__soc__soc:firmware__get_throttled"


@pytest.mark.parametrize(
    ("text", "level", "said"),
    [
        ("0\n", "ok", "none since the start"),
        ("50005\n", "warning", "now: under-voltage, throttled; since the start: under-voltage, th"),
        ("0x80008\n", "warning", "now: soft temperature limit; since the start: soft temp"),
        ("20000\n", "warning", "since the start: frequency capped"),
        ("junk\n", "unknown", "no sensor"),
        ("", "unknown", "no sensor"),
    ],
)
def test_a_raspberry_pis_throttling(tmp_path, text, level, said):
    finding = check_throttling(write(tmp_path, **{PI: text}))
    assert finding.level == level
    assert finding.found.startswith(said)


def test_the_remedy_fits_the_cause(tmp_path):
    assert "cool" not in check_throttling(write(tmp_path, **{PI: "10001"})).remedy
    assert "supply" not in check_throttling(write(tmp_path, **{PI: "40004"})).remedy


def test_a_jetsons_throttling(tmp_path):
    counters = {f"sys__class__hwmon__hwmon3__oc{n}_event_cnt": "0\n" for n in (1, 2, 3)}
    write(tmp_path, sys__class__hwmon__hwmon3__name="soctherm_oc\n", **counters)
    write(tmp_path, sys__class__hwmon__hwmon1__name="ina3221\n")
    write(tmp_path, sys__class__hwmon__hwmon1__oc1_event_cnt="9\n")
    assert check_throttling(tmp_path).level == "ok"
    write(tmp_path, sys__class__hwmon__hwmon3__oc2_event_cnt="4\n")
    finding = check_throttling(tmp_path)
    assert (finding.level, "4 times" in finding.found) == ("warning", True)


@pytest.mark.parametrize(
    ("governor", "driver", "level"),
    [
        ("ondemand", "cpufreq-dt", "ok"),
        ("schedutil", "tegra194", "ok"),
        ("powersave", "cpufreq-dt", "warning"),
        ("powersave", "intel_pstate", "ok"),
    ],
)
def test_governors(tmp_path, governor, driver, level):
    assert check_governor(tmp_path).level == "unknown"
    policy = "sys__devices__system__cpu__cpufreq__policy0__scaling"
    write(tmp_path, **{f"{policy}_governor": f"{governor}\n", f"{policy}_driver": f"{driver}\n"})
    finding = check_governor(tmp_path)
    assert finding.level == level
    assert governor in finding.found


def test_a_jetsons_power_mode(tmp_path):
    assert check_power_mode(tmp_path) is None, "no Jetson, no line"
    write(tmp_path, etc__nv_tegra_release="# R36 (release), REVISION: 4.3\n")
    assert check_power_mode(tmp_path).level == "unknown"
    write(tmp_path, var__lib__nvpmodel__status="pmode:0002")
    assert check_power_mode(tmp_path).found == "2"
    write(tmp_path, **{"etc__nvpmodel.conf": ORIN_CONF})
    assert check_power_mode(tmp_path).found == "2 (MAXN_SUPER)"


def test_an_empty_tree_makes_nothing_ok(tmp_path):
    checks = (check_memory, check_temperature, check_throttling, check_governor)
    assert {check(tmp_path).level for check in checks} == {"unknown"}

"""A device's settings from a file: what it says, what goes before it, and what is wrong with it."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from slfac.device.config import configured_settings
from slfac.device.settings import DeviceSettings, device_settings
from slfac.wire.errors import AddressError, SettingsError

pytestmark = pytest.mark.device

EXAMPLE = Path(__file__).parents[3] / "docs" / "device.toml"
FIELDS = DeviceSettings.__struct_fields__
BASE = 'server = "tcp://10.0.0.5:5555"\ndata = "mnist"\nkeys = "keys"\n'


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "device.toml"
        file.write_text(text)
        return file

    return write


def test_a_file_gives_every_kind_of_setting(write):
    settings = configured_settings(
        write(BASE + 'threads = 2\nlow_memory = true\nprovider = "auto"\nwait_enrolled_s = 60\n')
    )
    assert (settings.threads, settings.low_memory, settings.provider) == (2, True, "auto")
    assert settings.wait_enrolled_s == 60.0


def test_what_is_given_elsewhere_goes_before_the_file(write):
    settings = configured_settings(write(BASE + "threads = 2\n"), threads=3, data=Path("other"))
    assert (settings.threads, settings.data) == (3, Path("other"))


def test_either_way_to_the_server_goes_before_both_of_the_file(write):
    assert configured_settings(write(BASE), discover=True).server is None
    other = configured_settings(
        write('discover = true\ndata = "d"\nkeys = "k"\n'), server="tcp://10.0.0.9:1"
    )
    assert (other.server, other.discover) == ("tcp://10.0.0.9:1", False)


def test_paths_are_relative_to_the_file(write, tmp_path):
    more = 'cache = "/var/cache"\nenergy = true\nenergy_report = "joules.json"\n'
    settings = configured_settings(write(BASE + more))
    assert settings.energy_report == tmp_path / "joules.json"
    assert (settings.data, settings.keys) == (tmp_path / "mnist", tmp_path / "keys")
    assert settings.cache == Path("/var/cache")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("threads = 0", "setting threads is 0: "),
        ('threads = "many"', "setting threads is 'many': "),
        ("[threads]\nx = 1", "setting threads is {'x': 1}: "),
        ("data = 3", "setting data is 3: Expected a path, got int"),
        ('data = ""', "setting data is '': a path"),
        ('journal = "a\\u0000b"', "setting journal is 'a\\x00b': a path"),
        ('provider = "tpu"', "setting provider is 'tpu': "),
        ('name = "pi"', "setting name is 'pi', but keys are given"),
        ("discover = true", "setting server is 'tcp://10.0.0.5:5555', but discover is set"),
        ('server = "tcp://0.0.0.0:1"', "address 'tcp://0.0.0.0:1' is no server's"),
        ("thread = 1", "setting thread is 1, but there is no such setting"),
    ],
)
def test_a_wrong_field_is_named_with_the_file_its_value_and_a_remedy(write, line, said):
    name = line.strip("[").split(" ")[0].split("]")[0]
    base = "".join(kept for kept in BASE.splitlines(True) if not kept.startswith(f"{name} "))
    file = write(base + line + "\n")
    with pytest.raises((SettingsError, AddressError)) as caught:
        configured_settings(file)
    assert caught.value.what.startswith(f"{file}: {said}")
    assert caught.value.remedy


def test_an_error_of_the_command_line_does_not_name_the_file(write):
    with pytest.raises(SettingsError, match=r"^setting threads is 0: "):
        configured_settings(write(BASE + "threads = 3\n"), threads=0)


@pytest.mark.parametrize(("name", "near"), [("thread", "threads"), ("wait-enrolled", "wait_enr")])
def test_an_unknown_field_is_refused_with_the_nearest_name(write, name, near):
    with pytest.raises(SettingsError) as caught:
        configured_settings(write(BASE + f"{name} = 1\n"))
    assert caught.value.remedy.startswith(f"the nearest is {near}")


def test_a_missing_field_is_said_to_be_missing(write):
    with pytest.raises(SettingsError, match=r"^setting data is missing; .*file of --config"):
        configured_settings(write('keys = "k"\ndiscover = true\n'))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"threads =", "is no TOML"),
        (b"\xff\xfe", "is no TOML"),
        (b"x = " + b"[" * 20_000, "is no TOML"),
        (b"# " + b"x" * 70_000, "has more than 65536 bytes"),
    ],
)
def test_a_bad_file_is_said_to_be_bad(tmp_path, data, said):
    file = tmp_path / "bad.toml"
    file.write_bytes(data)
    with pytest.raises(SettingsError) as caught:
        configured_settings(file)
    assert said in caught.value.what
    assert caught.value.remedy == "docs/device.toml is an example"


def test_the_example_has_every_setting_and_its_default():
    read = configured_settings(EXAMPLE, keys=Path("k"))
    plain = device_settings(server=read.server, data=read.data, keys="k")
    assert {f for f in FIELDS if getattr(read, f) != getattr(plain, f)} == set()
    text = EXAMPLE.read_text("utf-8")
    for field in FIELDS:
        assert f"\n{field} = " in text or f"\n# {field} = " in text


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.sampled_from(
            ['"x"', "1", "-1", "1.5", "true", "[]", "nan", '""', "1979-05-27", "{a=1}"]
        ),
        max_size=5,
    )
)
def test_no_file_ends_in_anything_but_settings_or_a_remedy(tmp_path, fields):
    file = tmp_path / "device.toml"
    file.write_text("".join(f"{name} = {value}\n" for name, value in fields.items()))
    with contextlib.suppress(SettingsError, AddressError):
        assert isinstance(configured_settings(file), DeviceSettings)

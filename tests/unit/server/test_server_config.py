"""Settings from a file: what it says, what goes before it, and what is wrong with it."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from slfac.server import ServerSettings, configured_settings
from slfac.wire.errors import AddressError, SettingsError

EXAMPLE = Path(__file__).parents[3] / "docs" / "server.toml"
BASE = (
    'bundle = "b"\nout = "o"\ninsecure = true\nbind = "tcp://127.0.0.1:*"\ndevices = ["a", "b"]\n'
)


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "server.toml"
        file.write_text(text)
        return file

    return write


def test_a_file_gives_every_kind_of_setting(write):
    settings = configured_settings(
        write(BASE + 'rounds = 3\ngrace_s = 5\ncodec = "none"\ncodec_down = "fp16"\n')
    )
    assert (settings.rounds, settings.grace_s, settings.devices) == (3, 5.0, ("a", "b"))
    assert (settings.codec_up, settings.codec_down) == ("none", "fp16")


def test_what_is_given_elsewhere_goes_before_the_file(write):
    file = write(BASE + 'rounds = 3\nbatch_size = 8\ncodec_up = "none"\n')
    settings = configured_settings(file, rounds=5, codec="fp16", insecure=True)
    assert (settings.rounds, settings.batch_size) == (5, 8)
    assert (settings.codec_up, settings.codec_down) == ("fp16", "fp16")


def test_paths_are_relative_to_the_file_and_others_to_the_working_directory(write, tmp_path):
    file = write(BASE + 'data = "/data/mnist"\n')
    settings = configured_settings(file, out="elsewhere")
    assert settings.bundle == tmp_path / "b"
    assert settings.data == Path("/data/mnist")
    assert settings.out == Path("elsewhere")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rounds = 0", "setting rounds is 0: "),
        ('rounds = "many"', "setting rounds is 'many': "),
        ("bundle = 3", "setting bundle is 3: "),
        ('data = ""', "setting data is '': a path"),
        ('data = "a\\u0000b"', "setting data is 'a\\x00b': a path"),
        ('data = "~no-such-user/x"', "setting data is '~no-such-user/x': Could not"),
        ("[rounds]\nx = 1", "setting rounds is {'x': 1}: "),
        ('optimizer = "sgd:speed=1"', "setting optimizer is 'sgd:speed=1': sgd has no field speed"),
        ('codec = "zip"', "setting codec_up is 'zip': "),
        ('device_optimizer = "zip"', "setting device_optimizer is 'zip': "),
        ("min_devices = 2", "setting min_devices is 2, but join_timeout_s is 0"),
        ('bind = "tcp://0.0.0.0:5555"', "insecure is set, but tcp://0.0.0.0:5555 is not"),
        ('devices = ["a", "B"]', "setting devices.1 is 'B'"),
    ],
)
def test_a_wrong_field_is_named_with_the_file_its_value_and_a_remedy(write, line, said):
    name = line.strip("[").split(" ")[0].split("]")[0]
    base = "".join(kept for kept in BASE.splitlines(True) if not kept.startswith(f"{name} "))
    file = write(base + line + "\n")
    with pytest.raises(SettingsError) as caught:
        configured_settings(file)
    assert caught.value.what.startswith(f"{file}: {said}")
    assert caught.value.remedy


def test_a_malformed_address_is_named_with_the_file(write):
    file = write(BASE.replace("tcp://127.0.0.1:*", "here"))
    with pytest.raises(AddressError, match=r"server\.toml: address 'here' is malformed"):
        configured_settings(file)


def test_an_error_of_the_command_line_does_not_name_the_file(write):
    with pytest.raises(SettingsError, match=r"^setting rounds is 0: "):
        configured_settings(write(BASE + "rounds = 3\n"), rounds=0)


@pytest.mark.parametrize(
    ("name", "near"),
    [("roundes", "rounds"), ("batch-size", "batch_size"), ("optimiser", "optimizer")],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(write, name, near):
    with pytest.raises(SettingsError) as caught:
        configured_settings(write(BASE + f"{name} = 1\n"))
    assert f"setting {name} is 1, but there is no such setting" in caught.value.what
    assert caught.value.remedy == f"the nearest is {near}"


def test_a_missing_field_is_said_to_be_missing(write):
    with pytest.raises(SettingsError, match=r"^setting out is missing; .*file of --config"):
        configured_settings(write('bundle = "b"\nkeys = "k"\n'))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"rounds =", "is no TOML"),
        (b"rounds = 1\nrounds = 2", "is no TOML"),
        (b"\xff\xfe", "is no TOML"),
        (b"x = " + b"[" * 20_000, "is no TOML"),
        (b"# " + b"x" * 70_000, "has more than 65536 bytes"),
    ],
)
def test_a_bad_file_is_said_to_be_bad(tmp_path, data, said):
    file = tmp_path / "bad.toml"
    file.write_bytes(data)
    with pytest.raises(SettingsError, match=rf"bad\.toml {said}"):
        configured_settings(file)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(SettingsError, match=r"cannot read .*none\.toml: No such file"):
        configured_settings(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=r"cannot read .*: Is a directory"):
        configured_settings(tmp_path)


@hypothesis_settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_file_raises_anything_else(tmp_path, data):
    file = tmp_path / "any.toml"
    file.write_bytes(BASE.encode() + data)
    with contextlib.suppress(SettingsError):
        configured_settings(file)


def test_the_example_names_every_setting_with_its_default():
    example = configured_settings(EXAMPLE)
    lines = EXAMPLE.read_text().splitlines()
    named = {line.split(" ")[0] for line in lines if line and not line.startswith("#")}
    assert named == {*ServerSettings.model_fields, "codec"} - {"codec_up", "codec_down"}
    own = {line.split(" ")[0] for line in lines if "# no default" in line} | {"keys"}
    for name, field in ServerSettings.model_fields.items():
        if name not in own:
            assert getattr(example, name) == field.default, name

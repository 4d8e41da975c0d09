from pathlib import Path

import pytest

from slfac.device import device_settings
from slfac.wire.errors import AddressError, SettingsError

pytestmark = pytest.mark.device


def settings(**changes):
    values = {"server": "tcp://10.0.0.5:5555", "data": "images", "keys": "keys"}
    return device_settings(**{**values, **changes})


def test_defaults():
    told = settings()
    assert (told.data, told.keys, told.bundle) == (Path("images"), Path("keys"), None)
    assert (told.connect_timeout_s, told.reconnect_timeout_s, told.threads) == (60.0, 300.0, 1)
    assert told.cache == Path.home() / ".cache" / "slfac" / "bundles"
    assert settings(data=Path("other")).data == Path("other")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("server", 5),
        ("data", 5),
        ("keys", 5),
        ("bundle", 5),
        ("cache", None),
        ("insecure", "yes"),
        ("name", ""),
        ("name", "Upper"),
        ("name", "a/b"),
        ("name", "a" * 64),
        ("connect_timeout_s", -1),
        ("connect_timeout_s", float("nan")),
        ("reconnect_timeout_s", -0.1),
        ("wait_enrolled_s", -1),
        ("discover", 1),
        ("threads", 0),
        ("threads", 65),
        ("threads", 1.5),
        ("threads", "two"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_a_remedy(field, value):
    with pytest.raises(SettingsError) as caught:
        settings(**{field: value})
    assert f"setting {field} is {value!r}" in caught.value.what
    assert caught.value.remedy


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(SettingsError, match="speed"):
        settings(speed=3)
    with pytest.raises(SettingsError, match=r"server is missing; pass --server .* --discover"):
        device_settings(data="d", keys="k")


def test_a_server_is_given_or_discovered_and_not_both():
    assert settings(server=None, discover=True).server is None
    with pytest.raises(SettingsError, match=r"but discover is set; leave one of them out"):
        settings(discover=True)


def test_no_keys_only_on_loopback_and_only_when_said():
    with pytest.raises(SettingsError, match=r"setting keys is missing.*slfac keys new device"):
        settings(keys=None)
    with pytest.raises(SettingsError, match="not a loopback address"):
        settings(keys=None, insecure=True)
    assert settings(keys=None, insecure=True, server="tcp://127.0.0.1:5555").keys is None


@pytest.mark.parametrize("address", ["", "10.0.0.5:5555", "tcp://host", "tcp://h:70000", "ipc://x"])
def test_a_malformed_address_is_said(address):
    with pytest.raises(AddressError, match="malformed"):
        settings(server=address)

import pytest

from slfac.server import server_settings
from slfac.server.settings import parse_partition
from slfac.wire.errors import AddressError, SettingsError
from slfac.wire.messages import Partition


def settings(**changes):
    values = {
        "bundle": "b",
        "out": "o",
        "bind": "tcp://127.0.0.1:*",
        "insecure": True,
        "devices": ("a", "b"),
    }
    return server_settings(**{**values, **changes})


def test_defaults_and_plan():
    plan = settings(partition="dirichlet:beta=0.3,min_samples=5", seed=9).plan()
    assert plan.partition == Partition(scheme="dirichlet", beta=0.3, min_samples=5)
    assert plan.optimizer == "sgd:lr=0.05,momentum=0.9"
    assert (plan.codec_up, plan.codec_down, plan.seed) == ("slfac", "slfac", 9)
    assert plan.schedule == "constant"
    assert settings(schedule="cosine:warmup=1").plan().schedule == "cosine:warmup=1"
    assert settings(device_optimizer="adam").plan().optimizer == "adam"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bind", 5),
        ("insecure", "maybe"),
        ("devices", 7),
        ("min_devices", -1),
        ("join_timeout_s", -0.5),
        ("join_timeout_s", float("nan")),
        ("rounds", 0),
        ("rounds", 10**6 + 1),
        ("rounds", 1.5),
        ("steps_per_round", -1),
        ("batch_size", 0),
        ("batch_size", 65537),
        ("optimizer", None),
        ("seed", -1),
        ("seed", 2**32),
        ("grace_s", -1),
        ("idle_timeout_s", 0),
        ("torch_device", "gpu"),
        ("torch_device", "cuda:1"),
        ("threads", -1),
        ("threads", "many"),
        ("bundle", 3),
        ("out", 3),
        ("keys", 3),
        ("data", 3),
        ("best_by", "recall"),
        ("early_stop", 3),
        ("allow_factories", 3),
        ("no_such_field", 1),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_a_remedy(field, value):
    with pytest.raises(SettingsError) as caught:
        settings(**{field: value})
    assert f"setting {field} is {value!r}" in caught.value.what
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("codec_up", "zip", "zip"),
        ("codec_up", "slfac:theta=2", "theta"),
        ("codec_down", "slfac:oops", "oops"),
        ("codec_down", "x" * 300, "300 characters"),
        ("optimizer", "rmsprop", "rmsprop"),
        ("optimizer", "sgd:lr=-1", "lr"),
        ("device_optimizer", "sgd:speed=1", "speed"),
        ("schedule", "wave", "wave"),
        ("schedule", "cosine:warmup=10", "of 10 rounds in all"),
        ("schedule", "linear:every=2", "every"),
        ("early_stop", "patience=0", "patience"),
        ("early_stop", "wait=3", "wait"),
        ("early_stop", "3", "key=value"),
        ("partition", "thirds", "thirds"),
        ("partition", "dirichlet:beta=0", "beta"),
        ("partition", "iid:beta=1", "beta"),
        ("partition", "own:min_samples=3", "min_samples"),
    ],
)
def test_a_wrong_spec_names_its_setting_and_the_part_that_is_wrong(field, value, part):
    with pytest.raises(SettingsError) as caught:
        settings(**{"data": "d", field: value})
    assert caught.value.what.startswith(f"setting {field} is {value!r}: ")
    assert part in caught.value.what.split(": ", 1)[1]
    assert caught.value.remedy


def test_a_missing_field_is_said_to_be_missing():
    with pytest.raises(SettingsError, match=r"^setting bundle is missing; "):
        server_settings(out="o", insecure=True, devices=("a",))


@pytest.mark.parametrize("name", ["", "Big", "a b", "../a", "-a", "a" * 64, "a\n"])
def test_a_device_name_that_no_device_can_have_is_refused(name):
    with pytest.raises(SettingsError, match=r"setting devices\.1 is"):
        settings(devices=("a", name))


def test_without_keys_only_loopback_and_named_devices():
    with pytest.raises(SettingsError, match=r"setting keys is missing.*slfac keys new server"):
        settings(insecure=False)
    with pytest.raises(SettingsError, match="not a loopback address"):
        settings(bind="tcp://0.0.0.0:5555")
    with pytest.raises(SettingsError, match="setting devices is empty"):
        settings(devices=())
    assert settings(bind="tcp://[::1]:5555").keys is None


def test_with_keys_any_address_and_no_names_will_do(tmp_path):
    assert settings(keys=tmp_path, bind="tcp://0.0.0.0:5555", devices=()).devices == ()
    with pytest.raises(AddressError, match="malformed"):
        settings(keys=tmp_path, bind="0.0.0.0:5555")


def test_partition_specs():
    assert parse_partition("own") == Partition()
    assert parse_partition("iid:min_samples=3") == Partition(scheme="iid", min_samples=3)
    assert parse_partition("dirichlet").beta == 0.5


def test_min_devices_without_a_time_limit_is_refused(tmp_path):
    values = {"bundle": "b", "out": "o", "keys": tmp_path, "min_devices": 2}
    with pytest.raises(SettingsError, match=r"min_devices is 2.*pass --join-timeout-s"):
        server_settings(**values)
    assert server_settings(**values, join_timeout_s=1).min_devices == 2


@pytest.mark.parametrize(("field", "value"), [("best_by", "loss"), ("early_stop", "patience=3")])
def test_what_needs_an_evaluation_needs_data(field, value):
    with pytest.raises(SettingsError, match=rf"setting {field} is .*nothing is evaluated"):
        settings(**{field: value})
    assert getattr(settings(**{field: value}, data="d"), field) == value

import subprocess
import sys

import pytest

from slfac.export.rebuild import back_half, build_model, factory_path
from slfac.wire.errors import ExportError

CNN = "slfac.export.models:cnn"
ARGUMENTS = {"num_classes": 10, "input_shape": [1, 28, 28]}


def test_the_back_half_has_what_the_front_lacks():
    back = back_half(CNN, ARGUMENTS, "conv2")
    assert set(back.state_dict()) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    assert back.training


def test_a_server_without_the_exporter_can_rebuild():
    code = (
        "import sys\n"
        "for name in ('onnx', 'onnxscript', 'onnx_ir', 'onnxruntime'): sys.modules[name] = None\n"
        "from slfac.export.rebuild import back_half\n"
        f"print(len(list(back_half({CNN!r}, {ARGUMENTS!r}, 'pool1').parameters())))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "6"


def test_a_short_name_is_a_model_of_ours():
    assert factory_path("cnn") == CNN
    assert factory_path("a.b:c") == "a.b:c"


@pytest.mark.parametrize(
    "factory",
    ["os:system", "slfac.export.models.small_cnn:cnn", "slfac.export:cnn", ":cnn", "cnn", ""],
)
def test_only_allow_listed_modules_are_imported(factory):
    with pytest.raises(ExportError, match="not allowed"):
        build_model(factory, ARGUMENTS)


@pytest.mark.parametrize("name", ["vgg", "residual", "__builtins__", "__import__"])
def test_only_public_models_are_called(name):
    with pytest.raises(ExportError, match="choose one of cnn, cnn1d"):
        build_model(f"slfac.export.models:{name}", ARGUMENTS)


@pytest.mark.parametrize(
    ("model", "extra", "message"),
    [
        ("cnn", {"depth": 3}, "depth"),
        ("cnn", {"hidden": 0}, "hidden"),
        ("cnn", {"hidden": 1e9}, "hidden"),
        ("cnn", {"hidden": True}, "hidden"),
        ("cnn", {"channels": []}, "channels"),
        ("cnn", {"channels": [4] * 9}, "channels"),
        ("cnn", {"channels": [4, 4], "pool_after": [2, 2]}, "pool_after"),
        ("cnn", {"channels": [4, 4], "pool_after": [3]}, "pool_after"),
        ("cnn", {"channels": [4, 4], "pool_after": []}, "pool_after"),
        ("cnn", {"channels": "ab"}, "channels"),
        ("cnn", {"channels": [4, 10**12]}, "channels"),
        ("cnn", {"batch_norm": "yes"}, "batch_norm"),
        ("cnn", {"num_classes": None}, "num_classes"),
        ("cnn", {"input_shape": [1, 3, 28]}, "1x3x28"),
        ("cnn", {"input_shape": 28}, "input_shape"),
        ("cnn", {"input_shape": []}, "input_shape"),
        ("resnet18", {"stem": "mobile"}, "'mobile'"),
        ("resnet18", {"stem": ["cifar"]}, "stem"),
    ],
)
def test_wrong_arguments_are_named(model, extra, message):
    with pytest.raises(ExportError, match=message):
        build_model(factory_path(model), {**ARGUMENTS, **extra})


def test_missing_arguments_are_named():
    with pytest.raises(ExportError, match="input_shape"):
        build_model(CNN, {"num_classes": 10})

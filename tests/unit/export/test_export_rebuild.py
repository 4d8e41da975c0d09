import subprocess
import sys

import pytest
from torch import nn

from slfac.export.models import cnn
from slfac.export.rebuild import back_half, build_model, complete, factory_path, find_factory
from slfac.wire.errors import ExportError

CNN = "slfac.export.models:cnn"
ARGUMENTS = {"num_classes": 10, "input_shape": [1, 28, 28]}


def test_the_back_half_has_what_the_front_lacks():
    back = back_half(cnn, ARGUMENTS, "conv2", (1, 28, 28))
    assert set(back.state_dict()) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    assert back.training


def test_a_server_without_the_exporter_can_rebuild():
    code = (
        "import sys\n"
        "for name in ('onnx', 'onnxscript', 'onnx_ir', 'onnxruntime'): sys.modules[name] = None\n"
        "from slfac.export.rebuild import back_half, find_factory\n"
        f"back = back_half(find_factory({CNN!r}), {ARGUMENTS!r}, 'pool1', (1, 28, 28))\n"
        "print(len(list(back.parameters())))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "6"


def test_a_short_name_is_a_model_of_ours():
    assert factory_path("cnn") == CNN
    assert factory_path("a.b:c") == "a.b:c"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package.models:make", "'no_such_package.models' cannot be imported"),
        (":cnn", "cannot be imported"),
        ("", "cannot be imported"),
        ("slfac.export.models", "no model ''"),
        ("slfac.export.models:cn", "choose one of cnn"),
        ("slfac.export.models:residual", "has no model 'residual'"),
        ("slfac.export.models:__import__", "has no model"),
        ("math:pi", "math has no model 'pi'"),
    ],
)
def test_a_factory_that_is_not_there_is_named(path, message):
    with pytest.raises(ExportError, match=message):
        find_factory(path)


def test_a_module_that_fails_when_it_is_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_model_file.py").write_text("raise SystemError('boom')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ExportError, match="'broken_model_file' cannot be imported: boom"):
        find_factory("broken_model_file:make")


def test_classes_and_shape_are_added_where_a_factory_takes_them():
    given = {"num_classes": 10, "input_shape": [1, 28, 28]}
    assert complete(cnn, {"hidden": 4}, 10, (1, 28, 28)) == {**given, "hidden": 4}
    assert complete(nn.Linear, {"in_features": 4}, 10, (4,)) == {"in_features": 4}
    assert "num_classes" not in complete(cnn, {}, None, (1, 28, 28))


@pytest.mark.parametrize(
    ("factory", "kwargs", "message"),
    [
        (dict, {"a": 1}, "made a dict"),
        (nn.Linear, {"in_features": 4}, "out_features"),
        (nn.Linear, {"in_features": 4, "out_features": -1}, "failed: RuntimeError"),
    ],
)
def test_a_factory_that_makes_no_model_is_told(factory, kwargs, message):
    with pytest.raises(ExportError, match=message):
        build_model(factory, kwargs)


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
        build_model(find_factory(factory_path(model)), {**ARGUMENTS, **extra})


def test_missing_arguments_are_named():
    with pytest.raises(ExportError, match="input_shape"):
        build_model(cnn, {"num_classes": 10})

"""Bundles of models that are cut twice."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.halves import torch_thirds
from harness.offline import KEPT_HEAD
from slfac.export import export_bundle, export_infer
from slfac.export.head_trace import trace_head
from slfac.export.onnx_clean import clean, to_bytes
from slfac.export.onnx_cut import whole_step
from slfac.export.rebuild import back_half, find_factory
from slfac.server.back import BackHalf
from slfac.wire.bundle import open_bundle, pack_state
from slfac.wire.errors import ExportError
from slfac.wire.manifest import TensorSpec
from slfac.wire.runtime import session_options

LOSSES = {
    "cross_entropy": functional.cross_entropy,
    "bce_with_logits": functional.binary_cross_entropy_with_logits,
    "mse": functional.mse_loss,
}
THREE = "harness.dropping:resting_cnn_in_three"


def export(out, model=THREE, **changes):
    values = {
        "model": model,
        "cut": "pool",
        "head_cut": "pool2",
        "input_shape": (1, 12, 12),
        "num_classes": 10,
        "out": out / "bundle",
        **changes,
    }
    return export_bundle(**values)


class Joined(nn.Module):
    """What leaves the front is read by the middle and by the head; each has something frozen."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.second = nn.Linear(5, 4)
        self.side = nn.Linear(5, 4)
        self.scale = nn.Parameter(torch.full((4,), 1.5), requires_grad=False)
        self.last = nn.Linear(9, 3)
        self.register_buffer("shift", torch.arange(5.0))

    def forward(self, x):
        a = torch.tanh(self.first(x)) + self.shift
        b = self.second(a) * self.side(a).sigmoid()
        b = torch.relu(b)
        return self.last(torch.cat([b * self.scale, a - self.shift], 1))


def weights(module):
    return {name: tensor.numpy(force=True) for name, tensor in module.named_parameters()}


def joined():
    return Joined()


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return export(tmp_path_factory.mktemp("three"))


def export_joined(out, **changes):
    values = {"cut": "add", "head_cut": "relu", "input_shape": (6,), "num_classes": 3, **changes}
    return export(out, f"{__name__}:joined", **values)


def test_batch_norm_and_dropout_are_trained_in_each_part(three):
    groups = [check.group for check in three.checks]
    assert all(check.ok for check in three.checks)
    assert groups[5:] == [
        "head: loss",
        "head: gradients at the cut",
        "head: gradients",
        "head: BatchNorm statistics",
        "head: updated parameters",
        "head: evaluation",
        "whole: loss",
        "whole: gradients",
        "whole: evaluation",
    ]
    (whole,) = (check for check in three.checks if check.group == "whole: gradients")
    assert whole.tensors == 14
    manifest = three.bundle.manifest
    assert manifest.schema_version == 3
    assert [spec.name for spec in manifest.head.random] == ["head_random.0"]
    assert len(manifest.random) == 1
    # Devices hold what they train; the server has the middle alone.
    held = {"conv.weight", "norm.weight", "fc.weight", "norm3.weight", "out.bias"}
    assert held <= set(three.bundle.front_state())
    back = BackHalf(three.bundle, "sgd:lr=0.1", ("harness",))
    layers = {name.partition(".")[0] for name, _ in back.module.named_parameters()}
    assert layers == {"conv2", "norm2"}


@pytest.mark.parametrize("loss", ["cross_entropy", "bce_with_logits", "mse"])
def test_every_loss_is_that_of_torch(loss):
    head = nn.Linear(4, 3)
    inputs = [TensorSpec(name="middle", shape=(4,))]
    trace = trace_head(head, inputs, loss, 3)
    session = onnxruntime.InferenceSession(
        to_bytes(clean(whole_step(trace))), session_options(1), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    h = (30 * rng.normal(size=(7, 4))).astype(np.float32)
    labels = rng.integers(0, 3, 7)
    target = labels if loss == "cross_entropy" else np.eye(3, dtype=np.float32)[labels]
    given = {"middle": h, "target": target, **weights(head)}
    names = ["loss", "middle_gradient", "gradient.weight", "gradient.bias"]
    made = session.run(names, given)
    leaf = torch.from_numpy(h).requires_grad_()
    expected = LOSSES[loss](head(leaf), torch.from_numpy(target))
    expected.backward()
    wanted = [expected.detach(), leaf.grad, head.weight.grad, head.bias.grad]
    for name, one, other in zip(names, made, wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)


def test_statistics_can_be_frozen_on_the_device(tmp_path):
    result = export(tmp_path, freeze_bn=True)
    updates = {b.tensor.name: b.update for b in result.bundle.manifest.buffers}
    assert set(updates.values()) == {"none"}
    head = result.bundle.manifest.head
    assert set(head.step.frozen) == {"norm3.running_mean", "norm3.running_var"}
    assert "head: frozen tensors" in [check.group for check in result.checks]


def test_tensors_may_pass_by_the_middle_and_parameters_may_be_frozen(tmp_path):
    result = export_joined(tmp_path, loss="bce_with_logits")
    assert {"head: frozen tensors", "whole: loss"} <= {check.group for check in result.checks}
    manifest = result.bundle.manifest
    head = manifest.head
    assert [spec.shape for spec in head.inputs] == [(5,), (4,)]
    assert head.step.frozen == ("scale", "shift")
    # The front has that constant as well, and so it is the front's.
    assert set(head.state) == {"last.weight", "last.bias", "scale"}
    assert [spec.name for spec in manifest.parameters] == [
        "first.weight",
        "first.bias",
        "last.weight",
        "last.bias",
    ]


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        (("pool2", "pool"), "head cut 'pool': between it and cut 'pool2' is nothing to train"),
        (("pool", "pool"), "head cut 'pool': between it and cut 'pool' is nothing to train"),
        (("norm2", "pool2"), "head cut 'pool2': between it and cut 'norm2' is nothing to train"),
        (("pool", "out"), "cut 'out': the back would have nothing to train"),
        (("pool", "nowhere"), "cut 'nowhere' is not in the model; choose one of"),
    ],
)
def test_a_head_cut_has_to_leave_something_on_either_side(tmp_path, cuts, message):
    cut, head_cut = cuts
    with pytest.raises(ExportError, match=message) as caught:
        export(tmp_path, cut=cut, head_cut=head_cut)
    assert not (tmp_path / "bundle").exists()
    assert caught.value.remedy


def test_the_back_half_that_is_rebuilt_is_the_middle(three):
    bundle = three.bundle
    spec, head = bundle.manifest.back, bundle.manifest.head
    middle = back_half(
        find_factory(spec.factory), spec.kwargs, spec.cut, bundle.manifest.input.shape, head.cut
    )
    front, expected, last = torch_thirds(bundle)
    assert list(middle.state_dict()) == list(expected.state_dict())
    x = torch.randn(3, 1, 12, 12)
    with torch.no_grad():
        whole = find_factory(spec.factory)(**spec.kwargs).eval()
        state = {**front.state_dict(), **expected.state_dict(), **last.state_dict()}
        whole.load_state_dict(state)
        parts = last.eval()(expected.eval()(front.eval()(x)))
        torch.testing.assert_close(parts, whole(x))


def test_a_trained_run_becomes_one_file(tmp_path):
    bundle = open_bundle(KEPT_HEAD)
    folder = tmp_path / "checkpoint" / "round-000001"
    folder.mkdir(parents=True)
    state = {n: (v * 1.5).astype(v.dtype) for n, v in bundle.front_state().items()}
    (folder / "front.safetensors").write_bytes(pack_state(state))
    (folder / "back.safetensors").write_bytes((KEPT_HEAD / "back.safetensors").read_bytes())
    (folder / "state.json").write_text(f'{{"bundle": "{bundle.id}", "finished_rounds": 1}}')
    result = export_infer(
        bundle=KEPT_HEAD, checkpoint=folder, out=tmp_path / "whole.onnx", stored="uint8"
    )
    assert result.agreement.same_class == result.agreement.samples
    session = onnxruntime.InferenceSession(
        result.path.read_bytes(), session_options(1), providers=["CPUExecutionProvider"]
    )
    assert [value.name for value in session.get_outputs()] == ["logits"]
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)
    (logits,) = session.run(None, {"x": images})
    front, middle, head = torch_thirds(bundle)
    for half in (front, head):
        half.load_state_dict({n: torch.from_numpy(state[n]) for n in half.state_dict()})
    x = torch.from_numpy((images / 255 - 0.5) / 0.25).float()
    with torch.no_grad():
        expected = head.eval()(middle.eval()(front.eval()(x))).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_proof_that_fails_is_told(tmp_path, monkeypatch):
    from slfac.export import head_trace

    monkeypatch.setattr(
        head_trace, "mean_loss", lambda _loss, output, _target: output.square().mean()
    )
    with pytest.raises(ExportError, match=r"head: .* differs from torch"):
        export_joined(tmp_path)
    assert not (tmp_path / "bundle").exists()

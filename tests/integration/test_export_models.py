"""Cuts of both models, exported and proven; export itself compares with torch."""

import pytest

from slfac.export import export_bundle, model_cuts

CNN_CUTS = [cut.name for cut in model_cuts(input_shape=(1, 12, 10), num_classes=4)]
CNN_BN_CUTS = ["bn1", "relu3"]


def check(model, cut, shape, out, **kwargs):
    result = export_bundle(
        model=model, kwargs=kwargs, cut=cut, input_shape=shape, num_classes=4, out=out / "bundle"
    )
    groups = {check.group: check for check in result.checks}
    assert all(check.ok for check in result.checks)
    # Far below the tolerance: what float32 rounding leaves.
    assert groups["smashed data"].max_rel < 1e-5
    assert groups["gradients"].tensors == len(result.bundle.manifest.parameters)
    # With BatchNorm, means and variances are both compared, at every step.
    statistics = groups.get("BatchNorm statistics")
    assert result.bundle.manifest.batch_norm == (statistics is not None)
    assert statistics is None or statistics.max_rel < 1e-5
    return result.bundle


@pytest.mark.parametrize("cut", CNN_CUTS)
def test_cnn(cut, tmp_path):
    check("cnn", cut, (1, 12, 10), tmp_path, channels=[4, 6], hidden=8)


@pytest.mark.parametrize("cut", CNN_BN_CUTS)
def test_cnn_with_batch_norm(cut, tmp_path):
    # Five is also the batch that the trace runs with: it must not be taken for the batch.
    check("cnn", cut, (5, 5, 10), tmp_path, channels=[5, 16], hidden=5, batch_norm=True)


@pytest.mark.parametrize("cut", ["layer1.0"])
def test_resnet18_cifar(cut, tmp_path):
    check("resnet18", cut, (3, 16, 16), tmp_path, stem="cifar")


@pytest.mark.parametrize("cut", ["layer1.0"])
def test_resnet18_imagenet(cut, tmp_path):
    check("resnet18", cut, (3, 33, 38), tmp_path, stem="imagenet")


@pytest.mark.slow
@pytest.mark.timeout(400)  # half a minute of computing on a quiet core
def test_resnet18_at_its_last_cut(tmp_path):
    bundle = check("resnet18", "flatten", (3, 32, 32), tmp_path, stem="cifar")
    assert bundle.manifest.smashed[0].shape == (512,)

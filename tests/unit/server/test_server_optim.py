import pytest
import torch

from slfac.device.optim import make_optimizer
from slfac.server.optim import make_torch_optimizer
from slfac.server.optim_spec import parse_optimizer
from slfac.wire.errors import SettingsError

GOOD = [
    "sgd",
    "sgd:lr=0",
    "sgd:lr=1e6",
    "sgd:lr=0.05,momentum=1,weight_decay=1e6",
    "adam",
    "adam:lr=1e6,beta1=0,beta2=0,eps=0,weight_decay=0",
    "adam:beta1=0.999999999,beta2=0.9999999",
    "adam:eps=1e6",
    "adamw",
    "adamw:lr=0.01,weight_decay=0.3",
    "sgd:clip_norm=1",
    "adam:clip_value=1e6",
    "adamw:lr=0.01,clip_norm=1e-9",
]
BAD = [
    "",
    "rmsprop",
    "SGD",
    "sgd:",
    "sgd:lr",
    "sgd:lr=",
    "sgd:lr=fast",
    "sgd:lr=nan",
    "sgd:lr=inf",
    "sgd:lr=-0.1",
    "sgd:lr=1.1e6",
    "sgd:lr=0.1,lr=0.2",
    "sgd:momentum=1.01",
    "sgd:momentum=-1",
    "sgd:weight_decay=1.1e6",
    "sgd:beta1=0.9",
    "sgd:nesterov=1",
    "adam:beta1=1",
    "adam:beta2=1",
    "adam:beta1=-0.1",
    "adam:eps=-1e-8",
    "adam:eps=1.1e6",
    "adam:momentum=0.9",
    "adamw:weight_decay=-1",
    "sgd:lr=0.1 ",
    "sgd:clip_norm=0",
    "sgd:clip_norm=inf",
    "adam:clip_norm=-1",
    "adam:clip_norm=1.1e6",
    "adamw:clip_value=0",
    "sgd:clip_norm=1,clip_value=1",
    "sgd:clip=1",
]


@pytest.mark.parametrize("spec", GOOD)
def test_both_ends_take_the_same_specs_to_mean_the_same(spec):
    parse_optimizer(spec)
    ours = make_optimizer(spec)
    (theirs,) = make_torch_optimizer(spec, [torch.nn.Parameter(torch.zeros(1))]).param_groups
    assert (theirs["lr"], theirs["weight_decay"]) == (ours.lr, ours.weight_decay)
    if spec.startswith("sgd"):
        assert theirs["momentum"] == ours.momentum
    else:
        assert theirs["betas"] == (ours.beta1, ours.beta2)
        assert theirs["eps"] == ours.eps


@pytest.mark.parametrize("spec", BAD)
def test_both_ends_refuse_the_same_specs(spec):
    for check in (parse_optimizer, make_optimizer):
        with pytest.raises(SettingsError):
            check(spec)


def test_kinds():
    made = {
        name: make_torch_optimizer(name, [torch.nn.Parameter(torch.zeros(1))])
        for name in ("sgd", "adam", "adamw")
    }
    assert {name: type(optimizer).__name__ for name, optimizer in made.items()} == {
        "sgd": "SGD",
        "adam": "Adam",
        "adamw": "AdamW",
    }


@pytest.mark.parametrize(
    ("field", "clip"),
    [
        ("clip_norm", torch.nn.utils.clip_grad_norm_),
        ("clip_value", torch.nn.utils.clip_grad_value_),
    ],
)
def test_a_step_is_made_with_clipped_gradients(field, clip):
    def make():
        rng = torch.Generator().manual_seed(0)
        parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((4, 3), (5,), ())]
        for parameter in parameters[:2]:
            parameter.grad = torch.randn(parameter.shape, generator=rng)
        return parameters

    for limit in (0.5, 100.0):
        ours, theirs = make(), make()
        make_torch_optimizer(f"sgd:lr=0.5,{field}={limit}", ours).step()
        clip(theirs, limit)
        torch.optim.SGD(theirs, lr=0.5).step()
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other)

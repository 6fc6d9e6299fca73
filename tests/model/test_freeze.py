"""Parts of a model that do not learn: no gradient, and norm layers that keep their running statistics."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vexp.core.errors import UserError
from vexp.model.config import Tiny3d
from vexp.model.freeze import freeze


def norm_modes(model):
    return {name: layer.training for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm3d)}


def build(**values):
    return Tiny3d(width=8, **values).build(5)


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (["stem"], {"stem"}),  # a module with all it holds
        (["stem", "stage1"], {"stem", "stage1"}),
        (["stage[12]"], {"stage1", "stage2"}),
        (["stage*"], {"stage1", "stage2", "stage3"}),
        (["head.bias"], {"head"}),  # one parameter
        (["*.bias"], {"stem", "stage1", "stage2", "stage3", "head"}),
        (["st*.1"], {"stem", "stage1", "stage2", "stage3"}),
        ([], set()),
    ],
)
def test_freeze_pattern_freezes_matching_parameters(patterns, frozen):
    model = build(freeze=patterns)
    found = {name.partition(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert found == frozen
    if patterns == ["head.bias"]:
        assert model.head.weight.requires_grad
    if patterns == ["stem"]:
        assert not any(p.requires_grad for p in model.stem.parameters())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"freeze": ["stam"]}, r"model.freeze: no parameter of Tiny3d matches 'stam'; did you mean stem or"),
        ({"freeze": ["stem", "ste"]}, r"matches 'ste'; did you mean stem or"),  # a path, not a beginning of one
        ({"freeze": ["stem.2"]}, "no parameter of Tiny3d matches 'stem.2'"),  # a module without parameters
        ({"freeze": ["backbone"]}, "matches 'backbone'; its submodules are stem, stage1, stage2, stage3, head"),
        ({"freeze": ["*"]}, "freezes all parameters of Tiny3d"),
        ({"norm": "group", "norm_eval": True}, "norm_eval=true: Tiny3d has no norm layer"),
        ({"norm": "group", "partial_bn": True}, "partial_bn=true: needs .* Tiny3d has 0"),
    ],
)
def test_freeze_invalid_option_raises(values, text):
    with pytest.raises(UserError, match=text):
        build(**values)


@pytest.mark.parametrize(
    ("values", "training"),
    [
        ({}, {"stem", "stage1", "stage2", "stage3"}),
        ({"freeze": ["stem"]}, {"stage1", "stage2", "stage3"}),
        ({"freeze": ["*.0.weight"]}, {"stem", "stage1", "stage2", "stage3"}),  # convolutions alone
        ({"norm_eval": True}, set()),
        ({"partial_bn": True}, {"stem"}),
    ],
)
def test_freeze_norm_layers_stay_in_eval_mode(values, training):
    """Before training, after an evaluation, in the copy that an average of the weights makes, in a pickled copy."""
    model = build(**values)
    averaged = AveragedModel(model, use_buffers=True)
    for variant in (model, copy.deepcopy(model), averaged.module, pickle.loads(pickle.dumps(model))):
        for _ in range(2):
            found = {name.partition(".")[0] for name, mode in norm_modes(variant).items() if mode}
            assert found == training
            assert variant.training
            assert variant.dropout.training
            assert variant.eval() is variant
            assert not any(layer.training for layer in variant.modules())
            assert variant.train() is variant
    averaged.train()
    assert {name.partition(".")[0] for name, mode in norm_modes(averaged.module).items() if mode} == training
    averaged.module.eval()
    assert norm_modes(model) == norm_modes(model.train())  # a copy's mode is its own


def test_freeze_partial_bn_keeps_first_batch_norm():
    model = build(partial_bn=True)
    trained = {name for name, layer in model.named_modules() if is_trained_norm(layer)}
    assert trained == {"stem.1"}
    assert model.stage1.first[0].weight.requires_grad


def test_freeze_norm_eval_trains_weight_and_bias():
    model = build(norm_eval=True)
    assert all(parameter.requires_grad for parameter in model.parameters())


def is_trained_norm(layer):
    return isinstance(layer, nn.BatchNorm3d) and layer.weight.requires_grad


def test_freeze_training_step_leaves_frozen_parts_unchanged():
    model = build(freeze=["stem", "stage1"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.eval()
    model.train()  # as after an evaluation
    for _ in range(2):
        model(torch.randn(2, 3, 4, 32, 32)).square().mean().backward()
        optimizer.step()
    assert all(p.grad is None for p in model.stem.parameters())
    moved = {
        name.partition(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {"stage2", "stage3", "head"}


def test_freeze_norm_layers_without_weights_follow_patterns():
    """They are frozen with the part that holds them, not because they have no weight that learns."""
    model = nn.Sequential(
        nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4, affine=False)),
        nn.Sequential(nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4, affine=False)),
    )
    freeze(model, ["0"], norm_eval=False, partial_bn=False)
    model.train()
    assert norm_modes(model) == {"0.1": False, "1.1": True}


def test_freeze_norm_layers_frozen_by_model_stay_in_eval_mode():
    model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4).requires_grad_(False))
    freeze(model, [], norm_eval=False, partial_bn=False)
    assert norm_modes(model.train()) == {"1": False}
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # replaces the layer
    assert not model.train()[1].training

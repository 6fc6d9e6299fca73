"""The trained part of a model: the modules behind everything that is frozen."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from vexp.core.errors import ConfigError
from vexp.model.architectures.blocks import Head
from vexp.model.trained_part import encoder, take_features, trained_part


class Siblings(nn.Module):
    """A pooler and a classifier beside the encoder, as in the models of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU(inplace=True))
        self.pooler, self.classifier = nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pooler(self.body(clips).flatten(2).mean(2)))
        return logits


class Averaged(Siblings):
    """Its logits are a mean of the classifier's outputs."""

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.body(clips).flatten(2).transpose(1, 2))
        return logits.mean(1)


def frozen(model: nn.Module, *trained: str) -> nn.Module:
    model.requires_grad_(False)
    for path in trained:
        model.get_submodule(path).requires_grad_(True)
    return model.train()


def body(*more: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(3, 4, 1), *more, nn.Flatten(2), Head(4, 5, dropout=0.5, init_std=0.1))


CLIPS = torch.randn(2, 3, 1, 2, 2)


@pytest.mark.parametrize(
    ("model", "paths", "shape"),
    [
        (frozen(body(), "2"), ("2.dropout", "2.fc"), (4,)),  # the dropout before the classifier is random
        (frozen(Siblings(), "pooler", "classifier"), ("pooler", "classifier"), (4,)),
        (frozen(Siblings(), "classifier"), ("classifier",), (4,)),
        (frozen(Siblings(), "pooler"), ("pooler", "classifier"), (4,)),
        (frozen(body(nn.ReLU(inplace=True), nn.BatchNorm3d(4)), "4"), ("2", "3", "4"), (4, 1, 2, 2)),
    ],
    ids=["dropout", "two", "last", "first", "batch_norm"],
)
def test_trained_part_begins_where_the_output_is_not_fixed(
    model: nn.Module, paths: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    part = trained_part(model, CLIPS)
    assert (part.paths, part.shape) == (paths, shape)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_model_of_features_gives_the_logits_of_the_whole_model() -> None:
    model = frozen(Siblings(), "pooler", "classifier")
    part, logits, average = trained_part(model, CLIPS), model(CLIPS), copy.deepcopy(model)
    with encoder(model, part) as encode, torch.no_grad():
        features = encode(CLIPS)
    take_features(model, part)
    assert torch.equal(model(features), logits)
    take_features(average, part)
    model.classifier.weight.data.zero_()  # type: ignore[operator, union-attr]
    assert torch.equal(average(features), logits)
    assert torch.equal(copy.deepcopy(average)(features), logits)


@pytest.mark.parametrize(
    ("model", "fragment"),
    [
        (frozen(Siblings(), "body", "classifier"), "body.0.weight is trained"),
        (frozen(Averaged(), "classifier"), "classifier.weight is trained"),
        (frozen(nn.Sequential(nn.Dropout3d(0.5), *Siblings().body, nn.Flatten()), "1"), "0 draws random numbers"),
    ],
    ids=["encoder", "mean", "dropout"],
)
def test_model_without_fixed_features_is_refused(model: nn.Module, fragment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trained_part(model, CLIPS)
    assert caught.value.key == "data.cache_features"
    assert fragment in str(caught.value)

"""Suggestions for patterns of module paths that match nothing."""

import pytest
from torch import nn

from vexp.model.layers import near_paths


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.ModuleDict({"query": nn.Linear(2, 2), "value": nn.Linear(2, 2)}) for _ in range(2)]
        self.model = nn.ModuleDict({"encoder": nn.ModuleList(layers), "fc_norm": nn.LayerNorm(2)})


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("encoder", "; did you mean model.encoder?"),  # one path ends with it
        ("query", "; did you mean *.query?"),  # several do
        ("*.qury", "; did you mean *.query?"),
        ("model.fc_nrom", "; did you mean model.fc_norm or model.encoder?"),
        ("*.zzzzzz", "; its submodules are model.encoder, model.fc_norm"),
    ],
)
def test_near_paths_suggest_patterns_that_match(word: str, text: str) -> None:
    assert near_paths(word, Net()) == text

"""``vexp repro-check``: models that repeat, and models with a fault."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from support.tables import default_lane_has

from vexp.__main__ import main

SHORT = ["data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "steps=2", "device=cpu", "epochs=2"]
NETS = """
import dataclasses
import itertools

import torch
from torch import nn

CALLS = itertools.count()


class Net(nn.Module):
    def __init__(self, classes, fault):
        super().__init__()
        self.stem, self.head, self.fault = nn.Linear(3, 4), nn.Linear(4, classes), fault

    def forward(self, clips):
        x = self.stem(clips.mean((2, 3, 4)))
        if self.fault == "noise":  # of something that no seed governs
            x = x + next(CALLS) * 1e-3
        if self.fault == "late":
            x = x + (next(CALLS) == 4) * 1e-3  # one step to look for operations, 2, 2: the second step of the second
        if self.fault == "backward" and x.requires_grad:
            x.register_hook(lambda gradient: gradient + next(CALLS) * 1e-3)
        if self.fault == "put":
            x = x + torch.zeros(4).put_(torch.tensor([0]), torch.ones(1))
        return self.head(x)


@dataclasses.dataclass(kw_only=True, slots=True)
class Faulty:
    fault: str = ""

    def build(self, num_classes):
        return Net(num_classes, self.fault)
"""


@pytest.fixture
def repro_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The command with a model of a plugin; returns its exit status."""
    (tmp_path / "repro_nets.py").write_text(NETS)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "faulty.yaml").write_text("_target_: repro_nets.Faulty\nfault: ''\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("VEXP_CONFIG_PATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "repro_nets", raising=False)

    def call(*arguments: str) -> int:
        try:
            return main(["repro-check", *SHORT, *arguments])
        finally:
            assert not torch.are_deterministic_algorithms_enabled() or "deterministic=true" in arguments
            torch.use_deterministic_algorithms(False)

    return call


def faulty(fault: str) -> list[str]:
    return ["plugins=[repro_nets]", "model=faulty", f"model.fault={fault}"]


pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
]


def test_repro_check_of_deterministic_model_is_equal(repro_check, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    """Dropout, augmentation and workers included."""
    assert repro_check("data.num_workers=1", "model.dropout=0.5", "model.width=8") == 0
    output = capsys.readouterr().out
    lines = output[output.index("2 steps on cpu, ") :].splitlines()  # the first run creates the dataset
    assert lines[1:4] == [
        "  again (1 worker): equal bit for bit",
        "  with no workers: equal bit for bit",
        "operations without a deterministic implementation: none",
    ]


@pytest.mark.parametrize(
    ("fault", "what"),
    default_lane_has(
        1,
        [
            ("noise", "first differs at step 1: loss"),
            ("late", "first differs at step 2: loss"),
            ("backward", "first differs at step 1: gradient of stem.bias"),
        ],
    ),
)
def test_repro_check_names_first_difference(
    repro_check, capsys: pytest.CaptureFixture[str], fault: str, what: str
) -> None:  # type: ignore[no-untyped-def]
    assert repro_check("data.num_workers=0", *faulty(fault)) == 1
    assert re.search(
        rf"  again \(no workers\): {what} \(\d+ more tensors of this step differ\); loss ", capsys.readouterr().out
    )


@pytest.mark.integration
def test_repro_check_lists_nondeterministic_operations(repro_check, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert repro_check("data.num_workers=0", *faulty("put")) == 0
    assert "operations without a deterministic implementation: put_" in capsys.readouterr().out
    assert repro_check("data.num_workers=0", "deterministic=true", *faulty("put")) == 2
    assert "deterministic=true: on this device there is no deterministic implementation of put_" in (
        capsys.readouterr().err
    )


def test_repro_check_rejects_steps_that_are_no_number(repro_check, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert repro_check("steps=none") == 2
    assert "steps=none: must be a whole number" in capsys.readouterr().err

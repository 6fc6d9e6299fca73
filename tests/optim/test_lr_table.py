"""The table of parameter groups, and the rates in the record of a step."""

import csv
import io

import torch
from torch import nn

from vexp.model.architectures.tiny3d import Tiny3d
from vexp.optim.lr_table import group_csv, group_lines, group_rows, learning_rates
from vexp.optim.optimizers import SGD
from vexp.optim.optimizers_extra import Rprop
from vexp.optim.param_groups import build_optimizer
from vexp.optim.paramwise import Paramwise


def tiny_model():
    made = Tiny3d(5, width=8, norm="batch", dropout=0.0)
    made.stem.requires_grad_(False)
    return made


def built(model, **paramwise):
    return build_optimizer(SGD(lr=0.1, paramwise=Paramwise(**paramwise)), model, samples_per_step=8)


TABLE = """
group    lr  weight decay  tensors  parameters  first names
base    0.1        0.0001       15      27,200  stage1.first.0.weight, stage1.first.3.weight ...
norm    0.1             0       30         560  stage1.first.1.weight, stage1.first.1.bias ...
head      1        0.0001        2         165  head.weight, head.bias
frozen    -             -        3       1,816  stem.0.weight, stem.1.weight ...
"""


def test_group_lines_formats_table():
    model = tiny_model()
    rows = group_rows(built(model, norm_decay_mult=0.0, custom_keys={"head": {"lr_mult": 10.0}}).param_groups, model)
    assert group_lines(rows) == TABLE.strip().splitlines()


def test_group_csv_lists_every_parameter():
    model = tiny_model()
    rows = list(
        csv.DictReader(io.StringIO(group_csv(group_rows(built(model, norm_decay_mult=0.0).param_groups, model))))
    )
    assert [(row["group"], row["lr"], row["weight_decay"]) for row in rows] == [
        ("base", "0.1", "0.0001"), ("norm", "0.1", "0.0"), ("frozen", "", ""),
    ]  # fmt: skip
    assert sorted(name for row in rows for name in row["names"].split()) == sorted(dict(model.named_parameters()))
    assert sum(int(row["parameters"]) for row in rows) == sum(p.numel() for p in model.parameters())
    assert all(int(row["tensors"]) == len(row["names"].split()) for row in rows)


def test_group_lines_single_group_is_one_line():
    model = nn.Linear(3, 2)
    assert group_lines(group_rows(built(model).param_groups, model)) == [
        "lr 0.1, weight decay 0.0001 for all 2 tensors, 8 parameters"
    ]
    rows = group_rows(build_optimizer(Rprop(), model, samples_per_step=1).param_groups, model)
    assert group_lines(rows) == ["lr 0.01, weight decay - for all 2 tensors, 8 parameters"]


def test_group_lines_many_groups_omit_middle():
    model = nn.ModuleDict({"net": nn.Sequential(*(nn.Linear(2, 2) for _ in range(50)))})
    keys = {f"net.{i}.": {"lr_mult": 2 + i / 100} for i in range(50)}
    optimizer = built(model, custom_keys=keys)
    lines = group_lines(group_rows(optimizer.param_groups, model))
    assert len(optimizer.param_groups) == 50
    assert len(lines) == 18
    assert lines[9] == "... 34 more groups in param_groups.csv ..."
    assert [line.split()[0] for line in (lines[8], lines[10], lines[-1])] == ["net.7.", "net.42.", "net.49."]
    assert len(learning_rates(optimizer)) == 51


def test_learning_rates_lists_groups_with_other_rates():
    model = tiny_model()
    assert learning_rates(built(model)) == {"lr": 0.1}
    assert learning_rates(built(model, norm_decay_mult=0.0)) == {"lr": 0.1}  # two groups, one rate
    optimizer = built(model, custom_keys={"stage1": {"lr_mult": 0.5}})
    assert learning_rates(optimizer) == {"lr": 0.1, "lr/stage1": 0.05, "lr/base": 0.1}  # lr is the base rate's
    for group in optimizer.param_groups:  # the policy brings all groups to one rate: the columns stay
        group["lr"] = 0.01
    assert learning_rates(optimizer) == {"lr": 0.01, "lr/stage1": 0.01, "lr/base": 0.01}
    everything = built(model, custom_keys={"stage": {"lr_mult": 0.5}, "head": {"lr_mult": 2.0}})
    assert learning_rates(everything)["lr"] == 0.05  # no group has the base rate: the first


def test_learning_rates_unnamed_group_is_supported():
    parameter = nn.Parameter(torch.ones(1))
    assert learning_rates(torch.optim.SGD([parameter], lr=0.3)) == {"lr": 0.3}

"""What the parameter groups of an optimizer are, for the log, for files and for the record of each step."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(slots=True)
class GroupRow:
    """One group, or what is frozen (without ``lr``). ``lr`` is the base rate, which the policy scales."""

    name: str
    lr: float | None
    weight_decay: float | None
    parameters: int
    names: list[str]


def group_rows(groups: Sequence[dict[str, Any]], model: nn.Module) -> list[GroupRow]:
    """The groups of an optimizer, and a last row of the frozen parameters if there are any."""
    rows = [
        GroupRow(
            group["name"], group["initial_lr"], group.get("weight_decay"),
            sum(parameter.numel() for parameter in group["params"]), group["param_names"],
        )
        for group in groups
    ]  # fmt: skip
    frozen = {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if frozen:
        rows.append(GroupRow("frozen", None, None, sum(p.numel() for p in frozen.values()), list(frozen)))
    return rows


def group_lines(rows: Sequence[GroupRow], *, most: int = 16) -> list[str]:
    """The table as text: a heading and a line a group, those in the middle left out where there are more than ``most``;
    of a single group one line."""
    cells = [("group", "lr", "weight decay", "tensors", "parameters", "first names")]
    for row in rows:
        first = ", ".join(row.names[:2]) + (" ..." if len(row.names) > 2 else "")
        numbers = (_number(row.lr), _number(row.weight_decay), f"{len(row.names):,}", f"{row.parameters:,}")
        cells.append((row.name, *numbers, first))
    if len(rows) == 1:
        _, lr, decay, tensors, parameters, _ = cells[1]
        return [f"lr {lr}, weight decay {decay} for all {tensors} tensors, {parameters} parameters"]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, 5)), line[5]])
        for line in cells
    ]
    if len(lines) > most + 1:
        half = most // 2
        lines[1 + half : -half] = [f"... {len(rows) - 2 * half} more groups in param_groups.csv ..."]
    return lines


def group_csv(rows: Sequence[GroupRow]) -> str:
    """The whole table, the last column the names of the parameters with spaces between them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "lr", "weight_decay", "tensors", "parameters", "names"])
    for row in rows:
        numbers = ["" if number is None else number for number in (row.lr, row.weight_decay)]
        writer.writerow([row.name, *numbers, len(row.names), row.parameters, " ".join(row.names)])
    return text.getvalue()


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The rates now, for the record of a step: ``lr``, and ``lr/GROUP`` for every group where they differ.

    ``lr`` is that of the group with the base rate; without one, of the first group.
    """
    groups = optimizer.param_groups
    base = next((group for group in groups if group.get("initial_lr") == optimizer.defaults["lr"]), groups[0])
    rates = {"lr": float(base["lr"])}
    if len({group.get("initial_lr") for group in groups}) > 1:
        rates |= {f"lr/{group.get('name', number)}": float(group["lr"]) for number, group in enumerate(groups)}
    return rates


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"

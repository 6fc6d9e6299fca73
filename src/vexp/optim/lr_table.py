"""Learning rate and weight decay of every parameter group: the table in the log, its CSV file, and the rates to record.

Other settings of the optimizer, such as betas, are not in the table; ``log_run_header`` in ``vexp.training.run_header``
formats the line about the optimizer.
"""

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
    """A row of the table: a group with its base learning rate, or the frozen parameters without one."""

    name: str
    lr: float | None
    weight_decay: float | None
    parameters: int  # elements of all tensors
    names: list[str]  # of the tensors


def group_rows(groups: Sequence[dict[str, Any]], model: nn.Module) -> list[GroupRow]:
    """Return one row for each group of an optimizer, and a last one for frozen parameters, if any."""
    frozen = {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}
    rows = [(g["name"], g["initial_lr"], g.get("weight_decay"), g["params"], g["param_names"]) for g in groups]
    rows += [("frozen", None, None, list(frozen.values()), list(frozen))] if frozen else []
    return [GroupRow(name, lr, decay, sum(p.numel() for p in params), names) for name, lr, decay, params, names in rows]


def group_lines(rows: Sequence[GroupRow], *, max_rows: int = 16) -> list[str]:
    """Format the table as a header and one line per group, omitting the middle if there are more than ``max_rows``.

    A single group is formatted as one line without a header.
    """
    cells = [("group", "lr", "weight decay", "tensors", "parameters", "first names")]
    for row in rows:
        first = ", ".join(row.names[:2]) + (" ..." if len(row.names) > 2 else "")
        lr, decay = ("-" if value is None else f"{value:.4g}" for value in (row.lr, row.weight_decay))
        cells.append((row.name, lr, decay, f"{len(row.names):,}", f"{row.parameters:,}", first))
    if len(rows) == 1:
        _, lr, decay, tensors, parameters, _ = cells[1]
        return [f"lr {lr}, weight decay {decay} for all {tensors} tensors, {parameters} parameters"]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in range(1, 5)), line[5]])
        for line in cells
    ]
    if len(lines) > max_rows + 1:
        half = max_rows // 2
        lines[1 + half : -half] = [f"... {len(rows) - 2 * half} more groups in param_groups.csv ..."]
    return lines


def group_csv(rows: Sequence[GroupRow]) -> str:
    """Format the whole table as CSV; the last column has the names of the parameters separated by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "lr", "weight_decay", "tensors", "parameters", "names"])
    for row in rows:  # None is written as an empty field
        writer.writerow([row.name, row.lr, row.weight_decay, len(row.names), row.parameters, " ".join(row.names)])
    return text.getvalue()


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the current rates to record: ``lr``, and ``lr/GROUP`` for every group if they differ.

    ``lr`` is the rate of the group with the base rate, or of the first group if there is none.
    """
    groups = optimizer.param_groups
    base = next((group for group in groups if group.get("initial_lr") == optimizer.defaults["lr"]), groups[0])
    rates = {"lr": float(base["lr"])}
    if len({group.get("initial_lr") for group in groups}) > 1:
        rates |= {f"lr/{group.get('name', index)}": float(group["lr"]) for index, group in enumerate(groups)}
    return rates

"""Plan a run without training: steps, learning rates, evaluations, checkpoints and warnings."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from vexp.config.schema import Config
from vexp.core.files import atomic_write
from vexp.data.loading.feature_cache import cache_root
from vexp.experiment.optimizer import planned_groups
from vexp.experiment.setup import Experiment, build_experiment
from vexp.model.adapters.config import lora_of
from vexp.model.adapters.lora import describe_adapters
from vexp.model.meta import meta_model
from vexp.optim.lr_policy.base import MAX_EVENTS
from vexp.optim.lr_table import GroupRow, group_rows
from vexp.runtime.activation_checkpointing import checkpoint_activations, describe_checkpointed
from vexp.training.cached_features import find_trained_part
from vexp.training.run_header import all_warnings


@dataclass(frozen=True, slots=True)
class Curve:
    """The learning-rate curve of all parameter groups that share a base rate."""

    groups: tuple[str, ...]
    base_lr: float


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The schedule of a run.

    Attributes:
        model_name: Class of the model.
        timeline: (0-based step, event) of the learning-rate policy.
    """

    exp: Experiment
    model_name: str
    parameters: int
    parts: dict[str, str]  # descriptions of adapters, cached features and checkpointed modules; empty if there are none
    groups: list[GroupRow]
    curves: list[Curve]
    timeline: list[tuple[int, str]]
    warnings: list[str]

    def lr(self, curve: Curve, step: int) -> float:
        """Return the learning rate of optimizer step ``step`` (0-based)."""
        total, per_epoch = self.exp.total_steps, self.exp.plan.steps_per_epoch
        return self.exp.config.lr_policy.lr_at(curve.base_lr, step=step, steps_per_epoch=per_epoch, total_steps=total)


def build_plan(config: Config) -> RunPlan:
    """Plan a run from its annotation files and a model on torch's meta device; no video is read and no GPU is used.

    Raises:
        UserError: If the run would end with an error before its first step.
    """
    exp = build_experiment(config, prepare=False)
    model = meta_model(config.model, len(exp.classes))
    param_groups = planned_groups(exp, model)
    by_rate: dict[float, list[str]] = {}
    for group in param_groups:
        by_rate.setdefault(group["initial_lr"], []).append(group["name"])
    curves = [Curve(tuple(names), rate) for rate, names in by_rate.items()]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    warnings = all_warnings(exp)  # raises an error if the policy does not fit the length of the run
    timeline = config.lr_policy.timeline(exp.plan.steps_per_epoch, exp.total_steps)
    rows = group_rows(param_groups, model)
    blocks = config.backend.activation_checkpointing
    checkpointed = describe_checkpointed(checkpoint_activations(model, blocks)) if blocks else ""
    lora = lora_of(config.model)
    adapters = describe_adapters(model, lora) if lora is not None else ""
    features = _cached_features(exp, model) if config.data.cache_features else ""
    parts = {"adapters": adapters, "cached features": features, "activation checkpointing": checkpointed}
    return RunPlan(exp, type(model).__name__, parameters, parts, rows, curves, timeline, warnings)


def _cached_features(exp: Experiment, model: nn.Module) -> str:
    """Describe what ``data.cache_features`` computes once.

    Raises:
        UserError: If the input of the trained part is not a fixed function of a clip.
    """
    part = find_trained_part(exp.config, model, torch.device("meta"))
    count = len(exp.train_set) + (len(exp.val_set) if exp.val_set is not None else 0)
    size, total = " x ".join(map(str, part.shape)), count * part.num_bytes / 1e6
    return (
        f"the input of {part.paths[0]}, {size}, of {count} videos: {total:,.1f} MB for a view each, in {cache_root()}"
    )


def describe(plan: RunPlan) -> list[str]:
    """Describe the plan in lines of text, without its warnings."""
    exp, config, schedule = plan.exp, plan.exp.config, plan.exp.schedule
    validation = f"{len(exp.val_set)} validation samples" if exp.val_set is not None else "no validation"
    drawn = sum(exp.plan.sections)
    drawn_text = f" ({drawn} in an epoch)" if drawn != len(exp.train_set) else ""
    lines = [
        f"data: {len(exp.train_set)} training samples{drawn_text}, {validation}; {len(exp.classes)} classes",
        f"model: {plan.model_name}, {plan.parameters:,} parameters",
        *(f"{name}: {text}" for name, text in plan.parts.items() if text),
        f"length: {schedule.length_text()}, {schedule.step_text()}",
        f"optimizer {type(config.optimizer).__name__}, lr_policy {type(config.lr_policy).__name__}",
    ]
    for curve in plan.curves:
        first, last = plan.lr(curve, 0), plan.lr(curve, exp.total_steps - 1)
        lines.append(f"lr of {_names(curve.groups)}: first step {first:.4g}, last step {last:.4g}")
    for step, what in plan.timeline:
        rates = ", ".join(f"{plan.lr(curve, step):.4g}" for curve in plan.curves[:4])
        lines.append(f"  step {step + 1} (epoch {exp.epoch(step + 1)}): {what}, lr {rates}")
    lines += ["  ... (and later ones)"] if len(plan.timeline) >= MAX_EVENTS else []
    lines.append(f"evaluations: {schedule.describe_steps(schedule.evaluations())}")
    return [*lines, f"checkpoints: {schedule.describe_steps(schedule.checkpoints())}"]


def ascii_lr_curve(values: Sequence[float], *, width: int = 72, height: int = 8) -> list[str]:
    """Draw a curve in block characters, as lines of text from the top down; each column shows one value."""
    columns = min(width, len(values))
    shown = [values[round(i * (len(values) - 1) / max(1, columns - 1))] for i in range(columns)]
    top = max(shown) or 1.0
    eighths = [round(value / top * height * 8) for value in shown]
    lines = []
    for row in range(height - 1, -1, -1):
        blocks = "".join(" ▁▂▃▄▅▆▇█"[min(8, max(0, eighth - row * 8))] for eighth in eighths)
        label = f"{top * (row + 1) / height:8.2g}" if row in (height - 1, height // 2 - 1) else " " * 8
        lines.append(f"{label} │{blocks.rstrip()}")
    return [*lines, " " * 9 + "└" + "─" * columns]


def write_csv(plan: RunPlan, path: Path) -> None:
    """Write ``step`` (1-based), ``epoch`` and the learning rate of every parameter group to a CSV file."""
    names = [name for curve in plan.curves for name in curve.groups]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "epoch", *(f"lr/{name}" for name in names)])
        for step in range(plan.exp.total_steps):
            rates = [plan.lr(curve, step) for curve in plan.curves for _ in curve.groups]
            writer.writerow([step + 1, plan.exp.epoch(step + 1), *rates])


def draw(plan: RunPlan, path: Path) -> None:
    """Draw the learning-rate curves of the run as PNG, with the timeline and the evaluations."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    exp, total, per_epoch = plan.exp, plan.exp.total_steps, plan.exp.plan.steps_per_epoch
    steps = sorted({round(i * (total - 1) / 1999) for i in range(2000)} | {step for step, _ in plan.timeline})
    figure = Figure(figsize=(9, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for curve in plan.curves:
        axes.plot([step + 1 for step in steps], [plan.lr(curve, step) for step in steps], label=_names(curve.groups))
    for step, what in plan.timeline[:12]:
        axes.axvline(step + 1, color="0.7", linewidth=0.8, zorder=0)
        axes.annotate(what, (step + 1, 0), xycoords=axes.get_xaxis_transform(), xytext=(-3, 6),
                      textcoords="offset points", rotation=90, fontsize=8, ha="right")  # fmt: skip
    evaluations = exp.schedule.evaluations()
    if 0 < len(evaluations) <= 200:
        axes.plot(list(evaluations), [0] * len(evaluations), "k|", clip_on=False, label="evaluation")
    axes.set(xlabel=f"optimizer step ({per_epoch} an epoch)", ylabel="learning rate", xlim=(0, total), ylim=(0, None))
    axes.set_title(f"{type(exp.config.lr_policy).__name__}, {exp.epochs} epochs", loc="left")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper right")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix(".") or "png")


def _names(groups: tuple[str, ...]) -> str:
    return ", ".join(groups[:3]) + (f" and {len(groups) - 3} more groups" if len(groups) > 3 else "")

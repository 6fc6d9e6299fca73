"""Print what a run would do, without training.

The output has the effective batch size, the number of steps, the parameter groups, the learning rate and its
milestones, the evaluations, the checkpoints and all warnings. Without ``png=`` and ``out=`` no file is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vexp.cli.arguments import CommandLine
from vexp.config.compose import compose
from vexp.core.errors import UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.runtime.threads import set_passive_omp_wait

_MAX_POINTS = 720  # of a learning-rate curve in the terminal


@dataclass(kw_only=True, slots=True)
class PlanOptions(ValidatedConfig):
    png: Path | None = option(None, "Image file for the learning rate of every parameter group.")
    out: Path | None = option(None, "CSV file for the learning rate of every step.")


COMMAND = CommandLine(
    usage=["plan [overrides] [png=FILE.png] [out=FILE.csv]"],
    options=PlanOptions,
    examples=[
        "plan optimizer=sgd lr=cosine_restart",
        "plan experiment=r3d_18 lr.warmup=linear lr.warmup_iters=500",
        "plan lr=one_cycle png=lr.png out=lr.csv",
    ],
)


def main(argv: Sequence[str]) -> int:
    arguments = COMMAND.parse(argv)
    config = compose(arguments.rest, config_dirs=arguments.config_dirs)
    config.data.check_files()
    set_passive_omp_wait()
    from vexp.optim.lr_table import group_lines
    from vexp.tools.plan import ascii_lr_curve, build_plan, describe, draw, write_csv

    plan = build_plan(config)
    print("\n".join(describe(plan)))
    if len(plan.groups) > 1:
        print("\n".join(["parameter groups:", *(f"  {line}" for line in group_lines(plan.groups))]))
    for curve in plan.curves[:3]:
        print(f"\nlr of {', '.join(curve.groups[:3])}")
        print("\n".join(ascii_lr_curve([plan.lr(curve, step) for step in _evenly_spaced(plan.exp.total_steps)])))
    print("\n".join(f"warning: {warning}" for warning in plan.warnings))
    options = arguments.options
    try:
        if options.png is not None:
            draw(plan, options.png)
            print(f"learning rates drawn in {options.png}")
        if options.out is not None:
            write_csv(plan, options.out)
            print(f"learning rates of all steps in {options.out}")
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return 0


def _evenly_spaced(total_steps: int) -> list[int]:
    return sorted({round(i * (total_steps - 1) / (_MAX_POINTS - 1)) for i in range(_MAX_POINTS)})

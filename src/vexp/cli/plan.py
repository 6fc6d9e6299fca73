"""Print what a run would do, without training.

The output has the effective batch size, the number of steps, the parameter groups, the learning rate and its
milestones, the evaluations, the checkpoints and all warnings. Without ``png=`` and ``out=`` no file is written.

Usage: vexp plan [overrides] [png=FILE.png] [out=FILE.csv]

Examples:
  vexp plan optimizer=sgd lr=cosine_restart
  vexp plan experiment=r3d_18 lr.warmup=linear lr.warmup_iters=500
  vexp plan lr=one_cycle png=lr.png out=lr.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vexp.cli.arguments import ORIGIN, CommandLine
from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import ValidatedConfig, option

_MAX_POINTS = 720  # of a learning-rate curve in the terminal
_MAX_ROWS = 10_000_000  # of the CSV file, which then has half a gigabyte
_IMAGE_FORMATS = (".png", ".pdf", ".svg", ".svgz", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps", ".ps")


def _image_rule(path: Path) -> str | None:
    known = path.suffix.lower() in ("", *_IMAGE_FORMATS)
    return None if known else f"must end in one of {', '.join(_IMAGE_FORMATS)}"


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    png: Path | None = option(None, "Image file for the learning rate of every parameter group.", check=_image_rule)
    out: Path | None = option(None, "CSV file for the learning rate of every step.")


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    options, config = arguments.options, arguments.compose_run()
    from vexp.optim.lr_table import group_lines
    from vexp.tools.plan import ascii_lr_curve, build_plan, describe, draw, write_csv

    plan = build_plan(config)
    if options.out is not None and plan.exp.total_steps > _MAX_ROWS:
        rule = f"a run of {plan.exp.total_steps:,} steps has too many rows, more than {_MAX_ROWS:,}"
        raise ConfigError(rule, key="out", value=options.out, origin=ORIGIN)
    print("\n".join(describe(plan)))
    if len(plan.groups) > 1:
        print("\n".join(["parameter groups:", *(f"  {line}" for line in group_lines(plan.groups))]))
    last = plan.exp.total_steps - 1
    steps = sorted({round(i * last / (_MAX_POINTS - 1)) for i in range(_MAX_POINTS)})
    for curve in plan.curves[:3]:
        print(f"\nlr of {', '.join(curve.groups[:3])}")
        print("\n".join(ascii_lr_curve([plan.lr(curve, step) for step in steps])))
    print("\n".join(f"warning: {warning}" for warning in plan.warnings))
    for write, path, what in ((draw, options.png, "drawn"), (write_csv, options.out, "of all steps")):
        if path is not None:
            try:
                write(plan, path)
            except OSError as error:
                raise UserError(f"{path}: cannot be written: {error.strerror}") from None
            print(f"learning rates {what} in {path}")
    return 0

"""``vexp plan [--config-dir FOLDER] [overrides] [png=FILE.png] [out=FILE.csv]``: what a run would do.

vexp plan optimizer=sgd lr=cosine_restart
vexp plan experiment=r3d_18 lr.warmup=linear lr.warmup_iters=500 png=lr.png out=lr.csv

Takes the words of vexp.train, and does nothing of it. Prints the effective batch, the steps, the parameter groups, the
learning rate with its turns, when is evaluated and saved, and every warning. ``png=`` draws the learning rate of every
group, ``out=`` writes it step by step; without them no file is written.
"""

from __future__ import annotations

import sys
from pathlib import Path

from vexp.config.compose import compose
from vexp.config.overrides import flag_dirs, parse_command_options, run_command, split_flags
from vexp.core.errors import UserError
from vexp.runtime.threads import set_passive_omp_wait


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    flags, words = split_flags(sys.argv[1:])
    options, words = parse_command_options(words, {"png": None, "out": None})
    config = compose(words, config_dirs=flag_dirs(flags))
    config.data.check_files()
    set_passive_omp_wait()
    from vexp.optim.param_group_table import group_lines
    from vexp.tools.plan import ascii_lr_curve, build_plan, describe, draw, write_csv

    plan = build_plan(config)
    print("\n".join(describe(plan)))
    if len(plan.groups) > 1:
        print("\n".join(["parameter groups:", *(f"  {line}" for line in group_lines(plan.groups))]))
    for curve in plan.curves[:3]:
        print(f"\nlr of {', '.join(curve.groups[:3])}")
        print("\n".join(ascii_lr_curve([plan.lr(curve, step) for step in _sampled(plan.exp.total_steps)])))
    print("\n".join(f"warning: {warning}" for warning in plan.warnings))
    try:
        if options["png"] is not None:
            draw(plan, _file(options["png"]))
            print(f"drawn in {options['png']}")
        if options["out"] is not None:
            write_csv(plan, _file(options["out"]))
            print(f"every step in {options['out']}")
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None


def _sampled(total: int, most: int = 720) -> list[int]:
    return sorted({round(i * (total - 1) / (most - 1)) for i in range(most)})


def _file(name: str | None) -> Path:
    return Path(str(name)).expanduser().absolute()


if __name__ == "__main__":
    main()

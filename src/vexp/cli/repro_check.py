"""``vexp repro-check [overrides] [steps=5]``: does this config repeat, bit by bit?

vexp repro-check experiment=r3d_18 steps=10
vexp repro-check model=slowfast_r50 deterministic=true

Takes the words of vexp.train. Runs the first steps three times in this process, the third time with another number of
workers, and compares every sample, loss, gradient, weight and buffer: says "equal", or the first step and tensor that
differ (exit status 1). Lists the operations of the net that torch has no deterministic implementation of on this
device. Writes nothing.
"""

from __future__ import annotations

import sys

from vexp.config.compose import compose
from vexp.config.overrides import parse_command_options, run_command
from vexp.core.errors import ConfigError
from vexp.runtime.threads import set_passive_omp_wait


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    options, words = parse_command_options(sys.argv[1:], {"steps": "5"})
    steps = str(options["steps"])
    if not steps.isdecimal() or int(steps) < 1:
        raise ConfigError(f"steps={steps}: must be a number >= 1 (command line)")
    config = compose(words)
    config.data.check_files()
    set_passive_omp_wait()
    from vexp.tools.reproducibility import check_repeats

    report = check_repeats(config, int(steps), print)
    print(f"{report.steps} steps on {report.device}, {report.tensors} samples and tensors compared in each:")
    for repetition in report.repetitions:
        print(f"  {repetition.how}: {repetition.difference or 'equal to the bit'}")
    print(f"operations without a deterministic implementation: {', '.join(report.nondeterministic) or 'none'}")
    if config.cudnn_benchmark:
        print("cudnn_benchmark=true: cuDNN times its algorithms anew in every process and may choose others")
    if not report.equal:
        if not config.deterministic:
            print("deterministic=true chooses kernels that repeat, and names those that cannot")
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""Check that a config repeats bit for bit.

The first steps are run three times in this process, the third time with another number of workers. Every sample, loss,
gradient, weight and buffer is compared; the first step and tensor that differ are printed (exit status 1). The
operations of the model for which torch has no deterministic implementation on this device are listed. No file is
written.

Usage: vexp repro-check [overrides] [steps=5]

Examples:
  vexp repro-check experiment=r3d_18 data=folder data.root=videos
  vexp repro-check model=slowfast_r50 deterministic=true
  vexp repro-check device=cpu steps=10
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vexp.cli.arguments import CommandLine
from vexp.core.fields import ValidatedConfig, option


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    steps: int = option(5, "Number of training steps to compare.", ge=1, le=1_000_000)


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    config = arguments.compose_run()
    from vexp.tools.reproducibility import check_repeats

    report = check_repeats(config, arguments.options.steps)
    print(f"{report.steps} steps on {report.device}, {report.tensors} samples and tensors compared in each:")
    for repetition in report.repetitions:
        print(f"  {repetition.how}: {repetition.difference or 'equal bit for bit'}")
    print(f"operations without a deterministic implementation: {', '.join(report.nondeterministic) or 'none'}")
    if config.cudnn_benchmark:
        print("cudnn_benchmark=true: cuDNN times its algorithms again in every process and may choose others")
    if not report.equal and not config.deterministic:
        print("deterministic=true chooses deterministic kernels, and names the operations that have none")
    return 0 if report.equal else 1

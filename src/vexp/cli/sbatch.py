"""Write a Slurm batch script that trains one run with torchrun, on the GPUs of one or several nodes.

Arguments after ``--`` are overrides of vexp train. The job saves a checkpoint and is requeued shortly before its time
limit, and when it is preempted. It then resumes in the same run folder, as the same run of Weights & Biases. For many
small jobs use a sweep with hydra/launcher=slurm instead, which needs no script.

Usage: vexp sbatch FILE [options] -- [overrides]

Examples:
  vexp sbatch train.sbatch --gpus-per-node 4 -- experiment=r3d_18 data=folder data.root=videos
  vexp sbatch train.sbatch --nodes 2 --gpus-per-node 8 --time 12:00:00 -- experiment=r3d_18
  vexp sbatch --dry-run --gpus-per-node 4 -- experiment=r3d_18
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from vexp.cli.arguments import FlagParser, whole_number
from vexp.core.errors import UserError, has_password
from vexp.core.files import write_text

_SCRIPT = """\
#!/usr/bin/env bash
{directives}
# Written by vexp sbatch. Submit with: sbatch {file}
set -uo pipefail
{setup}
run={out_root}/{name}-$SLURM_JOB_ID  # a requeued job keeps its id
previous=$(ls "$run"/*/config.yaml 2>/dev/null | tail -n 1)
if [ -n "$previous" ]; then
  overrides=(--resume "${{previous%/config.yaml}}")
else
  overrides=({overrides} out_root={out_root} "run_name={name}-$SLURM_JOB_ID")
fi

srun torchrun {torchrun} \\
  -m vexp.train "${{overrides[@]}}"
status=$?

# Interrupted with a checkpoint: torchrun hides exit status 75, so read the status from result.json.
last=$(ls "$run"/*/result.json 2>/dev/null | tail -n 1)
if [ -n "$last" ] && grep -q '"status": "interrupted"' "$last"; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
"""


def script(options: argparse.Namespace) -> str:
    """Return the text of the batch script."""
    processes = options.nproc_per_node or max(options.gpus_per_node, 1)
    directives = {
        "job-name": options.name,
        "nodes": options.nodes,
        "ntasks-per-node": 1,  # torchrun starts the processes of its node
        "gpus-per-node": options.gpus_per_node or None,
        "cpus-per-task": options.cpus_per_process * processes,
        "mem": options.mem,
        "time": options.time,
        "partition": options.partition,
        "account": options.account,
        "signal": f"TERM@{options.warning}",  # sent to every process of the step, this many seconds before the limit
        "open-mode": "append",
        "output": "%x-%j.log",
    }
    lines = [f"#SBATCH --{key}={value}" for key, value in directives.items() if value is not None]
    rendezvous = "--standalone"
    if options.nodes > 1:
        rendezvous = f"--nnodes={options.nodes} --rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID \\\n  "
        rendezvous += f'--rdzv-endpoint="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):{options.port}"'
    return _SCRIPT.format(
        directives="\n".join([*lines, "#SBATCH --requeue"]),
        file=options.file or "FILE",
        setup="\n".join(options.setup),
        out_root=shlex.quote(options.out_root),
        name=options.name,
        overrides=shlex.join(options.overrides),
        torchrun=f"--nproc-per-node={processes} {rendezvous}",
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the options, and the overrides of ``vexp train`` after ``--``."""
    split = argv.index("--") if "--" in argv else len(argv)
    parser = FlagParser(prog="vexp sbatch", description=__doc__)
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE", help="File to write.")
    add("--dry-run", action="store_true", help="Print the script and write nothing.")
    add("--name", default="vexp", help="Name of the job and, with the job id, of the run.")
    add("--nodes", type=int, default=1, help="Number of nodes.")
    add("--gpus-per-node", type=int, default=1, help="GPUs per node; 0: train on CPUs.")
    add("--nproc-per-node", type=whole_number(1, 1000), metavar="N", help="Processes per node; by default one per GPU.")
    add("--cpus-per-process", type=int, default=8, help="CPU cores per process, for its data workers.")
    add("--mem", help="Memory per node in Slurm's notation: 120G.")
    add("--time", default="04:00:00", help="Time limit, after which the job is requeued.")
    add("--warning", type=whole_number(0), default=120, help="Seconds before the limit at which a checkpoint is saved.")
    add("--partition", metavar="NAME", help="Slurm partition.")
    add("--account", metavar="NAME", help="Slurm account.")
    add("--out-root", default="runs", help="Output folder on a file system that all nodes share.")
    add("--port", type=whole_number(1, 65535), default=29500, help="Port of the rendezvous on the first node.")
    add("--setup", action="append", default=[], metavar="LINE", help="Shell line to run first; may be repeated.")
    options = parser.parse_args(argv[:split])
    options.overrides = list(argv[split + 1 :])
    if not options.dry_run and not options.file:
        parser.error("name the file to write, or give --dry-run")
    if any(map(has_password, options.overrides)):
        parser.error("an override has a password, which the script would show; see vexp train")
    if not re.fullmatch(r"[\w.-]+", options.name):
        parser.error("--name may have only letters, digits, . _ - (it is part of file names)")
    if min(options.nodes, options.cpus_per_process) < 1 or options.gpus_per_node < 0:
        parser.error("--nodes and --cpus-per-process must be >= 1, --gpus-per-node >= 0")
    return options


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    options = parse(argv)
    if options.dry_run:
        print(script(options), end="")
        return 0
    try:
        write_text(Path(options.file), script(options))
    except OSError as error:
        raise UserError(f"{options.file}: cannot be written: {error.strerror}") from None
    print(f"written: submit it with sbatch {options.file}")
    return 0

"""Write a Slurm batch script that trains one run with torchrun, on the GPUs of one or several machines.

vexp sbatch train.sbatch --nodes 2 --gpus-per-node 8 --time 12:00:00 -- experiment=r3d_18 data=...
vexp sbatch --dry-run --gpus-per-node 4 -- experiment=r3d_18         prints it

Some time before its limit, and when it is preempted, the job is told: it saves a checkpoint, is queued again and goes
on in the same run folder, as the same run of Weights & Biases. For many small jobs take a sweep with
hydra/launcher=slurm instead, which needs no script.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

_SCRIPT = """\
#!/usr/bin/env bash
{directives}
# Written by vexp sbatch. Submit with: sbatch {file}
set -uo pipefail
{setup}
run={out_root}/{name}-$SLURM_JOB_ID  # the id stays the same when the job is queued again
earlier=$(ls "$run"/*/config.yaml 2>/dev/null | tail -n 1)
if [ -n "$earlier" ]; then
  words=(--resume "${{earlier%/config.yaml}}")
else
  words=({words} out_root={out_root} "run_name={name}-$SLURM_JOB_ID")
fi

srun torchrun {torchrun} \\
  -m vexp.train "${{words[@]}}"
status=$?

# stopped with a checkpoint: torchrun hides the exit status 75, the result of the run tells
last=$(ls "$run"/*/result.json 2>/dev/null | tail -n 1)
if [ -n "$last" ] && grep -q '"status": "interrupted"' "$last"; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
"""


def script(options: argparse.Namespace) -> str:
    """The text of the batch script."""
    processes = options.nproc_per_node or max(options.gpus_per_node, 1)
    directives = {
        "job-name": options.name,
        "nodes": options.nodes,
        "ntasks-per-node": 1,  # torchrun starts the processes of its machine
        "gpus-per-node": options.gpus_per_node or None,
        "cpus-per-task": options.cpus_per_process * processes,
        "mem": options.mem,
        "time": options.time,
        "partition": options.partition,
        "account": options.account,
        "signal": f"TERM@{options.warning}",  # to every process of the step, so many seconds before the end
        "open-mode": "append",
        "output": "%x-%j.log",
    }
    lines = [f"#SBATCH --{key}={value}" for key, value in directives.items() if value is not None]
    meeting = "--standalone"
    if options.nodes > 1:
        meeting = f"--nnodes={options.nodes} --rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID \\\n  "
        meeting += f'--rdzv-endpoint="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):{options.port}"'
    return _SCRIPT.format(
        directives="\n".join([*lines, "#SBATCH --requeue"]),
        file=options.file or "FILE",
        setup="\n".join(options.setup),
        out_root=shlex.quote(options.out_root),
        name=options.name,
        words=" ".join(shlex.quote(word) for word in options.words),
        torchrun=f"--nproc-per-node={processes} {meeting}",
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Our own options, and behind ``--`` the words of ``vexp.train``."""
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="where the script is written")
    parser.add_argument("--dry-run", action="store_true", help="print it, write nothing")
    parser.add_argument("--name", default="vexp", help="of the job and, with its number, of the run")
    parser.add_argument("--nodes", type=int, default=1, help="machines")
    parser.add_argument("--gpus-per-node", type=int, default=1, help="0: train on CPUs")
    parser.add_argument("--nproc-per-node", type=int, help="processes a machine; otherwise one a GPU")
    parser.add_argument("--cpus-per-process", type=int, default=8, help="for the workers that decode")
    parser.add_argument("--mem", help="memory a machine, as Slurm writes it: 120G")
    parser.add_argument("--time", default="04:00:00", help="limit; at its end the job is queued again")
    parser.add_argument("--warning", type=int, default=120, help="seconds before the limit to stop with a checkpoint")
    parser.add_argument("--partition")
    parser.add_argument("--account")
    parser.add_argument("--out-root", default="runs", help="on a disk that all machines share")
    parser.add_argument("--port", type=int, default=29500, help="where the machines meet, on the first one")
    parser.add_argument("--setup", action="append", default=[], help="a shell line before training, may be repeated")
    options = parser.parse_args(argv[:split])
    options.words = list(argv[split + 1 :])
    if not options.dry_run and options.file is None:
        parser.error("name the file to write, or say --dry-run")
    if not re.fullmatch(r"[\w.-]+", options.name):
        parser.error("--name is a file's name, too: letters, digits, . _ -")
    if min(options.nodes, options.cpus_per_process) < 1 or options.gpus_per_node < 0:
        parser.error("--nodes and --cpus-per-process must be >= 1, --gpus-per-node >= 0")
    return options


def main() -> None:
    """The command line."""
    options = parse(sys.argv[1:])
    if options.dry_run:
        print(script(options), end="")
        return
    Path(options.file).write_text(script(options), encoding="utf-8")
    print(f"written: submit it with sbatch {options.file}")


if __name__ == "__main__":
    main()

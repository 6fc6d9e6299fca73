"""The table of the commands of ``vexp``. It imports none of them, so that ``vexp --help`` is immediate."""

from __future__ import annotations

#: Group -> name -> one line about the command, in the order in which ``vexp --help`` lists them.
GROUPS: dict[str, dict[str, str]] = {
    "Train and evaluate": {
        "train": "Train a video classifier, or run a sweep with -m.",
        "evaluate": "Evaluate a checkpoint, or rescore saved view logits.",
        "compare": "Compare runs: varying keys, mean and std over seeds, curves.",
        "score": "Measure result files of temporal localization or of boxes.",
    },
    "Check before a run": {
        "plan": "Print the schedule, the learning rates and the warnings of a run.",
        "explain": "Explain config keys: value, origin, type and effect.",
        "show": "Draw the pipeline, the frame sampling or the first batches.",
        "repro-check": "Check that training repeats bit for bit.",
        "bench": "Measure how fast a run is, what limits it, and what helps.",
        "doctor": "Check the installation and find bottlenecks.",
        "completion": "Print the script that completes commands and keys in a shell.",
    },
    "Use a trained model": {
        "predict": "Classify videos without labels.",
        "features": "Extract the features that the classifier receives.",
        "export": "Export a model to ONNX or to torch.export.",
    },
    "Models and configs from elsewhere": {
        "models": "List the models with their size, paper and published numbers.",
        "convert": "Convert weights of other programs to a vexp checkpoint.",
        "import": "Convert an mmaction2 config to an experiment.",
    },
    "Datasets and clusters": {
        "dataset": "Index, check, list, re-encode or extract the videos of a dataset.",
        "sbatch": "Write a Slurm batch script that trains with torchrun.",
    },
}

#: Name -> the module that has the command's ``main``.
COMMANDS = {name: f"vexp.cli.{name.replace('-', '_')}" for group in GROUPS.values() for name in group}
COMMANDS["import"] = "vexp.cli.import_mmaction"  # import is a keyword of Python

#: Former names of commands, still accepted.
ALIASES = {"repro_check": "repro-check", "import_mmaction": "import", "import-mmaction": "import"}


def overview() -> str:
    """All commands by group, one line each."""
    width = max(map(len, COMMANDS))
    lines = ["usage: vexp COMMAND [options] [overrides], or python -m vexp COMMAND ..."]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:{width}}  {summary}" for name, summary in commands.items())]
    return "\n".join([*lines, "", "vexp COMMAND --help describes a command and its options."])

"""The table of the commands of ``vexp``. It imports none of them, so that ``vexp --help`` is immediate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command: the module that has its ``main``, and one line about it."""

    module: str
    summary: str


#: Group -> name -> command, in the order in which ``vexp --help`` lists them.
GROUPS: dict[str, dict[str, CommandEntry]] = {
    "Train and evaluate": {
        "train": CommandEntry("vexp.train", "Train a video classifier, or run a sweep with -m."),
        "evaluate": CommandEntry("vexp.cli.evaluate", "Evaluate a checkpoint, or rescore saved view logits."),
        "compare": CommandEntry("vexp.cli.compare", "Compare runs: varying keys, mean and std over seeds, curves."),
    },
    "Check before a run": {
        "plan": CommandEntry("vexp.cli.plan", "Print the schedule, the learning rates and the warnings of a run."),
        "explain": CommandEntry("vexp.cli.explain", "Explain config keys: value, origin, type and effect."),
        "show": CommandEntry("vexp.cli.show", "Draw the pipeline, the frame sampling or the first batches."),
        "repro-check": CommandEntry("vexp.cli.repro_check", "Check that training repeats to the bit."),
        "doctor": CommandEntry("vexp.cli.doctor", "Check the installation and find bottlenecks."),
    },
    "Use a trained model": {
        "predict": CommandEntry("vexp.cli.predict", "Classify videos without labels."),
        "features": CommandEntry("vexp.cli.features", "Extract the features that the classifier receives."),
        "export": CommandEntry("vexp.cli.export", "Export a model to ONNX or to torch.export."),
    },
    "Models and configs from elsewhere": {
        "models": CommandEntry("vexp.cli.models", "List the models with their size, paper and published numbers."),
        "convert": CommandEntry("vexp.cli.convert", "Convert weights of other programs to a vexp checkpoint."),
        "import": CommandEntry("vexp.cli.import_mmaction", "Convert an mmaction2 config to an experiment."),
    },
    "Datasets and clusters": {
        "dataset": CommandEntry(
            "vexp.cli.dataset", "Index, check, list, re-encode or extract the videos of a dataset."
        ),
        "sbatch": CommandEntry("vexp.cli.sbatch", "Write a Slurm batch script that trains with torchrun."),
    },
}

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}

#: Former names of commands, still accepted.
ALIASES = {"repro_check": "repro-check", "import_mmaction": "import", "import-mmaction": "import"}


def overview() -> str:
    """All commands by group, one line each."""
    width = max(map(len, COMMANDS))
    lines = ["usage: vexp COMMAND [options] [overrides], or python -m vexp COMMAND ..."]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:{width}}  {entry.summary}" for name, entry in commands.items())]
    return "\n".join([*lines, "", "vexp COMMAND --help describes a command and its options."])

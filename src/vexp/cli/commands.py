"""The commands of ``vexp COMMAND``: name, module, group and one line each. Imports nothing of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A command of the table."""

    name: str
    group: str
    summary: str
    module: str = ""

    @property
    def module_name(self) -> str:
        return self.module or f"vexp.cli.{self.name}"


COMMANDS = {
    entry.name: entry
    for entry in (
        Entry("train", "Train and evaluate", "Train a video classifier, or run a sweep with -m.", "vexp.train"),
        Entry("evaluate", "Train and evaluate", "Evaluate a checkpoint, or rescore saved view logits."),
        Entry("compare", "Train and evaluate", "Compare runs: varying keys, mean and std over seeds, curves."),
        Entry("plan", "Check before a run", "Print the schedule, learning rates and warnings of a run."),
        Entry("explain", "Check before a run", "Explain config keys: value, origin, type and effect."),
        Entry("show", "Check before a run", "Render the pipeline, the sampling or the batches as an image."),
        Entry("repro-check", "Check before a run", "Check that training repeats to the bit.", "vexp.cli.repro_check"),
        Entry("doctor", "Check before a run", "Check the installation and find bottlenecks."),
        Entry("predict", "Use a trained model", "Classify videos without labels."),
        Entry("features", "Use a trained model", "Extract the features in front of the classifier."),
        Entry("export", "Use a trained model", "Export a model to ONNX or torch.export."),
        Entry("models", "Models and weights", "List the models with sizes, papers and published numbers."),
        Entry("convert", "Models and weights", "Convert weights of other programs to a vexp checkpoint."),
        Entry("import", "Models and weights", "Convert an mmaction2 config.", "vexp.cli.import_mmaction"),
        Entry("dataset", "Data sets and clusters", "Index, check, split, re-encode or extract a data set."),
        Entry("sbatch", "Data sets and clusters", "Write a Slurm batch script for training with torchrun."),
    )
}

#: Former names of commands, still accepted.
ALIASES = {"repro_check": "repro-check", "import_mmaction": "import", "import-mmaction": "import"}


def overview() -> str:
    """All commands by group, one line each."""
    width = max(map(len, COMMANDS))
    lines = ["usage: vexp COMMAND [options] [overrides]      (the same as: python -m vexp COMMAND)"]
    group = ""
    for entry in COMMANDS.values():
        if entry.group != group:
            group = entry.group
            lines += ["", f"{group}:"]
        lines.append(f"  {entry.name:{width}}  {entry.summary}")
    return "\n".join([*lines, "", "vexp COMMAND --help prints the options of a command."])

"""Train a model for video understanding, or sweep over settings with ``-m``.

Each run is a folder RUN with its config, log, metrics and checkpoints. ``python -m vexp.train`` is the same command.

Usage: vexp train [overrides]
       vexp train -m [overrides with several values]
       vexp train --rerun|--resume RUN [overrides]

Examples:
  vexp train optimizer=sgd lr=cosine_restart
  vexp train -m lr=step,cosine optimizer=sgd,adamw
  vexp train --resume RUN

Options:
  --rerun RUN           Repeat a run from its saved config, in a new folder.
  --resume RUN          Resume a run in its own folder.
  --config-dir FOLDER   Folder with your own config groups; may be repeated.

Options of Hydra:
  -m, --multirun        Run a sweep: one job for every combination of the values KEY=A,B.
  -r, --run             Train one run, which is the default.
  -c, --cfg PART        Print the config and exit. One of job, hydra, all.
  -p, --package KEY     With --cfg: print only the part of the config below KEY.
  --resolve             With --cfg: resolve the interpolations.
  -i, --info [TOPIC]    Print how the config is composed, and exit. One of all, config, defaults, defaults-tree,
                        plugins, searchpath.
  --config-name NAME    Compose NAME.yaml instead of train.yaml.
  --config-path FOLDER  Folder of NAME.yaml, in place of the config groups of vexp.
  --shell-completion    With install=SHELL: print what installs the completion of overrides. One of bash, zsh, fish.
  --experimental-rerun  With FILE: repeat a job from a config that Hydra has pickled.
  --hydra-help          Print Hydra's own help and exit.
  --version             Print Hydra's version and exit.
"""

from __future__ import annotations

from vexp.cli.arguments import CommandLine, help_text
from vexp.config.overrides import groups_text
from vexp.core.fields import ValidatedConfig
from vexp.train import train as main

__all__ = ["COMMAND", "main"]


class _TrainCommandLine(CommandLine[ValidatedConfig]):
    def help(self) -> str:
        return (
            f"{help_text(self.doc or '', [])}\n\n"
            "Config groups and their options (any key below a group can be set; --cfg job prints all keys):\n"
            f"{groups_text()}\n"
            "  +transform@pipeline.train.NAME=OPTION adds a transform to a pipeline, ~pipeline.train.NAME removes one"
        )


COMMAND = _TrainCommandLine(__doc__, ValidatedConfig)

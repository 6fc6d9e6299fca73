"""``python -m vexp.train [overrides]``: train a model for video understanding, or sweep over settings with ``-m``.

python -m vexp.train optimizer=sgd lr=cosine_restart
python -m vexp.train -m lr=step,cosine optimizer=sgd,adamw
python -m vexp.train --rerun RUN [overrides]      repeat a run from its saved config, in a new folder
python -m vexp.train --resume RUN [overrides]     resume a run in its own folder
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before the imports that take time
    from vexp.__main__ import main as vexp

    sys.exit(vexp(["train", *sys.argv[1:]]))

import copy
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from vexp.config.command import exit_with_error, help_requested, run_command, system_limit_message
from vexp.config.compose import compose_nodes, to_config
from vexp.config.hydra_versions import lazy_argument_help, version_base
from vexp.config.overrides import (
    add_search_path,
    as_typed,
    check_flags,
    config_search_dirs,
    normalize,
    split_flags,
    take_config_dirs,
)  # fmt: skip
from vexp.config.provenance import Provenance
from vexp.config.saved import SavedConfig, check_output_folders, read_saved_config, register_saved_config
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir, schema_on_search_path
from vexp.core.errors import ConfigError, UserError
from vexp.core.imports import importing
from vexp.runtime.signals import EXIT_INTERRUPTED
from vexp.runtime.threads import set_passive_omp_wait


def run(cfg: Config, out_dir: str | Path, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train with ``cfg`` into ``out_dir``; return the content of ``result.json`` (see ``vexp.training.launch.run``)."""
    set_passive_omp_wait()
    from vexp.training.launch import run as run_experiment  # imports torch

    return run_experiment(cfg, out_dir, overrides=overrides)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``vexp train`` and return its exit status."""
    return run_command(train, sys.argv[1:] if argv is None else argv)


@dataclass(slots=True)
class _Command:
    """The job that Hydra calls.

    Attributes:
        origins: Where each config value was set.
        resume_in: Run folder of ``--resume``.
        status: Status of the run, once it has ended.
    """

    origins: Provenance
    resume_in: Path | None = None
    status: str = ""

    def run(self, composed: DictConfig) -> None:
        """Train one run with a composed config, as Hydra does it."""
        task = copy.copy(composed)
        with open_dict(task), open_dict(composed.hydra.runtime):
            del task["hydra"]
            composed.hydra.mode, composed.hydra.runtime.output_dir = RunMode.RUN, os.getcwd()
        settings = HydraConfig.instance()  # which ${hydra:...} reads
        previous = settings.cfg
        settings.set_config(composed)
        try:
            self.job(task)
        finally:
            settings.cfg = previous

    def job(self, composed: DictConfig) -> float | None:
        """Train one run, or one job of a sweep; return the objective of the latter."""
        settings = HydraConfig.get()
        overrides = as_typed(cast(list[str], OmegaConf.to_container(settings.overrides.task, resolve=False)))
        self.origins.overrides = overrides
        if settings.mode == RunMode.MULTIRUN:
            from vexp.sweep.run_or_retry_job import run_or_retry_job  # after the config is known to be valid

            sweep = Path(settings.sweep.dir).absolute()
            config = to_config(composed, settings.runtime.choices, self.origins, sweep=sweep.name)
            return run_or_retry_job(config, overrides, Path(settings.runtime.output_dir), run)
        try:  # Hydra would add lines of its own to the error
            config = to_config(composed, settings.runtime.choices, self.origins)
            from vexp.config.preflight import check_inputs  # after the config is known to be valid

            check_inputs(config, self.origins)
            set_passive_omp_wait()  # before torch is imported
            with importing():
                import vexp.training.launch  # noqa: F401
            self.status = run(config, self.folder(config), overrides=overrides)["status"]
        except UserError as error:
            exit_with_error(str(error))
        except Exception as error:
            if (message := system_limit_message(error)) is not None:
                exit_with_error(message)
            traceback.print_exc()
            raise SystemExit(1) from None
        return None

    def folder(self, config: Config) -> Path:
        """Return the folder to resume in, or create a new one."""
        from vexp.experiment.run_dir import make_run_dir

        if self.origins.saved is not None:
            check_output_folders(config, self.origins.saved.parent, self.origins.overrides)
        return self.resume_in or make_run_dir(Path(config.out_root).expanduser().absolute() / str(config.run_name))


def train(argv: Sequence[str]) -> int:
    """Compose the config of the command line and train, or sweep; errors are exceptions."""
    if help_requested(argv):
        from vexp.__main__ import main as vexp  # python -m vexp.train --help is vexp train --help

        return vexp(["train", "--help"])
    saved, resume_in, argv = _take_saved(argv)
    config_dirs, argv = take_config_dirs(argv)
    flags, overrides = split_flags(argv)
    check_flags(flags)
    folders = config_search_dirs(overrides, config_dirs)
    overrides = normalize(overrides, folders)
    command = _Command(
        Provenance(overrides=as_typed(overrides), folders=folders, saved=saved.path if saved else None), resume_in
    )
    name = "train"
    if saved is not None:
        name, overrides = "rerun", register_saved_config(saved, overrides, folders)
        if resume_in is not None and not any(override.startswith("resume=") for override in overrides):
            overrides.append("resume=auto")
    overrides = add_search_path(overrides, config_dirs)
    composed = compose_nodes(name, overrides, command.origins) if not flags else None
    if composed is not None and _is_plain_run(composed.hydra):
        command.run(composed)
    else:
        sys.argv[1:] = [*flags, *overrides]  # Hydra reads its arguments from there
        with schema_on_search_path(), lazy_argument_help():
            hydra.main(**version_base(), config_path=str(conf_dir()), config_name=name)(command.job)()
    return EXIT_INTERRUPTED if command.status == "interrupted" else 0


#: Settings with which ``hydra.main`` calls the job in this process and folder, and does nothing else.
_PLAIN_RUN: dict[str, Any] = {
    "mode": None, "callbacks": {}, "run.dir": ".", "output_subdir": None, "verbose": False, "job.chdir": False,
    "job.env_set": {}, "job_logging.root": None, "hydra_logging.root": None,
}  # fmt: skip


def _is_plain_run(settings: DictConfig) -> bool:
    """Whether a composed config need not be composed by ``hydra.main``, which does it twice."""
    return all(OmegaConf.select(settings, key, default=...) == value for key, value in _PLAIN_RUN.items())


def _take_saved(argv: Sequence[str]) -> tuple[SavedConfig | None, Path | None, list[str]]:
    """Return (saved config, folder to resume in, other arguments) of ``--rerun RUN`` or ``--resume RUN``."""
    rest = list(argv)
    for flag in ("--rerun", "--resume"):
        if flag in rest:
            at = rest.index(flag)
            if at + 1 == len(rest):
                raise ConfigError(f"{flag}: needs a run folder, {flag} RUN")
            folder = Path(rest[at + 1]).expanduser().absolute()
            if not rest[at + 1].strip() or not (folder / "config.yaml").is_file():
                raise ConfigError(f"{flag} {rest[at + 1]}: not a run folder, it contains no config.yaml")
            del rest[at : at + 2]
            return read_saved_config(folder / "config.yaml"), folder if flag == "--resume" else None, rest
    return None, None, rest

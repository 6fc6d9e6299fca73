"""Check that the files a run will read exist, before torch is imported and a run folder is made."""

from __future__ import annotations

from pathlib import Path

from vexp.config.provenance import Provenance
from vexp.config.schema import Config
from vexp.core.documents import read_json
from vexp.core.errors import ConfigError, MissingInputError, UserError, raise_all
from vexp.model.config import Model
from vexp.model.weights.source import check as check_weights


def check_inputs(config: Config, provenance: Provenance) -> None:
    """Check every file and folder that the config names, and that the machine can start its processes.

    Raises:
        ConfigError: If some are missing or it cannot; each error names its key and where the key was written.
    """
    try:
        config.dist.check_machine()
        config.data.check_files()
        if config.resume not in (None, "auto") and not Path(str(config.resume)).expanduser().exists():
            raise ConfigError("no such checkpoint or run folder", key="resume", value=config.resume)
        if isinstance(config.model, Model):
            config.model.check_library()
            config.model.lora.check_library()
        if config.resume is None:  # a resumed run does not read them again
            source = config.model.weights_source() if isinstance(config.model, Model) else None
            if config.init_from is not None:
                source = "init_from", config.init_from
            if source is not None:
                check_weights(*source)
    except ConfigError as error:
        for each in error.errors:
            each.origin = each.origin or provenance.describe(each.key)
        if isinstance(error.errors[0], MissingInputError) and provenance.saved is not None:
            error.errors[-1].hint += "".join("\n" + line for line in working_directory_hint(provenance.saved.parent))
        raise_all(error.errors)


def working_directory_hint(run: Path) -> list[str]:
    """A line of help if the run was started in another folder, which its relative paths then refer to; else none."""
    try:
        folder = read_json(run / "env.json", {"cwd": str})["cwd"]
    except (UserError, FileNotFoundError):
        return []
    if Path(folder) == Path.cwd():
        return []
    return [f"  the run was started in {folder}, which its relative paths refer to: start there, or set the paths anew"]

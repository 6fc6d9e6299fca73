"""The files that a run will read: asked for before torch is imported and a run folder made."""

from __future__ import annotations

import json
from pathlib import Path

from vexp.config.provenance import Provenance
from vexp.config.schema import Config
from vexp.core.errors import MissingInputError, UserError
from vexp.model.weights.source import check as check_source


def check_inputs(config: Config, origins: Provenance) -> None:
    """All of them are there.

    Raises:
        UserError: names those that are not, and the word or line that asks for them.
    """
    try:
        config.data.check_files()
        if config.resume not in (None, "auto") and not Path(str(config.resume)).expanduser().exists():
            raise UserError(f"resume={config.resume}: no such checkpoint or run folder")
        if config.resume is None:  # a run that goes on does not read them again
            own = getattr(getattr(config.model, "weights", None), "path", None)
            for key, named in (("init_from", config.init_from), ("model.weights.path", own)):
                if named is not None:
                    check_source(key, named)
    except UserError as error:
        lines = [f"{line}{origins.of(line.partition('=')[0])}" for line in str(error).splitlines()]
        if isinstance(error, MissingInputError) and origins.saved is not None:
            lines += working_directory_hint(origins.saved.parent)
        raise UserError("\n".join(lines)) from None


def working_directory_hint(run: Path) -> list[str]:
    """A line of help where the relative paths of a run's config meant another folder than they do here."""
    try:
        folder = json.loads((run / "env.json").read_text(encoding="utf-8"))["cwd"]
    except (OSError, ValueError, KeyError):
        return []
    if Path(folder) == Path.cwd():
        return []
    return [f"  the run was started in {folder}, where its relative paths begin: do this there, or name them anew"]

"""Files of the Hugging Face Hub: ``hf://ORG/NAME[@REVISION][/FILE]``, downloaded once to the cache of huggingface_hub.

Does not import torch, and huggingface_hub only to read a file.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vexp.core.errors import UserError, missing_package
from vexp.core.files import leaves_folder
from vexp.model.weights import hf_folder

SCHEME = "hf"
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
#: A revision with a slash is a pull request's; others have their slashes written as %2F.
_NAME = re.compile(
    rf"hf://(?P<repository>{_PART}/{_PART})(?:@(?P<revision>refs/(?:pr|convert)/[^/@]+|[^/@]+))?(?:/(?P<file>.+))?",
    re.I,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FORM = "hf://ORG/NAME[@REVISION][/FILE]"


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository of models on the hub, at a branch, tag or commit, and a file in it."""

    repository: str  # ORG/NAME
    revision: str | None = None  # None: the main branch
    file: str | None = None  # None: the weights in the published layout

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision.replace('/', '%2F')}"
        return f"{SCHEME}://{self.repository}{revision}" + ("" if self.file is None else f"/{self.file}")


def parse(source: str) -> HubName:
    """Return the parts of a name; no network is needed.

    Raises:
        ValueError: If it is not of the form; the message is the rule, as the end of a sentence about it.
    """
    match = _NAME.fullmatch(source)
    if match is None or ".." in match["repository"] or "--" in match["repository"]:
        raise ValueError(f"is no name of a model on the Hugging Face Hub; write {_FORM}")
    file, revision = match["file"], match["revision"]
    if file is not None and (leaves_folder(file) or "\\" in file or file.endswith("/") or "//" in file):
        raise ValueError(f"names no file of the repository; write {_FORM}")
    if revision is not None and (revision.startswith("-") or ".." in revision):
        raise ValueError(f"names no branch, tag or commit; write {_FORM}")
    return HubName(match["repository"], None if revision is None else revision.replace("%2F", "/"), file)


def problem(source: str) -> str | None:
    """Return why a name cannot be read here, without network access; None if nothing is wrong with it."""
    try:
        parse(source)
    except ValueError as error:
        return str(error)
    if importlib.util.find_spec("huggingface_hub") is None:
        return missing_package("hf")
    return None


class NotCachedError(UserError):
    """A file is not in the cache, and the hub cannot be reached or is not asked."""


def locate(name: HubName) -> Path:
    """Return the local weights of a name: its file, or ``model.safetensors`` or the index, with all shards downloaded.

    ``config.json`` and the processor's JSON file are downloaded to the same folder, if the repository has them.

    Raises:
        UserError: As for ``download``, or if the repository has no weights in the published layout.
    """
    weights = _find_weights(name) if name.file is None else download(name, name.file)
    file = name.file or weights.name
    folder = PurePosixPath(file).parent
    name = HubName(name.repository, commit_of(weights, file))  # so that all files are of the same commit
    if hf_folder.is_index(weights):
        for shard in dict.fromkeys(hf_folder.shard_files(weights).values()):
            download(name, str(folder / shard))
    if file in (hf_folder.SINGLE, hf_folder.INDEX):
        with suppress(NotCachedError):
            for description in (hf_folder.CONFIG, *hf_folder.PROCESSORS):
                _download(name, description)
    return weights


def _find_weights(name: HubName) -> Path:
    """Return the local ``model.safetensors`` of a repository, or the index."""
    try:
        weights = _download(name, hf_folder.SINGLE) or _download(name, hf_folder.INDEX)
    except NotCachedError:
        weights = _cached(name, hf_folder.INDEX)
        if weights is None:
            raise
    if weights is None:
        raise UserError(f"{name}: {hf_folder.describe_missing(_list_files(name), str(name))}")
    return weights


def download(name: HubName, file: str) -> Path:
    """Return a file of a repository in the cache of huggingface_hub, downloading it if it is not there.

    With ``HF_HUB_OFFLINE=1``, or if the hub cannot be reached, only the cache is searched.

    Args:
        name: The repository and revision.
        file: Path of the file in the repository, with slashes.

    Raises:
        NotCachedError: If it is not in the cache, and the hub cannot be reached or is not asked.
        UserError: If there is no such repository, revision or file, or access is not granted.
    """
    if (path := _download(name, file)) is None:
        raise UserError(f"{name}: the repository has no file {file}")
    return path


def is_cached(name: HubName, file: str) -> bool:
    """Return whether a file of a repository is in the cache, without asking the hub."""
    return _cached(name, file) is not None


def commit_of(path: Path, file: str) -> str:
    """Return the commit of a file in the cache, whose path ends in ``snapshots/COMMIT/FILE``."""
    return path.parents[len(Path(file).parts) - 1].name


def _cached(name: HubName, file: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name.repository, file, revision=name.revision)
    return Path(path) if isinstance(path, str) else None  # else: unknown, or known not to be in the repository


def _download(name: HubName, file: str) -> Path | None:
    """As ``download``; None if the repository has no such file."""
    from huggingface_hub import errors, hf_hub_download

    repository, cached = name.repository, None
    if name.revision is not None and _COMMIT.fullmatch(name.revision):
        cached = _cached(name, file)
    try:
        with _quiet_hub():
            return cached or Path(hf_hub_download(repository, file, revision=name.revision))
    except errors.LocalEntryNotFoundError as error:
        raise NotCachedError(f"{name}: {_not_cached(file, error)}") from None
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError:
        page = f"https://huggingface.co/{repository}"
        rule = f"access is not granted; accept the conditions of {page} and log in with `hf auth login`"
    except errors.RepositoryNotFoundError:
        rule = "the hub has no such repository, or it is private: log in with `hf auth login`"
    except errors.RevisionNotFoundError:
        rule = f"the repository has no branch, tag or commit {name.revision}"
    except (OSError, ValueError) as error:  # of the server, the disk, or a name that the hub does not allow
        rule = f"the download failed: {str(error).strip().splitlines()[0] if str(error).strip() else type(error)}"
    raise UserError(f"{name}: {rule}")


def _not_cached(file: str, error: Exception) -> str:
    from huggingface_hub import constants

    place = f"{file} is not in the cache ({constants.HF_HUB_CACHE})"
    if constants.HF_HUB_OFFLINE:
        reason = "the hub is not asked because HF_HUB_OFFLINE is set; unset it, or"
        return f"{place}, and {reason} download it elsewhere (hf download) and give the folder"
    reason = str(error.__cause__ or error).strip().splitlines()[0]
    return f"{place}, and the hub cannot be reached: {reason}; download it elsewhere (hf download) and give the folder"


def _list_files(name: HubName) -> list[str]:
    from huggingface_hub import HfApi, errors

    try:
        return list(HfApi().list_repo_files(name.repository, revision=name.revision))
    except (errors.HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(f"{name}: the list of its files cannot be downloaded: {error}") from None


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Suppress the log lines of huggingface_hub about each retry; the error states what failed."""
    from huggingface_hub.utils import logging as hub_logging

    level = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)

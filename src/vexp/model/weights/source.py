"""Locating weights: from a path, a URL or a torchvision name to a local file.

Does not import torch, so that an invalid name is rejected before torch is imported.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from vexp import checkpoint
from vexp.core.checksum import sha256
from vexp.core.errors import ConfigError, UserError, did_you_mean, has_password
from vexp.core.files import atomic_write
from vexp.model.weights import hf_folder, hub, timm_source
from vexp.model.weights.metadata import Metadata, of_torchvision
from vexp.model.weights.safetensors_file import is_safetensors

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_HASHED_NAME = re.compile(r"[-_]([0-9a-f]{8,64})\.[a-z]+$")  # torch.hub's and OpenMMLab's: resnet50-0676ba61.pth
_SHA256 = re.compile(r"sha256=([0-9a-fA-F]{8,64})$")
#: Names of the parameters of a URL that give access to whoever has it, such as those of presigned URLs.
_SECRET_QUERY = re.compile(
    r"(?:^|&)[^=&]*(?:token|key|secret|password|passwd|auth|credential|signature|\bsig\b)[^=&]*=", re.IGNORECASE
)
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
#: URL schemes that mmcv resolves with its own list of models.
_OPENMMLAB = ("open-mmlab", "openmmlab", "mmcls", "jhu")
_FORMS = (
    "a file, a run folder, a folder with model.safetensors, https://..., hf://ORG/NAME[@REVISION][/FILE], "
    "timm://NAME[.TAG], torchvision://NAME or torchvision://NAME:WEIGHTS"
)


@dataclass(frozen=True, slots=True)
class Located:
    """A local weight file."""

    path: Path
    metadata: Metadata | None = None  # of the source, which replaces that of the file; None to read it from the file
    kind: str | None = None  # the program that published it; None to read it from the file
    notes: list[str] = field(default_factory=list)  # how the file was obtained, for the report


def check(key: str, source: str) -> None:
    """Check the value of the option ``key`` without network access.

    Raises:
        ConfigError: If the file does not exist or the URL scheme is not supported.
    """
    if (problem := _problem(source)) is not None:
        raise ConfigError(problem, key=key, value=source)


def _problem(source: str) -> str | None:
    scheme = _scheme(source)
    if scheme == "torchvision":
        return None
    if scheme is None:
        return _path_problem(source)
    if scheme == hub.SCHEME:
        return hub.problem(source)
    if scheme == timm_source.SCHEME:
        return timm_source.problem(source)
    if scheme in ("http", "https"):
        try:
            url = urlparse(source)
            is_named = bool(url.hostname) and (url.port is None or url.port > 0)  # reading the port checks it
        except ValueError as error:
            return f"is not a valid URL: {error}"
        if not is_named or not source.isascii() or not source.isprintable() or " " in source:
            return "is not a valid URL; it must be https://HOST/FILE, with other characters as %XX"
        if has_password(source) or _SECRET_QUERY.search(url.query):
            return "has a password or a token, which the run folder would show; download the file and give its path"
        is_safe = scheme == "https" or url.hostname in _LOCAL_HOSTS
        return None if is_safe else "downloads over http can be tampered with; use https"
    if scheme in _OPENMMLAB:
        return (
            "OpenMMLab's model names are not supported; give the URL of the file (https://download.openmmlab.com/"
            "...pth, whose checksum is the end of its name) or the downloaded file"
        )
    if scheme == "modelzoo":
        return f"write torchvision://{source.partition('://')[2]}"
    return f"the scheme {scheme}:// is not supported; give {_FORMS}"


def _path_problem(source: str) -> str | None:
    if not source.strip():
        return f"is empty; give {_FORMS}"
    path = os.path.expanduser(source)
    if not os.path.exists(path):
        return "no such checkpoint or run folder"
    if not (os.path.isfile(path) or os.path.isdir(path)):  # opening a pipe would wait for its writer
        return "is neither a file nor a run folder"
    return None if os.path.isfile(path) else _folder_problem(Path(path))


def _folder_problem(folder: Path) -> str | None:
    try:
        found = hf_folder.find_weights(folder)
        if len(found) > 1:
            return f"has {found[0].name} and {found[1].name}; give the path of one of them"
        if found or any(folder.glob("*.pth")) or (folder / "checkpoints").is_dir():
            return None
        return hf_folder.describe_missing(os.listdir(folder), str(folder))
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def locate(source: str | Path) -> Located:
    """Return the local file of ``source``, downloading it if necessary.

    For a run folder, it is the last checkpoint; for a folder or repository of Hugging Face, ``model.safetensors`` or
    the index of its shards. Downloads are cached in torch.hub's folder (``$TORCH_HOME/hub``) and
    verified on every use, with the ``#sha256=DIGITS`` (at least 8) after the URL, or with the digits that torch.hub and
    OpenMMLab append to file names.

    Raises:
        UserError: If the file does not exist, cannot be downloaded, or does not match its checksum.
    """
    text = str(source)
    if (problem := _problem(text)) is not None:
        raise UserError(f"{text}: {problem}")
    scheme = _scheme(text)
    if scheme is None:
        return _local(text)
    if scheme == hub.SCHEME:
        return _hub(text)
    if scheme == timm_source.SCHEME:
        return _timm(text)
    return _torchvision(text) if scheme == "torchvision" else _download(text)


def is_local(source: str) -> bool:
    """Return whether ``locate`` would find the file of a valid source on this machine, without a network."""
    scheme = _scheme(source)
    if scheme is None:
        return os.path.exists(os.path.expanduser(source))
    if scheme == hub.SCHEME:
        name = hub.parse(source)
        return any(hub.is_cached(name, file) for file in ([name.file] if name.file else _WEIGHTS_OF_A_FOLDER))
    if scheme == timm_source.SCHEME:
        return is_local(timm_source.published(source)[0])
    if scheme == "torchvision":
        model, _, _ = source.partition("://")[2].partition(":")
        return any((_hub_folder() / "checkpoints").glob(f"{glob.escape(model)}-*.pth"))
    return _cached_path(source).is_file()


_WEIGHTS_OF_A_FOLDER = (hf_folder.SINGLE, hf_folder.INDEX)


def _hub_folder() -> Path:
    """Return torch.hub's folder without importing torch, which takes seconds."""
    if (torch := sys.modules.get("torch")) is not None:
        return Path(torch.hub.get_dir())
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))).expanduser() / "hub"


def _cached_path(url: str) -> Path:
    """Return where the file of a URL is cached."""
    address = url.partition("#")[0]
    name = _short(Path(unquote(urlparse(address).path)).name) or "weights"
    # Two URLs may end in the same name, so only a name with a checksum is shared with torch.hub.
    cached = name if _HASHED_NAME.search(name) else f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{name}"
    return _hub_folder() / "checkpoints" / cached


def _local(source: str) -> Located:
    path = Path(source).expanduser().absolute()
    if not (found := hf_folder.find_weights(path)):
        return Located(checkpoint.locate(path))
    return Located(found[0], hf_folder.read_metadata(path), "huggingface", [f"{found[0].name} of the folder"])


def _hub(source: str) -> Located:
    name = hub.parse(source)
    path = hub.locate(name)
    file = name.file or path.name
    note = f"{file} at commit {hub.commit_of(path, file)}"
    if file not in (hf_folder.SINGLE, hf_folder.INDEX):
        return Located(path, notes=[note])
    return Located(path, hf_folder.read_metadata(path.parent), "huggingface", [note])


def _short(name: str) -> str:
    """Return a file name, or its end with the checksum and the suffix if it is too long for a file system."""
    return name.replace("\0", "").encode()[-200:].decode(errors="ignore")


def _scheme(source: str) -> str | None:
    match = _SCHEME.match(source)
    return match[1].lower() if match else None


def _torchvision(source: str) -> Located:
    """Locate torchvision weights; without a name, the first set published, as in mmcv and ``pretrained=True``."""
    from torchvision.models import get_model_weights, list_models

    model, _, weights = source.partition("://")[2].partition(":")
    try:
        published = get_model_weights(model)
    except ValueError:
        hint = did_you_mean(model, list_models())
        raise UserError(f"{source}: torchvision has no model {model!r}{hint}") from None
    names = list(published.__members__)
    if not names or (weights and weights not in names):
        raise UserError(f"{source}: the published weights of {model} are {', '.join(names) or 'none'}")
    member: Any = published[weights] if weights else next(iter(published))
    file = _download(member.url)
    others = f" (of {', '.join(names)})" if len(names) > 1 else ""
    return Located(
        file.path, of_torchvision(member), "torchvision", [f"torchvision's {model}:{member.name}{others}", *file.notes]
    )


def _timm(source: str) -> Located:
    """Locate weights by timm's names, which are on the Hugging Face Hub or at a URL."""
    address, metadata, note = timm_source.published(source)
    try:
        file = locate(address)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    return Located(file.path, metadata, "timm", [note, *file.notes])


def _download(url: str) -> Located:
    """Download a file, unless it is cached and valid."""
    from vexp.model.weights.download import DownloadError, download  # imports an HTTP client

    address, _, fragment = url.partition("#")
    path = _cached_path(url)
    in_name = _HASHED_NAME.search(path.name)
    stated = _SHA256.match(fragment) if fragment else in_name
    if fragment and stated is None:
        raise UserError(f"{url}: the part after # must be sha256=DIGITS with 8 to 64 digits")
    checksum = stated[1].lower() if stated else None
    if not (path.is_file() and (checksum is None or sha256(path).startswith(checksum))):
        try:
            with atomic_write(path) as temporary:
                download(address, temporary)
                if checksum is not None and not sha256(temporary).startswith(checksum):
                    problem = f"the downloaded file does not match the checksum {checksum} and was deleted"
                    raise UserError(f"{url}: {problem}")
        except (DownloadError, OSError) as error:
            raise UserError(f"{url}: the download failed: {error}; download it manually and give the file") from None
    if checksum is not None:
        return Located(path, notes=[f"checksum {checksum[:8]} verified"])
    if not (checkpoint.has_checkpoint_header(path) or is_safetensors(path)):
        path.unlink()  # otherwise the cache would return an error page the next time
        raise UserError(f"{url}: the downloaded file is not a checkpoint (perhaps an HTML page) and was deleted")
    return Located(path, notes=[f"unverified download; append #sha256={sha256(path)} to verify it"])

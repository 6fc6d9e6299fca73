"""Where weights come from: a path, an address or a name of torchvision's, to a file on this machine.

Torch-free at import, so that a name that cannot work is refused before torch is imported.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlparse

from vexp import checkpoint
from vexp.core.checksum import sha256
from vexp.core.errors import UserError
from vexp.model.weights.metadata import Metadata, of_torchvision

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_HASHED_NAME = re.compile(r"[-_]([0-9a-f]{8,64})\.[a-z]+$")  # torch.hub's and OpenMMLab's: resnet50-0676ba61.pth
_SHA256 = re.compile(r"sha256=([0-9a-fA-F]{8,64})$")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
#: Schemes of mmcv and others that stand for a list or a store of their own.
_OPENMMLAB = ("open-mmlab", "openmmlab", "mmcls", "jhu")
_FORMS = "a file, a run folder, https://..., torchvision://NAME or torchvision://NAME:WEIGHTS"


@dataclass(frozen=True, slots=True)
class Located:
    """A file on this machine; ``metadata`` where its source knows more than the file; ``notes`` are for the report."""

    path: Path
    metadata: Metadata | None = None
    notes: list[str] = field(default_factory=list)


def check(key: str, named: str) -> None:
    """Refuse what cannot be had, without network and without torch; ``key`` is the option that names it.

    Raises:
        UserError: no such file, or a scheme that vexp does not read.
    """
    fault = _fault(named)
    if fault is not None:
        raise UserError(f"{key}={named}: {fault}")


def _fault(named: str) -> str | None:
    scheme = _scheme(named)
    if scheme in ("https", "torchvision"):
        return None
    if scheme is None:
        return None if Path(named).expanduser().exists() else "no such checkpoint or run folder"
    if scheme == "http":
        mine = urlparse(named).hostname in _THIS_MACHINE
        return None if mine else "anybody on the way can change what comes over http; use https"
    if scheme in _OPENMMLAB:
        return (
            "names of OpenMMLab's list are not known here; give the address behind the name "
            "(https://download.openmmlab.com/...pth, the last eight digits of which are checked) or the downloaded file"
        )
    if scheme == "modelzoo":
        return f"write torchvision://{named.partition('://')[2]}"
    return f"{scheme}:// is not read; weights are named by {_FORMS}"


def locate(named: str | Path) -> Located:
    """The file that is meant, downloaded where it has to be.

    A run folder stands for its last checkpoint. Downloads are kept in torch.hub's folder (``$TORCH_HOME/hub``) and
    verified whenever they are used: by ``#sha256=DIGITS`` (8 or more) after the address, or by the digits that
    torch.hub and OpenMMLab put at the end of a file name.

    Raises:
        UserError: it is not there, cannot be downloaded, or is not what its checksum says.
    """
    text = str(named)
    fault = _fault(text)
    if fault is not None:
        raise UserError(f"{text}: {fault}")
    scheme = _scheme(text)
    if scheme == "torchvision":
        return _torchvision(text)
    if scheme is not None:
        path, notes = download(text)
        return Located(path, notes=notes)
    return Located(checkpoint.locate(text))


def _scheme(named: str) -> str | None:
    match = _SCHEME.match(named)
    return match[1].lower() if match else None


def _torchvision(named: str) -> Located:
    """``torchvision://resnet50`` is the first set published, as in mmcv and torchvision's ``pretrained=True``."""
    from torchvision.models import get_model_weights, list_models

    name, _, wanted = named.partition("://")[2].partition(":")
    try:
        published = get_model_weights(name)
    except ValueError:
        close = difflib.get_close_matches(name, list_models(), n=1)
        raise UserError(
            f"{named}: torchvision has no {name!r}" + (f"; did you mean {close[0]}?" if close else "")
        ) from None
    names = list(published.__members__)
    if not names or (wanted and wanted not in names):
        raise UserError(f"{named}: published weights of {name}: {', '.join(names) or 'none'}")
    member: Any = published[wanted] if wanted else next(iter(published))
    path, notes = download(member.url)
    others = f" (of {', '.join(names)})" if len(names) > 1 else ""
    return Located(path, of_torchvision(member), [f"torchvision's {name}:{member.name}{others}", *notes])


def download(url: str) -> tuple[Path, list[str]]:
    """The file behind an address, from the cache where it is there and sound; what a report should say of it.

    Raises:
        UserError: it cannot be had, or is not what its checksum says.
    """
    import torch

    address, _, fragment = url.partition("#")
    name = Path(unquote(urlparse(address).path)).name or "weights"
    stated = _stated_checksum(url, fragment, name)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    # Two addresses may end in the same name: only one that carries its checksum is a name to share with torch.hub.
    own = name if _HASHED_NAME.search(name) else f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{name}"
    path = cache / own
    if not (path.is_file() and (stated is None or sha256(path).startswith(stated))):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(path), hash_prefix=stated)
        except RuntimeError:  # torch.hub's word for a wrong checksum; nothing was kept
            raise UserError(f"{url}: what arrived does not have the checksum {stated}; it is not used") from None
        except (URLError, OSError, ValueError) as error:
            why = getattr(error, "reason", None) or error
            raise UserError(f"{url}: cannot be downloaded: {why}; download it elsewhere and give the file") from None
    if stated is None:
        if not checkpoint.looks_right(path):
            path.unlink()  # an error page must not be found in the cache the next time
            raise UserError(f"{url}: what arrived is no weight file (a web page?); it is not kept")
        return path, [f"unverified download; to pin it, append #sha256={sha256(path)}"]
    return path, [f"checksum {stated[:8]} holds"]


def _stated_checksum(url: str, fragment: str, name: str) -> str | None:
    if fragment:
        match = _SHA256.match(fragment)
        if match is None:
            raise UserError(f"{url}: after # only sha256=DIGITS is understood, 8 to 64 of them")
        return match[1].lower()
    match = _HASHED_NAME.search(name)
    return match[1] if match else None

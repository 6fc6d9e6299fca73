"""The names of files in archives and on servers: what users write as a prefix, and the paths of samples.

A stored path is ``PREFIX/NAME``. The prefix is an archive (``clips.zip``, ``shard-{0000..0099}.tar``), a folder in one
(``clips.zip/train``), a URL of fsspec (``https://...``, ``s3://...``), or begins with an environment variable that
holds a URL (``$CLIPS_URL/train``). Messages, lists and saved files show the path as it is written here: the value of
the variable, which may hold a password, is looked up where a file is opened and kept nowhere.
"""

from __future__ import annotations

import os
import re
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from vexp.core.errors import UserError, has_password

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)(?=/|$)")
_SUFFIX = re.compile(r"\.(?:zip|tar)(?=/|$)", re.IGNORECASE)
_COMPRESSED = re.compile(r"\.(?:tar\.\w+|tgz|tbz2?|txz|7z|rar)$", re.IGNORECASE)
_CHAIN = re.compile(r"(zip|tar)://(.*?)::(.+)", re.DOTALL)
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
_MAX_SHARDS = 100_000
_WEB = ("http", "https")
#: Protocols of fsspec that read the address of a file from another one, run code on it or write it elsewhere.
_WRAPPERS = (
    "async_wrapper", "blockcache", "cached", "dask", "data", "dir", "filecache", "generic", "jlab", "jupyter",
    "libarchive", "reference", "simplecache",
)  # fmt: skip
_VARIABLE_RULE = "put the whole URL into an environment variable and write the name of that: '$CLIPS_URL'"


def is_stored(path: str | Path) -> bool:
    """Return whether a path is that of a file in an archive or on a server; otherwise it is a path of this machine."""
    text = os.fspath(path)
    if is_remote(text):
        return True
    return _SUFFIX.search(text) is not None and split(text)[0] != ""


def is_remote(path: str) -> bool:
    """Return whether a path begins with a URL, or a variable that holds one."""
    return bool(_SCHEME.match(path) or _VARIABLE.match(path))


def prefix(text: str) -> str:
    """Return a prefix that a user wrote as the beginning of paths: an absolute path, or as it is.

    ``zip://FOLDER::ARCHIVE`` and ``tar://...``, the notation of fsspec, become ``ARCHIVE/FOLDER``.
    """
    if chain := _CHAIN.fullmatch(text):
        text = "/".join(filter(None, (chain[3].rstrip("/"), chain[2].strip("/"))))
    if text.lower().startswith(("file://", "local://")):
        text = text.partition("://")[2]
    if is_remote(text):
        return text.rstrip("/")
    return str(Path(text).expanduser().absolute())


def prefix_rule(value: Any) -> str | None:
    """Return the rule that a prefix breaks, without a look at the file; None if it breaks none."""
    text = str(value)
    if chain := _CHAIN.fullmatch(text):
        if not _SUFFIX.search(chain[3]) and not _VARIABLE.match(chain[3]):
            return f"must name an archive after :: that ends in .{chain[1]}"
        text = chain[3]
    if "::" in text and "://" in text:
        return "chains file systems; of these, zip://FOLDER::ARCHIVE and tar://FOLDER::ARCHIVE are read"
    if _COMPRESSED.search(text):
        return "is compressed as a whole, which has no random access; use .tar or .zip (unpack it, or gunzip a .tar.gz)"
    if not (match := _SCHEME.match(text)):
        return None
    scheme = match[0][:-3].lower()
    if scheme in _WRAPPERS:
        return f"{scheme}:// stands for other file systems; write the URL of the files themselves"
    rest = text[match.end() :]
    user, at, _ = rest.partition("/")[0].rpartition("@")
    web = scheme in _WEB
    if (has_password(text) if web else at and ":" in user) or ("?" in rest and (web or "=" in rest.partition("?")[2])):
        return f"has a password or a query, which the run folder would show; {_VARIABLE_RULE}"
    return "must have %23 in place of #" if web and "#" in rest else None


def split(path: str) -> tuple[str, str]:
    """Return the archive of a stored path and the name in it; ("", path) for a file that is in no archive.

    The archive is the first part of the path that ends in .zip or .tar and is no folder of this machine.
    """
    if os.name == "nt":
        path = path.replace("\\", "/")
    start, remote = 0, True
    if variable := _VARIABLE.match(path):
        inside = _SUFFIX.search(url := urlsplit(_value(variable[1])).path)
        if inside is not None:
            return variable[0], (url[inside.end() :] + path[variable.end() :]).strip("/")
        start = variable.end()
    elif scheme := _SCHEME.match(path):
        start = path.find("/", scheme.end())
        if start < 0:
            return "", path
    else:
        remote = False
    for suffix in _SUFFIX.finditer(path, start):
        archive = path[: suffix.end()]
        if remote or not os.path.isdir(archive):
            return archive, path[suffix.end() :].strip("/")
    return "", path


def address(path: str) -> str:
    """Return the URL of a stored path, or of an archive, with the value of its variable; never to be shown.

    Raises:
        UserError: If the variable does not hold a URL.
    """
    if variable := _VARIABLE.match(path):
        url = urlsplit(_value(variable[1]))
        whole, rest = url.path.rstrip("/"), path[variable.end() :]
        if inside := _SUFFIX.search(whole):
            whole, rest = whole[: inside.end()], ""  # the rest is the name in the archive
        return urlunsplit(url._replace(path=_quoted(whole + rest) if url.scheme in _WEB else whole + rest))
    scheme, _, rest = path.partition("://")
    if scheme.lower() not in _WEB:
        return path
    host, slash, name = rest.partition("/")
    return f"{scheme}://{host}{slash}{_quoted(name)}"


def public(url: str) -> str:
    """Return a URL without its user, password and query: what identifies a file, and may be hashed."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def secrets(path: str) -> list[str]:
    """Return what the value of the variable of a stored path may contain that no message repeats."""
    url = urlsplit(address(path))
    user, _, password = url.netloc.rpartition("@")[0].partition(":")
    values = [value for _, value in parse_qsl(url.query)] + [part.partition("=")[2] for part in url.query.split("&")]
    return [text for text in (url.query, user, password, unquote(password), *values) if text]


def _value(name: str) -> str:
    value = os.environ.get(name, "")
    if not _SCHEME.match(value):
        state = "holds no URL" if value else "is not set"
        raise UserError(f"${name}: the environment variable {state}; it must hold the URL of the files, https://...")
    if (scheme := value.partition("://")[0].lower()) in _WRAPPERS or "::" in value:
        raise UserError(f"${name}: {scheme}:// stands for other file systems; set it to the URL of the files")
    return value


def _quoted(path: str) -> str:
    """Write the characters of file names that have a meaning in a web address as %XX; keep those that are."""
    path = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", path)
    return quote(path, safe="/%:@!$&'()*+,;=~", errors="surrogateescape")


def expand_braces(pattern: str) -> list[str]:
    """Return the names that ``a-{00..19}.tar`` or ``{a,b}.tar`` stands for, in that order.

    Raises:
        UserError: If there are more than 100,000, or a range runs backwards.
    """
    parts: list[list[str]] = []
    end, count = 0, 1
    for match in _BRACES.finditer(pattern):
        parts.append([pattern[end : match.start()]])
        if match[3] is not None:
            choices = match[3].split(",")
        else:
            first, last = int(match[1]), int(match[2])
            if not first <= last < first + _MAX_SHARDS:
                raise UserError(f"{pattern}: {match[0]} must ascend, by less than {_MAX_SHARDS:,}")
            choices = [f"{number:0{len(match[1])}}" for number in range(first, last + 1)]
        parts.append(choices)
        end, count = match.end(), count * len(choices)
    if count > _MAX_SHARDS:
        raise UserError(f"{pattern}: stands for more than {_MAX_SHARDS:,} archives")
    parts.append([pattern[end:]])
    return ["".join(names) for names in product(*parts)]

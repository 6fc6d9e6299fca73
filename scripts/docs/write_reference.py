"""Write docs/reference.md and docs/reference/GROUP.md from the config dataclasses and the YAML options themselves.

    python scripts/docs/write_reference.py          writes all pages; a test fails while one is out of date

Text, type, unit, range, default and former names of a key are what ``vexp explain`` prints; what an option is
for is the comment at the head of its YAML file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from vexp.config.keys import Key, keys_of, summary
from vexp.config.schema import Config, options
from vexp.config.search_path import conf_dir
from vexp.tools.explain.former_names import former_names

DOCS = Path(__file__).resolve().parents[2] / "docs"
WRITTEN = "Written by `python scripts/docs/write_reference.py`; do not edit it."
HEAD = f"""# Reference: every group, option and key

{WRITTEN} `vexp explain KEY` says the same of one key, and what set it and what it does in your run.

A group takes the name of one of its options, `optimizer=sgd`; a value is set by its dotted key, `optimizer.lr=0.1`.
`lr` is short for `lr_policy`. A unit "epochs (steps)" is epochs, or optimizer steps where `by_epoch` of the group is
false. Former names are those of mmaction2 0.x, of mmaction2 1.x, and of SlowFast (in capitals).
"""
#: Groups that are no key of the config: their options are steps of a pipeline, or change other groups.
BESIDE = {
    "transform": "The steps of a pipeline: `transform@pipeline.train.crop=three_crop` replaces one, "
    "`+transform@pipeline.train.NAME=OPTION` adds one, `~pipeline.train.NAME` leaves one out. The keys below stand "
    "under the step's place, `pipeline.train.crop.crop_size`.",
    "experiment": "Whole settings to start from: each chooses options of other groups and changes values.",
    "debug": "Short runs that answer one question; stronger than an experiment.",
}


def pages() -> dict[Path, str]:
    """Return the path and the Markdown of every page."""
    root = {key.name: key for key in keys_of(Config) if "." not in key.path}
    groups = [name for name, key in root.items() if key.holds_keys]
    texts = {name: _sentence(root[name].doc) + _formerly(root[name]) for name in groups} | BESIDE
    rows = [f"| [{name}](reference/{name}.md) | {text} | {', '.join(_files(name))} |" for name, text in texts.items()]
    index = [
        HEAD,
        "| group | what it says | options |\n|---|---|---|\n" + "\n".join(rows) + "\n",
        "## Keys outside of groups\n",
        _table(key for name, key in root.items() if name not in groups),
    ]
    made = {DOCS / "reference.md": "\n".join(index)}
    for name, text in texts.items():
        body = _classes(name) if name in options() else ["## Keys\n" * bool(_below(name)), _table(_below(name))]
        parts = [f"# {name}\n", f"{text}\n", *_option_list(name), *body, f"{WRITTEN} [All groups](../reference.md)\n"]
        made[DOCS / "reference" / f"{name}.md"] = "\n".join(part for part in parts if part)
    return made


def _files(group: str) -> dict[str, str]:
    """The YAML options of a group: name -> text of the file."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((conf_dir() / group).glob("*.yaml"))}


def _option_list(group: str) -> list[str]:
    lines = [
        f"- [`{group}={name}`](../../conf/{group}/{name}.yaml): {_head(text)}" for name, text in _files(group).items()
    ]
    return ["## Options\n", "\n".join(lines) + "\n"] if lines else []


def _head(text: str) -> str:
    """The comment at the head of a YAML file as one paragraph, its indented lines as code."""
    comment = [line[1:] for line in text.splitlines()[: _length_of_head(text)] if not line.startswith("# @package")]
    blocks = []
    for code, lines in groupby(comment, key=lambda line: line.startswith("  ")):
        block = " ".join(line.strip() for line in lines)
        blocks.append(f"`{block}`" if code else _escaped(block))
    return " ".join(blocks)


def _length_of_head(text: str) -> int:
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))


def _classes(group: str) -> Iterator[str]:
    """The keys that all options of a group have, then those of each class."""
    classes = list(dict.fromkeys(options()[group].values()))
    shared = [key for key in keys_of(classes[0], group) if _in_all(key, classes, group)]
    if table := _table(shared):
        yield "## Keys of every option\n"
        yield table
    known = {key.path for key in shared}
    for cls in classes:
        yield f"## {cls.__name__}\n"
        yield f"{_escaped(summary(cls))}. Taken by {', '.join(_taken_by(cls, group))}.\n"
        yield _table(key for key in keys_of(cls, group) if key.path not in known)


def _in_all(key: Key, classes: Iterable[type[Any]], group: str) -> bool:
    """Return whether all classes have a key with the same documentation."""
    return all(_row(key) in {_row(other) for other in keys_of(cls, group)} for cls in classes)


def _taken_by(cls: type[Any], group: str) -> list[str]:
    """Return the options whose YAML has the schema of a class in its defaults."""
    names = {name for name, known in options()[group].items() if known is cls}
    pattern = re.compile(rf"/schema/{group}/(\w+)@")
    chosen = [name for name, text in _files(group).items() if names & set(pattern.findall(text))]
    return [f"`{group}={name}`" for name in chosen]


def _below(group: str) -> list[Key]:
    return [key for key in keys_of(Config) if key.path.startswith(f"{group}.")]


def _table(keys: Iterable[Key]) -> str:
    rows = [_row(key) for key in keys if not key.holds_keys]
    head = "| key | type | unit | default | what it does |\n|---|---|---|---|---|"
    return "\n".join([head, *rows]) + "\n" if rows else ""


def _row(key: Key) -> str:
    kind = key.type_text + (f": {key.range_text}" if key.range_text else "")
    default = key.default_text if key.required else f"`{key.default_text}`"
    cells = (f"`{key.path}`", _escaped(kind), key.unit, default, _escaped(key.doc) + _formerly(key, "<br>"))
    return f"| {' | '.join(cells)} |"


def _formerly(key: Key, before: str = " ") -> str:
    """Return ``Formerly `a`; `b`.``; a name that several programs share is listed once."""
    given = list(dict.fromkeys(names for names in former_names(key) if names))
    return f"{before}Formerly {'; '.join(f'`{names}`' for names in given)}." if given else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    (DOCS / "reference").mkdir(exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    print(f"written: {DOCS / 'reference.md'} and a page for each group")

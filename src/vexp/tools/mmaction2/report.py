"""The experiment as YAML, and the report with a line for every leaf of the source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Any

import yaml

from vexp.config.instantiate import escape_interpolations
from vexp.config.json_schema import schema_line
from vexp.core.errors import format_value
from vexp.tools.mmaction2.config_file import Source
from vexp.tools.mmaction2.result import FILL_IN, STATUSES, ConversionResult
from vexp.tools.mmaction2.tree import MappingNode, ScalarNode, Where


@dataclass(frozen=True, slots=True)
class Line:
    """One leaf of the source and its outcome; ``targets`` are the keys and options of vexp."""

    where: Where
    path: str
    value: str
    status: str
    targets: list[str]
    remark: str

    @property
    def source(self) -> str:
        """The leaf as it is written in the source."""
        return f"{self.path} = {self.value}" if self.path else self.value

    @property
    def outcome(self) -> str:
        """The targets, or the status if there are none."""
        return (self.status != "unsupported" and ", ".join(self.targets)) or STATUSES[self.status]

    def __str__(self) -> str:
        return f"{self.source} -> {self.outcome}" + (f" ({self.remark})" if self.remark else "")


def report_lines(result: ConversionResult, source: Source) -> list[Line]:
    """Return a line for every leaf, sorted by file and line."""
    lines = []
    for path, leaf in source.lines():
        outcome = result.outcomes[id(leaf)]
        value = _short(leaf.value) if isinstance(leaf, ScalarNode) else "{}" if isinstance(leaf, MappingNode) else "[]"
        targets = [f"{t}={_short(result.values[t].value)}" if t in result.values else t for t in outcome.targets]
        lines.append(Line(leaf.where, path, value, outcome.status, targets, "; ".join(outcome.remarks)))
    order = list(dict.fromkeys([source.path, *(line.where.file for line in lines)]))
    return sorted(lines, key=lambda line: (order.index(line.where.file), line.where.line))


_GROUPS = (
    "data", "pipeline", "img_norm", "blending", "model", "loss", "optimizer", "lr_policy", "grad", "amp", "ema", "eval",
    "checkpoint", "log",
)  # fmt: skip


def experiment_yaml(result: ConversionResult, source: Source) -> str:
    """Return the content of ``conf/experiment/NAME.yaml``: steps, values and options.

    Root keys come first, then groups in the order of the data flow; within a group, the order is that of the source.
    """
    head = [
        "# @package _global_",
        schema_line().rstrip(),
        f"# {source.path.name} of mmaction2 {'1.x' if result.generation else '0.x'}, by vexp import; the .md "
        "file beside it lists the outcome of every line.",
        "defaults:",
    ]
    for split, steps in result.steps.items():
        head += [f"  - /transform@pipeline.{split}.{name}: {option}" for name, option in steps.items()]
    head += ["  - _self_", "  - override /pipeline: null"]
    head[3:3] = [f"# Not the model of the source: {what}" for what in result.replaced_model]
    head += [f"  - override /{group}: {option}" for group, option in result.choices.items()]
    tree: dict[str, Any] = {}
    groups = {group: index for index, group in enumerate(_GROUPS)}
    for key in sorted(result.values, key=lambda key: groups.get(key.partition(".")[0], -1)):
        node, (*above, name) = tree, key.split(".")
        for part in above:
            node = node.setdefault(part, {})
        value = result.values[key].value
        node[name] = value if value == FILL_IN else escape_interpolations(value)
    body = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
    return "\n".join(head) + "\n" + (body if tree else "")


@dataclass(frozen=True, slots=True)
class Report:
    """What a user reads about a conversion: the most important first.

    Attributes:
        lines: A line for every leaf of the source.
        points: What differs between the source and the experiment, one entry for each block of values.
    """

    result: ConversionResult
    lines: list[Line]
    points: list[str]

    @classmethod
    def of(cls, result: ConversionResult, source: Source) -> Report:
        lines = report_lines(result, source)
        missing = [f"{_place(where)}: {what}" for where, what in result.missing + result.lacking]
        refused = [text for is_refused, text in result.weights if is_refused]
        points = blocks(line for line in lines if line.status in ("unsupported", "changed"))
        return cls(result, lines, missing + points + refused)

    @property
    def headline(self) -> str:
        """Whether the experiment is that of the source, in one sentence."""
        text = f"the same but for {_count(len(self.points), 'point')}" if self.points else "the same experiment"
        return text + (f", with {_count(len(self.result.needed), 'value')} to fill in" if self.result.needed else "")

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Yield title and entries of the parts that need the attention of the user."""
        yield "What differs", self.points
        yield "Values to fill in", [f"{key}=...  {why}" for key, why in self.result.needed.items()]
        yield "Weights", [text for is_refused, text in self.result.weights if not is_refused]
        yield "Pitfalls in the source", [f"{_place(where)}: {what}" for where, what in self.result.pitfalls]

    def console(self) -> Iterator[str]:
        """Yield the report for a terminal."""
        yield self.headline
        for title, entries in self.sections():
            if entries:
                yield from ("", f"{title}:", *(f"  {entry}" for entry in entries))

    def markdown(self, name: str, command: str) -> str:
        """Return the whole report, of the config ``name``."""
        page = [f"# {name} in vexp", "", f"**{self.headline}**", "", "```bash",
                command.replace("vexp train", "vexp plan", 1), command, "```", ""]  # fmt: skip
        for title, entries in (
            *self.sections(),
            ("Defaults of mmaction2 that differ from vexp's", self.result.implied),
        ):
            page += [f"## {title}", "", *(f"- {entry}" for entry in entries), ""] if entries else []
        page += ["## Line by line", "", self.summary, ""]
        for file in dict.fromkeys(line.where.file for line in self.lines):
            page += [f"### {file}", "", "| line | source | vexp | |", "|---|---|---|---|"]
            for line in (line for line in self.lines if line.where.file == file):
                cells = [cell.replace("|", "\\|") for cell in (f"`{line.source}`", line.outcome, line.remark)]
                page.append(f"| {line.where.line} | {' | '.join(cells)} |")
            page.append("")
        return "\n".join(page)

    @property
    def summary(self) -> str:
        """The number of leaves by outcome."""
        counts = Counter(line.status for line in self.lines)
        parts = [f"{counts[status]} {name}" for status, name in STATUSES.items() if counts[status]]
        return f"{len(self.lines)} values of the source: " + "; ".join(parts)


#: More values of a block are counted instead of named.
_NAMED = 2


def blocks(lines: Iterable[Line]) -> list[str]:
    """Return an entry for each run of lines with the same remark, such as those of a dict that is not supported."""
    entries = []
    for (_, _, remark), run in groupby(lines, key=lambda line: (line.where.file, line.status, line.remark)):
        block = list(run)
        if len(block) == 1 or not remark:
            entries += [f"{_place(line.where)}: {line}" for line in block]
            continue
        paths = [re.split(r"\.(?![^\[\]]*'\])|(?=\[)", line.path) for line in block]
        common = ".".join(
            parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
        )
        what = f"{common.replace('.[', '[') or f'{block[0].path}, ...'} ({len(block)} values)"
        if len(block) <= _NAMED:
            what = ", ".join(line.path for line in block)
        entries.append(f"{_place(block[0].where)}: {what} -> {block[0].outcome} ({remark})")
    return entries


def model_differences(result: ConversionResult) -> list[str]:
    """List what the config says about the model, its head, norm and loss that vexp cannot build."""
    missing = [f"{_place(where)}: {what}" for where, what in result.missing]
    found: list[Line] = []
    model = result.config.get("model")
    for path, leaf in model.leaves("model") if model is not None else ():
        outcome = result.outcomes[id(leaf)]
        if outcome.status == "unsupported" and not _NOT_THE_MODEL.search(path):
            value = _short(leaf.value) if isinstance(leaf, ScalarNode) else "..."
            found.append(Line(leaf.where, path, value, outcome.status, [], "; ".join(outcome.remarks)))
    return missing + [entry.replace(f"-> {STATUSES['unsupported']} ", "") for entry in blocks(found)]


#: Arguments of a model that do not change what is built: weights, tests, and what mmaction2 shows.
_NOT_THE_MODEL = re.compile(
    r"^model\.(train_cfg|test_cfg|data_preprocessor)\b|\b(pretrained|init_cfg|average_clips|channel_map|init_scale|init_std|label_smooth_eps)\b"
)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _place(where: Where) -> str:
    return f"{where.file.name}:{where.line}"


def _short(value: Any, limit: int = 70) -> str:
    text = format_value(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."

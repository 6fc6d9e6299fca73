"""The experiment as YAML, and the report with a line for every leaf of the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from vexp.core.errors import format_value
from vexp.tools.mmaction2.config_file import Source
from vexp.tools.mmaction2.result import STATUSES, ConversionResult
from vexp.tools.mmaction2.tree import ScalarNode, Where


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
        targets = ", ".join(self.targets) if self.status in ("carried", "changed") else ""
        return targets or STATUSES[self.status]

    def __str__(self) -> str:
        return f"{self.source} -> {self.outcome}" + (f" ({self.remark})" if self.remark else "")


def report_lines(result: ConversionResult, source: Source) -> list[Line]:
    """Return a line for every leaf, sorted by file and line."""
    lines = []
    for path, leaf in source.lines():
        outcome = result.outcomes[id(leaf)]
        value = _short(leaf.value) if isinstance(leaf, ScalarNode) else "empty"
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
        f"# {source.path.name} of mmaction2 {'1.x' if result.generation else '0.x'}, by vexp import; the .md "
        "file beside it lists the outcome of every line.",
        "defaults:",
    ]
    for split, steps in result.steps.items():
        head += [f"  - /transform@pipeline.{split}.{name}: {option}" for name, option in steps.items()]
    head += ["  - _self_", "  - override /pipeline: null"]
    head += [f"  - override /{group}: {option}" for group, option in result.choices.items()]
    tree: dict[str, Any] = {}
    groups = {group: index for index, group in enumerate(_GROUPS)}
    for key in sorted(result.values, key=lambda key: groups.get(key.partition(".")[0], -1)):
        node, (*above, name) = tree, key.split(".")
        for part in above:
            node = node.setdefault(part, {})
        node[name] = result.values[key].value
    body = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
    return "\n".join(head) + "\n" + (body if tree else "")


def markdown(result: ConversionResult, source: Source, command: str) -> str:
    """Return the report as Markdown."""
    lines = report_lines(result, source)
    page = [f"# {source.path.name} in vexp", "", "```bash", command, "```", "", summary(lines), ""]
    for title, entries in (
        ("Pitfalls in the source", [f"{_place(where)}: {what}" for where, what in result.pitfalls]),
        *((STATUSES[status].capitalize(), [f"{_place(line.where)}: {line}" for line in lines if line.status == status])
          for status in ("unsupported", "changed")),
        ("Defaults of mmaction2 that differ from vexp's", result.implied),
    ):  # fmt: skip
        page += [f"## {title}", "", *(f"- {entry}" for entry in entries), ""] if entries else []
    page += ["## Line by line", ""]
    for file in dict.fromkeys(line.where.file for line in lines):
        page += [f"### {file}", "", "| line | source | vexp | |", "|---|---|---|---|"]
        for line in (line for line in lines if line.where.file == file):
            cells = [cell.replace("|", "\\|") for cell in (f"`{line.source}`", line.outcome, line.remark)]
            page.append(f"| {line.where.line} | {' | '.join(cells)} |")
        page.append("")
    return "\n".join(page)


def console(result: ConversionResult, source: Source) -> Iterator[str]:
    """Yield the report for a terminal, with the most important lines last."""
    lines = report_lines(result, source)
    last = {status: [f"{_place(line.where)}  {line}" for line in lines if line.status == status]
            for status in ("changed", "unsupported")}  # fmt: skip
    yield from (f"{_place(line.where)}  {line}" for line in lines if line.status not in last)
    for title, entries in (
        ("defaults of mmaction2 that differ from vexp's", result.implied),
        *((STATUSES[status], entries) for status, entries in last.items()),
        ("pitfalls in the source", [f"{_place(where)}  {what}" for where, what in result.pitfalls]),
    ):
        if entries:
            yield from ("", f"{title}:", *(f"  {entry}" for entry in entries))
    yield from ("", summary(lines))


def summary(lines: list[Line]) -> str:
    """Return the number of leaves by outcome."""
    counts = Counter(line.status for line in lines)
    parts = [f"{counts[status]} {name}" for status, name in STATUSES.items() if counts[status]]
    return f"{len(lines)} values of the source: " + "; ".join(parts)


def _place(where: Where) -> str:
    return f"{where.file.name}:{where.line}"


def _short(value: Any, limit: int = 70) -> str:
    text = format_value(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."

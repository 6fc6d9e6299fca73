"""The experiment as YAML, and the report with a line for every leaf of the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vexp.core.errors import format_value
from vexp.tools.mmaction2.config_file import Source
from vexp.tools.mmaction2.rules import STATUSES, ConversionResult
from vexp.tools.mmaction2.tree import ScalarNode, Where


@dataclass(frozen=True, slots=True)
class Line:
    """One leaf of the source and its outcome; ``targets`` are the keys and options of vexp."""

    where: Where
    path: str
    value: str
    status: str
    targets: list[str]
    note: str


def report_lines(result: ConversionResult, source: Source) -> list[Line]:
    """Return a line for every leaf, sorted by file and line."""
    lines = []
    for path, leaf in source.lines():
        outcome = result.outcomes[id(leaf)]
        value = _short(format_value(leaf.value)) if isinstance(leaf, ScalarNode) else "empty"
        targets = [
            f"{t}={_short(format_value(result.values[t].value))}" if t in result.values else t for t in outcome.targets
        ]
        note = "; ".join(outcome.notes)
        lines.append(Line(leaf.where, path, value, outcome.status, targets, note))
    order = {path: i for i, path in enumerate(dict.fromkeys([source.path, *(line.where.file for line in lines)]))}
    return sorted(lines, key=lambda line: (order[line.where.file], line.where.line))


def experiment_yaml(result: ConversionResult, source: Source) -> str:
    """Return the content of ``conf/experiment/NAME.yaml``: steps, values and options."""
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
    nested: dict[str, Any] = {}
    for key in sorted(result.values, key=_order):
        _put(nested, key.split("."), result.values[key].value)
    body = yaml.safe_dump(nested, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
    return "\n".join(head) + "\n" + (body if nested else "")


_GROUPS = (
    "data", "pipeline", "img_norm", "blending", "model", "loss", "optimizer", "lr_policy", "grad", "amp", "ema", "eval",
    "checkpoint", "log",
)  # fmt: skip


def _order(key: str) -> tuple[int, int]:
    """Sort root keys first, then groups in the order of the data flow, then by the order in the source."""
    group = key.partition(".")[0]
    return (_GROUPS.index(group) + 1 if group in _GROUPS else 0, 0)


def _put(nested: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        nested = nested.setdefault(part, {})
    nested[path[-1]] = value


def markdown(result: ConversionResult, source: Source, command: str) -> str:
    """Return the report as Markdown."""
    lines = report_lines(result, source)
    page = [f"# {source.path.name} in vexp", "", "```bash", command, "```", "", summary(lines), ""]
    page += _section("Pitfalls in the source", [f"{_place(where)}: {what}" for where, what in result.pitfalls])
    for status in ("unsupported", "changed"):
        chosen = [f"{_place(line.where)}: {text(line)}" for line in lines if line.status == status]
        page += _section(STATUSES[status].capitalize(), chosen)
    page += _section("Defaults of mmaction2 that differ from vexp's", result.implied)
    page += ["## Line by line", ""]
    for file in dict.fromkeys(line.where.file for line in lines):
        page += [f"### {file}", "", "| line | source | vexp | |", "|---|---|---|---|"]
        for line in (line for line in lines if line.where.file == file):
            cells = (f"`{line.path} = {line.value}`" if line.path else f"`{line.value}`", _here(line), line.note)
            page.append(f"| {line.where.line} | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        page.append("")
    return "\n".join(page)


def console(result: ConversionResult, source: Source) -> Iterator[str]:
    """Yield the report for a terminal, with the most important lines last."""
    lines = report_lines(result, source)
    for line in lines:
        if line.status not in ("unsupported", "changed"):
            yield f"{_place(line.where)}  {text(line)}"
    for title, chosen in (
        ("defaults of mmaction2 that differ from vexp's", result.implied),
        *((STATUSES[status], [f"{_place(line.where)}  {text(line)}" for line in lines if line.status == status])
          for status in ("changed", "unsupported")),
        ("pitfalls in the source", [f"{_place(where)}  {what}" for where, what in result.pitfalls]),
    ):  # fmt: skip
        if chosen:
            yield ""
            yield f"{title}:"
            yield from (f"  {entry}" for entry in chosen)
    yield ""
    yield summary(lines)


def summary(lines: list[Line]) -> str:
    """Return the number of leaves by outcome."""
    counts = Counter(line.status for line in lines)
    parts = [f"{counts[status]} {name}" for status, name in STATUSES.items() if counts[status]]
    return f"{len(lines)} values of the source: " + "; ".join(parts)


def text(line: Line) -> str:
    """Format a line of the report."""
    source = f"{line.path} = {line.value}" if line.path else line.value
    return f"{source} -> {_here(line)}" + (f" ({line.note})" if line.note else "")


def _here(line: Line) -> str:
    if line.targets and line.status in ("carried", "changed"):
        return ", ".join(line.targets)
    return STATUSES[line.status]


def _section(title: str, entries: list[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {entry}" for entry in entries), ""] if entries else []


def _place(where: Where) -> str:
    return f"{Path(where.file).name}:{where.line}"


def _short(text: str, most: int = 70) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."

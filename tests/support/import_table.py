"""The table of docs/howto/migrate_mmaction2.md: what becomes of the configs of the tests.

python -m support.import_table      (in tests/) writes it; a test fails while it is out of date.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from support.imported import ALL, CONFIGS, convert_source
from support.paths import ROOT
from vexp.core.errors import UserError
from vexp.tools.mmaction2.config_file import read_config
from vexp.tools.mmaction2.report import Report, model_differences

PAGE = ROOT / "docs" / "howto" / "migrate_mmaction2.md"
BEGIN, END = "<!-- table of the tests' configs -->\n", "<!-- end of the table -->\n"
#: Paths of configs of 1.x.
GENERATION_1 = re.compile(r"/v1/|stgcn|ava21")
_KINDS = ("the same", "points", "refused", "traceback")


def outcomes() -> Iterator[tuple[str, str, str, str]]:
    """Yield the version of mmaction2, the backbone, the outcome and the reason of a refusal of every config."""
    for path in (*ALL, *sorted(CONFIGS.glob("refused/*.py"))):
        backbone, version = path.stem, ""
        try:
            source = read_config(path)
            version = "1.x" if GENERATION_1.search(path.as_posix()) else "0.x"
            backbone = source.config.text("model", "backbone", "type").partition(".")[0]
            result = convert_source(source)
            if differences := model_differences(result):
                reasons = (difference.partition(": ")[2] for difference in differences)
                yield version, backbone, "refused", "; ".join(reasons)
                continue
            same = Report.of(result, source).headline.startswith("the same experiment")
            yield version, backbone, "the same" if same else "points", ""
        except UserError as error:
            yield version, backbone, "refused", re.sub(r"^\S+: (refused: )?", "", str(error))
        except Exception as error:
            yield version, backbone, "traceback", repr(error)


def table() -> str:
    """Return the table, a row for each backbone and version."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    reasons: dict[tuple[str, str], list[str]] = {}
    for version, backbone, kind, reason in outcomes():
        counts.setdefault((backbone, version), Counter())[kind] += 1
        reasons.setdefault((backbone, version), []).extend([reason] if reason else [])
    head = "| `backbone` | mmaction2 | configs | the same | the same but for points | refused | tracebacks |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for backbone, version in sorted(counts):
        row = counts[backbone, version]
        why = "; ".join(reasons[backbone, version])
        same, points, refused, tracebacks = (row[kind] for kind in _KINDS)
        refusals = f"{refused}: {why}" if why else str(refused)
        lines.append(f"| `{backbone}` | {version} | {row.total()} | {same} | {points} | {refusals} | {tracebacks} |")
    total: Counter[str] = sum(counts.values(), Counter())
    lines.append(f"| all | both | {total.total()} | " + " | ".join(str(total[kind]) for kind in _KINDS) + " |")
    return "\n".join(lines) + "\n"


def written() -> str:
    """Return the table in the page."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    page = PAGE.read_text()
    PAGE.write_text(page.replace(BEGIN + written(), BEGIN + table()))

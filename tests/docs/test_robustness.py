"""The page of damaged and hostile input names every fault once, and tests that exist."""

from __future__ import annotations

import re

from support.paths import ROOT

PAGE = (ROOT / "docs" / "explanation" / "robustness.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_page_lists_faults_1_to_29_once() -> None:
    numbers = [int(match[1]) for row in ROWS if (match := re.fullmatch(r"F(\d+)", row[0]))]
    assert sorted(numbers) == list(range(1, 30))


def test_rows_name_tests_that_exist() -> None:
    tested = [row for row in ROWS if not row[-1].startswith(("Test", "---"))]
    assert len(tested) > 50
    for row in tested:
        names = TEST.findall(row[-1])
        assert names, row
        for file, name in names:
            assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (file, name)

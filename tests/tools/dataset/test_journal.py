"""The journal keeps complete records after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from vexp.core.errors import UserError
from vexp.tools.dataset.journal import Journal


def test_journal_resumes_without_incomplete_line(tmp_path: Path) -> None:
    target, settings = tmp_path / "index.csv", {"decode": False}
    with Journal(target, settings) as journal:
        assert journal.known == []
        journal.add({"path": "a"})
        journal.add({"path": "b é"})
    path = tmp_path / ".index.csv.journal"
    content = path.read_bytes()
    path.write_bytes(content + b'{"path": "c')
    with Journal(target, settings) as journal:
        assert journal.known == [{"path": "a"}, {"path": "b é"}]
        journal.add({"path": "d"})
    with Journal(target, settings) as journal:
        assert [record["path"] for record in journal.known] == ["a", "b é", "d"]
    with Journal(target, {"decode": True}) as journal:
        assert journal.known == []  # made with other settings
        journal.finish()
    assert not path.exists()


@pytest.mark.parametrize("cut", range(1, 30, 7))
def test_journal_truncated_anywhere(tmp_path: Path, cut: int) -> None:
    with Journal(tmp_path / "x", {}) as journal:
        for number in range(3):
            journal.add({"n": number})
    path = tmp_path / ".x.journal"
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(tmp_path / "x", {}) as journal:
        assert journal.known == [{"n": n} for n in range(len(journal.known))]
        assert len(journal.known) < 3


def test_journal_not_writable_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: "):
        Journal(tmp_path / "file/index.csv", {})

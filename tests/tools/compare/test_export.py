"""--json and --sql: the comparison for programs."""

import json
import math
import os
import re
import sqlite3
from contextlib import closing

import pytest
from support.paths import ROOT
from support.run_folders import make_run, make_sweep

from vexp.cli import compare as command
from vexp.core.errors import ConfigError, UserError
from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.config import Compare
from vexp.tools.compare.export import document, schema, write_sql
from vexp.tools.compare.runs import find_runs, read_runs

PAGE = ROOT / "docs" / "howto" / "compare.md"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return make_sweep(tmp_path_factory.mktemp("sweeps") / "sweep")


@pytest.fixture(scope="module")
def comparison(sweep):
    runs, faults = read_runs(find_runs([sweep]))
    return Comparison(runs, Compare(), faults)


def check(content):
    """Validate against the schema."""
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    validator.check_schema(schema())
    validator(schema()).validate(json.loads(json.dumps(content, allow_nan=False)))


def test_json_document_has_the_schema(comparison):
    content = document(comparison)
    check(content)
    for run, known, score in zip(content["runs"], comparison.runs, comparison.scores, strict=True):
        assert content["config"] | run["config"] == known.config
        assert (run["name"], run["status"], run["results"]) == (known.name, known.status, score.values)
        assert comparison.runs.index(known) in content["settings"][run["setting"]]["runs"]
    best = content["settings"][0]
    used = [content["runs"][i]["results"]["val/top1_acc"] for i in best["used"]]
    assert best["results"]["val/top1_acc"]["mean"] == pytest.approx(sum(used) / len(used))
    assert {run["status"] for run in content["runs"]} == {"done", "failed", "interrupted", "unfinished"}


def test_json_document_of_damaged_runs_has_the_schema(tmp_path):
    make_run(tmp_path / "a", ["seed=0"], scores=[math.nan, math.inf], error="\ud800")
    make_run(tmp_path / os.fsdecode(b"b\xff"), ["seed=1"], status=None)
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    (tmp_path / "a" / "result.json").write_text(json.dumps(result | {"seconds": math.nan}))
    runs, faults = read_runs(find_runs([tmp_path]))
    comparison = Comparison(runs, Compare(at="last"), faults)
    content = document(comparison)
    check(content)
    assert content["runs"][0]["missing"]["val/top1_acc"] == "inf at step 20"
    assert content["runs"][0]["seconds"] is None
    write_sql(tmp_path / "x.sqlite", comparison)
    with closing(sqlite3.connect(tmp_path / "x.sqlite")) as connection:
        assert connection.execute("SELECT name, seconds FROM runs").fetchall() == [("a", None), ("b?", None)]
        values = connection.execute("SELECT value FROM metrics WHERE run = 0 AND key = 'val/top1_acc'").fetchall()
    assert values == [(None,), (math.inf,)]


def test_schema_documents_every_field():
    """The page names every field of the document, and every property but the plain ones has a description."""
    text = PAGE.read_text()
    assert [name for name in schema()["properties"] if f"`{name}`" not in text] == []
    runs, settings = (schema()["properties"][name]["items"]["properties"] for name in ("runs", "settings"))
    assert [name for name in [*runs, *settings] if f"`{name}`" not in text] == []


def test_sql_file_has_every_value(comparison, tmp_path):
    path = tmp_path / "runs.sqlite"
    write_sql(path, comparison)
    write_sql(path, comparison)  # replaces it
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT run, step, epoch, key, value FROM metrics").fetchall()
        lines = [
            (i, record["step"], record["epoch"], f"{record['mode']}/{name}", value)
            for i, run in enumerate(comparison.runs)
            for record in map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
            for name, value in record.items()
            if name not in ("mode", "step", "epoch") and "/" not in name
        ]
        assert sorted(rows) == sorted(lines)
        for i, run in enumerate(comparison.runs):
            assert dict(connection.execute("SELECT key, value FROM configs WHERE run = ?", [i])) == run.config
            found = dict(connection.execute("SELECT key, value FROM results WHERE run = ?", [i]))
            assert found == comparison.scores[i].values
        names = [name for (name,) in connection.execute("SELECT name FROM runs ORDER BY run")]
        assert names == [run.name for run in comparison.runs]
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_documented_queries_run(comparison, tmp_path):
    queries = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(queries) == 3
    write_sql(tmp_path / "runs.sqlite", comparison)
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as connection:
        best, means, epochs = (connection.execute(query).fetchall() for query in queries)
    top = [score.values["val/top1_acc"] for score in comparison.scores]
    done = [i for i, run in enumerate(comparison.runs) if run.status == "done"]
    assert [row[1] for row in best] == sorted((top[i] for i in done), reverse=True)[:5]
    ranked = [setting.stats["val/top1_acc"].mean for setting in comparison.settings]
    assert [row[2] for row in means] == pytest.approx(ranked)
    assert len(epochs) == len(comparison.runs)


def test_command_json_prints_only_the_document(sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main([str(sweep), "--json", "--sql", f"out={tmp_path / 'out'}"]) == 0
    check(json.loads(capsys.readouterr().out))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["runs.sqlite"]
    monkeypatch.setattr(command, "_write", lambda comparison, out: None)
    assert command.main([str(sweep), "json=made/a.json", "sql=b.sqlite"]) == 0
    check(json.loads((tmp_path / "made" / "a.json").read_text()))
    assert (tmp_path / "b.sqlite").read_bytes().startswith(b"SQLite format 3")


def test_command_refuses_json_to_standard_output_with_watch(sweep):
    with pytest.raises(ConfigError, match="--json cannot be combined with --watch"):
        command.main([str(sweep), "--json", "--watch"])


def test_command_with_unwritable_sql_file_raises(sweep, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: cannot be written: File exists$"):
        command.main([str(sweep), "--json", f"sql={tmp_path / 'file' / 'x.sqlite'}"])

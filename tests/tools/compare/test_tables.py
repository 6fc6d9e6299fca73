"""Output and files of ``vexp compare``."""

import contextlib
import csv
import html.parser
import io
import json
import math
import os
from urllib.parse import unquote

import numpy as np
import pytest
from support.run_folders import make_run, make_sweep

from vexp import compose
from vexp.cli import compare as command
from vexp.config.instantiate import to_dict
from vexp.core.errors import UserError
from vexp.tools.compare.curves import thin
from vexp.tools.compare.html_page import as_json, content, page
from vexp.tools.compare.metrics_file import Series
from vexp.tools.compare.runs import flatten, read_runs

FILES = ["comparison.md", "curves.png", "index.html", "runs.csv", "settings.csv"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return make_sweep(tmp_path_factory.mktemp("sweeps") / "sweep")


@pytest.fixture
def run_command(monkeypatch, capsys):
    """The command without curves.png, which is the slowest part."""

    def called(*arguments):
        monkeypatch.setattr(command, "plot_curves", lambda path, comparison: path.touch())
        command.main([*map(str, arguments)])
        return capsys.readouterr().out

    return called


@pytest.fixture(scope="module")
def written(sweep):
    """(the folder of the files, what was printed) of one comparison with everything."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        command.main([str(sweep)])
    return sweep / "comparison", output.getvalue()


def data_of(path):
    """Return the data in a page."""

    class Reader(html.parser.HTMLParser):
        scripts: list[tuple[str, str]] = []  # noqa: RUF012
        inside = None

        def handle_starttag(self, tag, attrs):
            if tag == "script":
                self.inside = dict(attrs).get("type", "script")

        def handle_data(self, text):
            if self.inside:
                self.scripts = [*self.scripts, (self.inside, text)]
                self.inside = None

    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert [kind for kind, _ in reader.scripts] == ["application/json", "script"]
    return json.loads(reader.scripts[0][1])


def test_make_run_config_matches_composed_config():
    """The config of a run folder from ``make_run`` equals the composed config of its overrides."""
    from support.run_folders import _config

    arguments = ["optimizer=sgd", "lr_policy=step", "seed=3", "optimizer.lr=0.01"]
    assert flatten(_config(arguments)) == flatten(to_dict(compose(arguments), types=True))


def test_command_writes_files_and_prints_summary(sweep, written, run_command):
    folder, output = written
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert output.startswith("24 runs: 21 done, 1 interrupted, 1 unfinished, 1 failed; ")
    assert "leads with val/top1_acc" in output
    assert "4 more in the files" in output
    assert f"written: {folder / 'index.html'}" in output
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert output.count("not in any mean") == 3
    markdown = (folder / "comparison.md").read_text()
    assert [line for line in markdown.splitlines() if line.startswith("#")] == [
        "# 24 runs: 21 done, 1 interrupted, 1 unfinished, 1 failed", "## Settings", "## Runs",
        "## Effect of each key on val/top1_acc", "## Notes",
    ]  # fmt: skip
    tables = [block.splitlines() for block in markdown.split("\n\n") if block.startswith("|")]
    assert all(line.count("|") == table[0].count("|") for table in tables for line in table)
    again = run_command(sweep)  # its own files are not runs
    assert again == output


def test_csv_files_contain_every_run(written):
    folder, _ = written
    with (folder / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert {row["status"] for row in rows} == {"done", "failed", "interrupted", "unfinished"}
    assert next(row for row in rows if row["status"] == "failed")["remarks"] == "loss is not finite at step 12"
    done = [
        float(r["val/top1_acc"])
        for r in rows
        if (r["optimizer"], r["lr_policy"], r["status"]) == ("sgd", "step", "done")
    ]
    with (folder / "settings.csv").open(newline="") as file:
        (stats,) = [row for row in csv.DictReader(file) if (row["optimizer"], row["lr_policy"]) == ("sgd", "step")]
    assert int(stats["val/top1_acc n"]) == len(done) == 4
    np.testing.assert_allclose(float(stats["val/top1_acc mean"]), np.mean(done), rtol=1e-14)
    np.testing.assert_allclose(float(stats["val/top1_acc std"]), np.std(done, ddof=1), rtol=1e-12)


def test_page_data_matches_csv(sweep, written):
    folder, _ = written
    data = data_of(folder / "index.html")
    with (folder / "runs.csv").open(newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert {run["name"] for run in data["runs"]} == rows.keys()
    names = [metric["name"] for metric in data["metrics"]]
    for run in data["runs"]:
        assert run["scores"] == [float(rows[run["name"]][name]) for name in names]
        assert (folder / unquote(run["href"])).resolve() == sweep / run["name"]
    config = data["config"]
    for row, run in zip(config["rows"], read_runs([sweep / run["name"] for run in data["runs"]])[0], strict=True):
        own = {key: config["values"][number] for key, number in zip(config["varying"], row, strict=True)}
        assert config["common"] | {k: v for k, v in own.items() if v is not None} == run.config
    assert sum(count for _, _, count in data["confusion"]["cells"]) == 40
    curves, top1 = data["curves"], data["curves"]["names"].index("val/top1_acc")
    steps, values = json.loads(curves["parts"][top1])["runs"][0]
    assert (json.loads(curves["steps"])[steps], len(values)) == ([10, 20, 30, 40], 4)


def test_page_needs_no_network(written):
    text = (written[0] / "index.html").read_text().replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert "/* " not in text  # every part is replaced
    assert not any(part in text for part in ("http:", "https:", "src=", "@import", "fetch("))
    assert "default-src 'none'" in text


@pytest.mark.parametrize("text", ["</script><script>alert(1)", "<!-- <script>", "]]>", "\u2028", '"\\', "\ud800"])
def test_as_json_is_safe_in_script(text):
    encoded = as_json({"name": text})
    assert "<" not in encoded
    assert json.loads(encoded) == {"name": text}


def test_page_encodes_nan_as_null(tmp_path):
    """A NaN is encoded as null with a reason, because JSON has no NaN."""
    make_run(tmp_path / "s" / "a", ["seed=0"], scores=[math.nan, math.nan])
    make_run(tmp_path / "s" / "b", ["seed=1"], scores=[0.5, math.inf])
    runs, _ = read_runs([tmp_path / "s" / "a", tmp_path / "s" / "b"])
    comparison = command.Comparison(runs, command.Compare())
    text = page(comparison, tmp_path)
    assert "NaN" not in text.partition("application/json")[2].partition("</script>")[0]
    run = content(comparison, tmp_path)["runs"][0]
    assert (run["scores"][0], run["absent"][0]) == (None, "nan at step 20")


@pytest.mark.parametrize(("n", "limit"), [(1, 40), (40, 40), (41, 40), (1000, 40), (1003, 67), (57, 56)])
def test_thin_keeps_ends_and_spikes(n, limit):
    rng = np.random.default_rng(n)
    values = rng.normal(size=n)
    values[rng.integers(0, n, n // 10)] = math.nan
    if n > 2:
        values[n // 2], values[n // 3] = 99, -99
    found = thin(Series(np.arange(n) * 3 + 1, values), limit)
    assert len(found.steps) == len(found.values) <= limit
    assert (found.steps[0], found.steps[-1]) == (1, (n - 1) * 3 + 1)
    np.testing.assert_array_equal(found.values, values[(found.steps - 1) // 3])
    assert (np.diff(found.steps) > 0).all()
    if n > 2:
        assert {99.0, -99.0} <= set(found.values.tolist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name run folders or a folder that contains them: vexp compare RUN_OR_SWEEP ..."),
        (["nowhere"], "nowhere: no such folder"),
        (["metrc=val/loss"], "metrc=val/loss: there is no option 'metrc' and no such folder; did you mean metric?"),
        (["SWEEP", "rule=up"], "rule=up: must be one of greater, less (command line)"),
        (["SWEEP", "at=first"], "at=first: must be one of best, last (command line)"),
        (["SWEEP", "metric=acc"], "metric=acc: is not recorded by any run"),
        (["SWEEP", "keys=optimizr"], "optimizr: no run has this key (over, keys)"),
        (["SWEEP", "over=[[1]]"], "over=[[1]]: must be a list, as in [a,b] (command line)"),
    ],
)
def test_command_rejects_invalid_arguments(sweep, run_command, arguments, message):
    with pytest.raises(UserError) as refused:
        run_command(*(sweep if argument == "SWEEP" else argument for argument in arguments))
    assert str(refused.value).startswith(message)


def test_command_accepts_folder_named_like_override(tmp_path, run_command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        make_run(tmp_path / f"seed={seed}", [f"seed={seed}"])
    assert run_command("seed=0", "seed=1").startswith("2 runs: 2 done")
    assert sorted(path.name for path in (tmp_path / "comparison").iterdir()) == FILES


def test_command_with_name_that_is_not_utf8(tmp_path, run_command):
    folder = tmp_path / os.fsdecode(b"s\xff")
    for seed in (0, 1):
        make_run(folder / os.fsdecode(b"\xe9-%d" % seed), [f"seed={seed}"])
    assert "2 runs: 2 done" in run_command(folder, f"out={tmp_path / 'out'}")
    runs = data_of(tmp_path / "out" / "index.html")["runs"]
    assert [run["name"] for run in runs] == ["?-0", "?-1"]
    assert runs[0]["href"] == "../s%FF/%E9-0/"


def test_command_with_unwritable_out_folder_raises(sweep, run_command, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: Not a directory; set out=FOLDER"):
        run_command(sweep, f"out={tmp_path / 'file' / 'x'}")


def test_help_names_every_option():
    output = command.COMMAND.help()
    assert all(
        f"  {name}" in output for name in ("metric", "rule", "at", "over", "keys", "out", "--watch", "json", "sql")
    )

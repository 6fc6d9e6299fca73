"""--watch: what is read and written again while runs appear, go on, end and vanish."""

import json
import shutil
import time

import pytest
from support.run_folders import make_run

from vexp.cli import compare as command
from vexp.core.errors import ConfigError, UserError
from vexp.tools.compare import runs as run_folders
from vexp.tools.compare import watch as watching
from vexp.tools.compare.config import Compare
from vexp.tools.compare.runs import NothingYetError
from vexp.tools.compare.watch import LIVE_FILES, Watch


def record(step, top1, mode="val"):
    return json.dumps({"mode": mode, "step": step, "epoch": step // 10, "top1_acc": top1, "loss": 1.0}) + "\n"


def append(run, text):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(text)


def called(path):
    """The argument of the function that a script calls."""
    name, _, argument = path.read_text().partition("(")
    return name, json.loads(argument.rstrip(";\n)"))


def page_data(out):
    """The data that an open page loads, which are those in the page."""
    name, text = called(out / LIVE_FILES[1])
    assert name == "vexpData"
    assert (
        json.dumps(json.loads(text), separators=(",", ":")).replace("<", "\\u003c") in (out / "index.html").read_text()
    )
    return json.loads(text)


@pytest.fixture
def parsed(monkeypatch):
    """The config files that have been read."""
    read, original = [], run_folders.read_config
    monkeypatch.setattr(run_folders, "read_config", lambda path: read.append(path.parent.name) or original(path))
    return read


def test_refresh_follows_runs_that_change_appear_end_and_vanish(tmp_path, parsed):
    place, out = tmp_path / "s", tmp_path / "out"
    first = make_run(place / "a", ["seed=0"], scores=[0.5], status=None)
    watch = Watch([place], Compare(), out)
    assert [run.status for run in watch.refresh().runs] == ["unfinished"]
    stamp = called(out / LIVE_FILES[0])[1]
    assert watch.refresh() is None  # nothing has changed
    assert called(out / LIVE_FILES[0])[1] == stamp | {"beat": 2, "time": called(out / LIVE_FILES[0])[1]["time"]}

    append(first, record(20, 0.75))
    comparison = watch.refresh()
    assert comparison.scores[0].values["val/top1_acc"] == 0.75
    assert called(out / LIVE_FILES[0])[1]["round"] == page_data(out)["live"]["round"] == 2

    make_run(place / "b", ["seed=1"], scores=[0.25, 0.5])
    (first / "result.json").write_text(json.dumps({"status": "done", "step": 20}))
    assert [run.status for run in watch.refresh().runs] == ["done", "done"]
    assert page_data(out)["settings"][0]["stats"][0] == {"n": 2, "mean": 0.625, "std": pytest.approx(0.17677669)}
    assert parsed == ["a", "b"]  # each once

    shutil.rmtree(first)
    assert [run.name for run in watch.refresh().runs] == ["b"]
    assert page_data(out)["title"] == "1 runs: 1 done"
    (place / "b" / "config.yaml").write_text("a: [1")
    with pytest.raises(NothingYetError, match=r"config\.yaml cannot be read"):
        watch.refresh()
    shutil.rmtree(place)
    with pytest.raises(UserError, match="no such folder"):
        watch.refresh()
    make_run(place / "c", ["seed=2"], scores=[0.5])
    assert [run.name for run in watch.refresh().runs] == ["c"]
    watch.end()
    assert called(out / LIVE_FILES[0])[1]["ended"]


def test_refresh_reads_resumed_run_again(tmp_path):
    run = make_run(tmp_path / "s" / "a", ["seed=0"], scores=[0.5, 0.75], status=None)
    watch = Watch([tmp_path / "s"], Compare(), tmp_path / "out")
    watch.refresh()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "new").write_text("".join(lines[:11]))  # resumed from the first checkpoint
    (run / "new").replace(run / "metrics.jsonl")
    assert watch.refresh().scores[0].values["val/top1_acc"] == 0.5


@pytest.fixture
def stepped(monkeypatch):
    """Do something instead of each pause; Ctrl-C after the last one."""

    def start(*actions):
        left = list(actions)

        def sleep(seconds):
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr(watching.time, "sleep", sleep)

    return start


def test_command_watches_until_interrupted(tmp_path, stepped, capsys):
    place, out = tmp_path / "s", tmp_path / "out"
    place.mkdir()
    stepped(
        lambda: make_run(place / "a", ["seed=0"], scores=[0.5], status=None),
        lambda: append(place / "a", record(20, 0.75)),
        lambda: None,
        lambda: shutil.rmtree(place),
        lambda: None,
        lambda: make_run(place / "b", ["seed=1"], scores=[0.25]),
    )
    assert command.main([str(place), "--watch", "every=0.1", f"out={out}", "json=" + str(out / "c.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [text[9:] for text in lines[1:]] == [
        f"waiting: {place}: contains no run folder (a folder with config.yaml)",
        "1 runs: 1 unfinished; No finished run has a finite val/top1_acc yet.",
        f"waiting: {place}: no such folder; specify run folders, or a folder that contains them",
        "1 runs: 1 done; val/top1_acc 0.2500 (1 run, higher is better)",
    ]
    assert sorted(path.name for path in out.iterdir()) == ["c.json", "index.data.js", "index.html", "index.live.js"]
    assert json.loads((out / "c.json").read_text())["runs"][0]["name"] == "b"
    assert called(out / LIVE_FILES[0])[1]["ended"]
    command.main([str(place), f"out={out}"])
    assert not (out / LIVE_FILES[0]).exists()
    assert "index.live.js" in (out / "index.html").read_text()  # in the script
    assert "'self'" not in (out / "index.html").read_text()  # but it is not allowed to load it


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["SWEEP", "metric=acc"], "metric=acc: is not recorded"),
        (["SWEEP", "every=0"], "every=0.0: must be > 0"),
    ],
)
def test_command_watch_refuses_mistakes_at_once(tmp_path, stepped, arguments, error):
    make_run(tmp_path / "s" / "a", ["seed=0"], scores=[0.5])
    stepped()
    with pytest.raises((UserError, ConfigError)) as refused:
        command.main([argument.replace("SWEEP", str(tmp_path / "s")) for argument in [*arguments, "--watch"]])
    assert error in str(refused.value)


def test_watch_uses_at_most_a_quarter_of_the_time(tmp_path, monkeypatch):
    slept, clock = [], iter([0.0, 10.0])

    def sleep(seconds):
        slept.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock, 10.0))
    make_run(tmp_path / "s" / "a", ["seed=0"], scores=[0.5])
    watching.watch(Watch([tmp_path / "s"], Compare(every=5), tmp_path / "out"), lambda _: None, lambda _: None)
    assert slept == [30.0]

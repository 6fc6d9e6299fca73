"""The text log: its lines with their units, on the terminal and in log.txt."""

import io
import logging
import re

import pytest
from rich.console import Console

from vexp.core.log import log_to_console
from vexp.tracking.console import RunLog, progress_text, result_line, train_line

LOGGER = logging.getLogger("vexp.test")
STAMP = r"\d\d:\d\d:\d\d "


def train_record(**values):
    return {
        "mode": "train", "step": 70, "epoch": 3, "lr": 0.09, "loss": 1.23456, "top1_acc": 0.5, "time/step": 0.21,
        "time/data": 0.0063, "time/clips_per_s": 76.19,
    } | values  # fmt: skip


# ---- lines ----


@pytest.mark.parametrize(
    ("values", "left", "line"),
    [
        (
            {},
            61,
            "epoch 3/12 step 70/360 | loss 1.235 top1_acc 0.5 | lr 0.09 | 0.21 s/step, 76.2 clips/s, "
            "3% waiting for data | 1:01 left",
        ),
        (
            {"grad_norm": 12.34, "loss_scale": 65536.0, "skipped_steps": 12345},  # counts in full
            3725.4,
            "epoch 3/12 step 70/360 | loss 1.235 top1_acc 0.5 grad_norm 12.34 loss_scale 65536 skipped_steps 12345 | "
            "lr 0.09 | 0.21 s/step, 76.2 clips/s, 3% waiting for data | 1:02:05 left",
        ),
        (
            {
                "lr": 1e-05,
                "lr/base": 1e-05,
                "lr/head": 0.0001234567,
                "loss": float("nan"),
                "time/data": 0.21,
                "time/clips_per_s": 1234.5,
            },
            0.4,
            "epoch 3/12 step 70/360 | loss nan top1_acc 0.5 | lr 1e-05 (1e-05 to 0.0001235 in 2 groups) | "
            "0.21 s/step, 1234 clips/s, 100% waiting for data | 0:00 left",
        ),
        (
            {"time/tflops": 35.12, "time/mfu": 0.1123, "time/share_of_step_alone": 0.931},
            61,
            "epoch 3/12 step 70/360 | loss 1.235 top1_acc 0.5 | lr 0.09 | 0.21 s/step, 76.2 clips/s, "
            "35.1 TFLOP/s (11% MFU), 93% of the step alone, 3% waiting for data | 1:01 left",
        ),
        (
            {"time/step": 12.3456, "time/data": 0.0, "time/clips_per_s": 0.6789, "loss": 3e12},
            86400,
            "epoch 3/12 step 70/360 | loss 3e+12 top1_acc 0.5 | lr 0.09 | 12.3 s/step, 0.679 clips/s, "
            "0% waiting for data | 24:00:00 left",
        ),
    ],
)
def test_train_line(values, left, line):
    assert train_line(train_record(**values), epochs=12, total_steps=360, seconds_left=left) == line


def test_progress_text():
    assert progress_text(train_record()) == "training"
    assert progress_text(train_record(**{"time/tflops": 0.0123})) == "training, 12.3 GFLOP/s"


def test_result_line():
    record = {
        "mode": "val", "step": 60, "epoch": 3, "top5_acc": 1.0, "top1_acc": 0.875, "mean_class_accuracy": 0.8512345,
        "loss": 0.41, "time/eval": 2.149,
    }  # fmt: skip
    what, values = (
        "(128 videos, 1 clip x 1 crop) best so far",
        "top1_acc 0.875 loss 0.41 top5_acc 1 mean_class_accuracy 0.8512 | 2.1 s",
    )
    assert result_line(record, within=False, what=what) == f"val after epoch 3 {what}: {values}"
    assert result_line(record, within=True, what=what) == f"val after step 60, in epoch 3 {what}: {values}"


# ---- where they go ----

LINES = [
    "a line",
    "[bold]brackets[/bold] and [0.1,0.2]",  # no markup
    "/videos/:dog:/a:100:b.mp4",  # no emoji
    "x" * 300,  # not broken
    "видео 日本",
    "number 12345, 'text', path /a/b, url http://x",  # not coloured
]


@pytest.fixture
def plain_environment(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("plain_environment")
def test_run_log_writes_the_same_lines_to_terminal_and_file(tmp_path, capsys):
    with RunLog(tmp_path / "log.txt") as log:
        for line in LINES:
            LOGGER.info(line)
        log.write_to_file("only in the file\n")
        assert (tmp_path / "log.txt").read_text(encoding="utf-8").count("\n") == len(LINES) + 1  # written at once
    shown = capsys.readouterr().out
    for text in (shown, (tmp_path / "log.txt").read_text(encoding="utf-8").removesuffix("only in the file\n")):
        assert [re.sub("^" + STAMP, "", line) for line in text.splitlines()] == LINES
        assert all(re.match(STAMP, line) for line in text.splitlines())
        assert "\x1b" not in text


@pytest.mark.usefixtures("plain_environment")
def test_progress_bar_needs_a_terminal(tmp_path, capsys):
    with RunLog(tmp_path / "log.txt") as log:
        log.start_progress(0, 10)
        log.advance(steps=1)
        log.advance("evaluating")
        LOGGER.info("a line")
        log.stop_progress()
    shown = capsys.readouterr().out
    assert re.fullmatch(STAMP + "a line\n", shown)


def test_progress_bar_is_below_the_lines(tmp_path):
    screen = io.StringIO()
    with RunLog(tmp_path / "log.txt") as log:
        log.console = Console(file=screen, force_terminal=True, width=100, soft_wrap=True, highlight=False)
        log.start_progress(3, 10)
        log.advance(steps=2)
        LOGGER.info("a line")
        log.advance("evaluating")
        log.stop_progress()
        log.stop_progress()  # once more does no harm
    shown = screen.getvalue()
    assert re.search(STAMP + "a line", shown)
    assert "evaluating" in shown
    assert "5/10" in shown
    assert "\x1b" not in (tmp_path / "log.txt").read_text()


def test_run_log_appends(tmp_path):
    for text in ("first", "second"):
        with RunLog(tmp_path / "log.txt") as log:
            log.write_to_file(text)
    assert (tmp_path / "log.txt").read_text() == "first\nsecond\n"


def test_run_log_escapes_names_that_are_not_utf8(tmp_path):
    with RunLog(tmp_path / "log.txt") as log:
        log.write_to_file("caf\udce9.mp4")
    assert (tmp_path / "log.txt").read_text() == "caf\\udce9.mp4\n"


def test_run_log_prefixes_warnings_and_drops_records_outside_of_the_block(tmp_path, capsys):
    with RunLog(tmp_path / "log.txt"):
        LOGGER.warning("careful")
        LOGGER.debug("details")
    LOGGER.info("later")
    assert re.fullmatch(STAMP + "warning: careful\n", (tmp_path / "log.txt").read_text())
    assert re.fullmatch(STAMP + "warning: careful\n", capsys.readouterr().out)


def test_run_log_replaces_the_handlers_of_a_command(tmp_path, capsys):
    """A run within a command prints each line once."""
    with log_to_console(), RunLog(tmp_path / "log.txt"):
        LOGGER.info("a line")
    assert capsys.readouterr().out.count("a line") == 1


def test_run_log_without_a_path_is_silent(capsys):
    """The processes of a run beside the main one."""
    with RunLog(None):
        LOGGER.warning("careful")
    assert capsys.readouterr() == ("", "")

"""Control characters of foreign names do not reach the terminal."""

from __future__ import annotations

import io
import logging

import pytest

from vexp.core.log import EscapedStream, escape_controls, escaped_output, log_to_console

TITLE = "\x1b]0;title\x07"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 日本\tand\nlines\r", "plain, é, 日本\tand\nlines\r"),
        (TITLE, r"\x1b]0;title\x07"),
        ("\x1b[2J\x9b2J\x00\x7f", r"\x1b[2J\x9b2J\x00\x7f"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("a\udcff\ud800", r"a\udcff\ud800"),
    ],
)
def test_escape_controls_keeps_text_only(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


def test_escaped_stream_keeps_styles_on_a_terminal_only() -> None:
    text = "\x1b[1;32mgreen\x1b[0m\x1b[2K\x1b[1A" + TITLE
    for stream, styled in (
        (Terminal(), text.removesuffix(TITLE)),
        (io.StringIO(), escape_controls(text[: -len(TITLE)])),
    ):
        assert EscapedStream(stream).write(text) == len(text)
        assert stream.getvalue() == styled + r"\x1b]0;title\x07"


def test_prints_and_log_records_of_a_command_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with escaped_output(), log_to_console():
        print(TITLE)
        logging.getLogger("vexp").warning(TITLE)
    assert capsys.readouterr().out == "\\x1b]0;title\\x07\nwarning: \\x1b]0;title\\x07\n"

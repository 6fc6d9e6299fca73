"""Small files written whole or not at all, leftovers of killed processes, and what a full disk has to say."""

import errno
import os
import re

import pytest

from vexp.core.errors import UserError
from vexp.core.files import (
    atomic_directory,
    atomic_write,
    ensure_writable_dir,
    format_bytes,
    remove_temp_files,
    write_error_message,
    write_text,
)


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")

    def write_half():
        with atomic_write(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_leftovers_of_killed_processes_go_and_nobody_elses_files(tmp_path):
    names = [".last.pth.123.tmp", ".manifest.json.9.tmp", "last.pth", ".hidden.tmp", "notes.tmp", ".a.b.tmp"]
    for name in names:
        (tmp_path / name).write_text("")
    assert remove_temp_files(tmp_path) == [".last.pth.123.tmp", ".manifest.json.9.tmp"]
    assert sorted(os.listdir(tmp_path)) == sorted(names[2:])
    assert remove_temp_files(tmp_path / "nowhere") == []
    (tmp_path / ".frames.7.tmp").mkdir()
    (tmp_path / ".frames.7.tmp" / "1.jpg").write_text("")
    assert remove_temp_files(tmp_path) == [".frames.7.tmp"]


def test_a_folder_that_takes_no_files_is_refused_by_name(tmp_path, monkeypatch):
    ensure_writable_dir(tmp_path / "a" / "b", "set out=FOLDER")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/x: files cannot be written there: Not a directory; set out=FOLDER"):
        ensure_writable_dir(tmp_path / "file" / "x", "set out=FOLDER")
    monkeypatch.setattr(os, "access", lambda *_: False)  # a test that root runs meets no permission
    with pytest.raises(UserError, match=r"a: files cannot be written there: Permission denied; set out=FOLDER"):
        ensure_writable_dir(tmp_path / "a", "set out=FOLDER")


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "a" / "frames"

    def write(name, fails=False):
        with atomic_directory(path) as temporary:
            (temporary / name).write_text("")
            assert not (path / name).exists()
            if fails:
                raise KeyboardInterrupt

    write("1.jpg")
    with pytest.raises(KeyboardInterrupt):
        write("2.jpg", fails=True)
    assert os.listdir(path) == ["1.jpg"]
    write("3.jpg")  # takes the place of what was there
    assert os.listdir(path) == ["3.jpg"]
    assert os.listdir(tmp_path / "a") == ["frames"]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"No space left on device \(ENOSPC\); .* are free on its disk$"),
        (errno.EDQUOT, r"\(EDQUOT\); .* but a quota or limit"),
        (errno.EFBIG, r"\(EFBIG\); .* but a quota or limit"),
        (errno.EROFS, r"Read-only file system \(EROFS\)"),
    ],
)
def test_why_not_written(tmp_path, number, said):
    text = write_error_message(tmp_path / "not" / "there", OSError(number, os.strerror(number)))
    assert re.search(said, text)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e15, "3e+03 TB")]
)
def test_in_bytes(count, text):
    assert format_bytes(count) == text

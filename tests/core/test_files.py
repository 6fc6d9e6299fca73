"""Atomic writing of files and folders, temporary files of killed processes, and messages of write errors."""

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


def test_atomic_write_interrupted_keeps_previous_file_only(tmp_path):
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


def test_remove_temp_files_keeps_other_files(tmp_path):
    names = [".last.pth.123.tmp", ".manifest.json.9.tmp", "last.pth", ".hidden.tmp", "notes.tmp", ".a.b.tmp"]
    for name in names:
        (tmp_path / name).write_text("")
    assert remove_temp_files(tmp_path) == [".last.pth.123.tmp", ".manifest.json.9.tmp"]
    assert sorted(os.listdir(tmp_path)) == sorted(names[2:])
    assert remove_temp_files(tmp_path / "nowhere") == []
    (tmp_path / ".frames.7.tmp").mkdir()
    (tmp_path / ".frames.7.tmp" / "1.jpg").write_text("")
    assert remove_temp_files(tmp_path) == [".frames.7.tmp"]


def test_ensure_writable_dir_rejects_unwritable_folder(tmp_path, monkeypatch):
    ensure_writable_dir(tmp_path / "a" / "b", "set out=FOLDER")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/x: files cannot be written there: Not a directory; set out=FOLDER"):
        ensure_writable_dir(tmp_path / "file" / "x", "set out=FOLDER")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root ignores the permissions of a folder
    with pytest.raises(UserError, match=r"a: files cannot be written there: Permission denied; set out=FOLDER"):
        ensure_writable_dir(tmp_path / "a", "set out=FOLDER")


def test_atomic_directory_replaces_folder_only_when_complete(tmp_path):
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
    write("3.jpg")  # replaces the folder
    assert os.listdir(path) == ["3.jpg"]
    assert os.listdir(tmp_path / "a") == ["frames"]


@pytest.mark.parametrize(
    ("number", "pattern"),
    [
        (errno.ENOSPC, r"No space left on device \(ENOSPC\); .* are free on its disk$"),
        (errno.EDQUOT, r"\(EDQUOT\); .* but a quota or limit"),
        (errno.EFBIG, r"\(EFBIG\); .* but a quota or limit"),
        (errno.EROFS, r"Read-only file system \(EROFS\)"),
    ],
)
def test_write_error_message_of_errno(tmp_path, number, pattern):
    text = write_error_message(tmp_path / "not" / "there", OSError(number, os.strerror(number)))
    assert re.search(pattern, text)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e15, "3e+03 TB")]
)
def test_format_bytes_units(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(("text", "content"), [("é\udcff", b"\xc3\xa9\xff"), ("\udcff\ud800", b"\\udcff\\ud800")])
def test_write_text_writes_surrogates(tmp_path, text, content):
    """Names of files as their bytes; JSON can hold surrogates that stand for no byte."""
    write_text(tmp_path / "a", text)
    assert (tmp_path / "a").read_bytes() == content

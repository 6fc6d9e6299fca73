"""The names of stored files."""

from __future__ import annotations

from pathlib import Path

import pytest

from vexp.core.errors import UserError
from vexp.data.storage import is_stored, prefix, prefix_rule
from vexp.data.storage.location import address, expand_braces, public, secrets, split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/clips.zip", "/data/clips.zip"),
        ("zip://train::/data/clips.zip", "/data/clips.zip/train"),
        ("zip://::https://host/clips.zip", "https://host/clips.zip"),
        ("tar:///a/b/::https://host/c.tar", "https://host/c.tar/a/b"),
        ("https://host/clips/", "https://host/clips"),
        ("s3://bucket/clips", "s3://bucket/clips"),
        ("file:///data/clips", "/data/clips"),
        ("$CLIPS_URL/train", "$CLIPS_URL/train"),
    ],
)
def test_prefix_of_every_notation(text: str, expected: str) -> None:
    assert prefix_rule(text) is None
    assert prefix(text) == expected


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("https://me:word@host/clips", "password or a query"),
        ("https://token@host/clips", "password or a query"),
        ("https://me:wo/rd@host/clips", "password or a query"),
        ("s3://key:word@bucket", "password or a query"),
        ("https://host/clips.zip?signature=1", "password or a query"),
        ("zip://::https://me:word@host/clips.zip", "password or a query"),
        ("https://host/a#b", "%23"),
        ("simplecache::https://host/a", "chains"),
        ("reference://a", "other file systems"),
        ("filecache://a", "other file systems"),
        ("zip://a::https://host/17", "ends in .zip"),
        ("clips.tar.gz", "compressed as a whole"),
        ("clips.tgz", "compressed as a whole"),
    ],
)
def test_prefix_rule_refuses(text: str, fragment: str) -> None:
    assert fragment in str(prefix_rule(text))


def test_split_finds_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.tar").mkdir()
    inside = f"{tmp_path}/folder.tar"
    assert split(f"{inside}/a.mp4") == ("", f"{inside}/a.mp4")
    assert split(f"{inside}/b.ZIP/c/a.mp4") == (f"{inside}/b.ZIP", "c/a.mp4")
    assert split("https://host.zip/b.tar/a.mp4") == ("https://host.zip/b.tar", "a.mp4")
    assert split("https://host.zip/a.mp4") == ("", "https://host.zip/a.mp4")
    monkeypatch.setenv("CLIPS", "https://me:word@host/b.tar/train?key=1")
    assert split("$CLIPS/a.mp4") == ("$CLIPS", "train/a.mp4")
    monkeypatch.setenv("CLIPS", "s3://bucket")
    assert split("$CLIPS/b.zip/a.mp4") == ("$CLIPS/b.zip", "a.mp4")


def test_is_stored_ordinary_path_is_not(tmp_path: Path) -> None:
    for path in ("/data/a.mp4", "/data/https://host/a.mp4", "a.tarball/b", "cost$5/a.mp4", "/data/$A/b", "C:/a.mp4"):
        assert not is_stored(path)


def test_address_quotes_names_and_keeps_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPS", "https://me:p%40ss@host/clips?key=abc")
    assert address("$CLIPS/a #1?.mp4") == "https://me:p%40ss@host/clips/a%20%231%3F.mp4?key=abc"
    assert address("https://host/50%/a%20b.mp4") == "https://host/50%25/a%20b.mp4"
    assert address("s3://bucket/a #1.mp4") == "s3://bucket/a #1.mp4"
    assert public(address("$CLIPS/a.mp4")) == "https://host/clips/a.mp4"
    assert {"me", "p%40ss", "p@ss", "abc"} <= set(secrets("$CLIPS/a.mp4"))


@pytest.mark.parametrize("value", [None, "", "word", "/data/clips", "reference://a", "simplecache::https://host"])
def test_address_variable_without_url_raises_and_hides_it(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPS", raising=False)
    if value is not None:
        monkeypatch.setenv("CLIPS", value)
    with pytest.raises(UserError, match=r"^\$CLIPS: ") as caught:
        address("$CLIPS/a.mp4")
    assert not value or value not in str(caught.value)


def test_expand_braces() -> None:
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{x,y}/{1..2}.zip") == ["x/1.zip", "x/2.zip", "y/1.zip", "y/2.zip"]
    assert expand_braces("a{b}.tar") == ["a{b}.tar"]
    for pattern in ("{0..1000000}.tar", "{5..1}.tar", "{0..999}{0..999}.tar"):
        with pytest.raises(UserError):
            expand_braces(pattern)

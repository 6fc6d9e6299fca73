"""Random access to archives, sound and hostile ones."""

from __future__ import annotations

import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from data.storage.conftest import forget
from support.archives import write_entries, write_shards, write_tar, write_zip

from vexp.core.errors import UserError
from vexp.data import storage
from vexp.data.annotations.packed import PackedStrings
from vexp.data.storage import archive_index
from vexp.data.storage.archives import open_archives

CONTENTS = {"a/1.bin": os.urandom(3000), "a/2.bin": b"", "b/ä ö.bin": b"x" * 100_000, "3.bin": b"three"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with ``CONTENTS``."""
    for name, content in CONTENTS.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "folder"


@pytest.mark.parametrize("kind", ["zip", "deflated", "tar", "dot_tar", "shards", "pattern"])
def test_read_gives_the_files_of_the_folder(kind: str, folder: Path, tmp_path: Path) -> None:
    archives = {
        "zip": lambda: write_zip(tmp_path / "c.zip", folder),
        "deflated": lambda: write_zip(tmp_path / "c.zip", folder, deflated=True),
        "tar": lambda: write_tar(tmp_path / "c.tar", folder),
        "dot_tar": lambda: write_tar(tmp_path / "c.tar", folder, start="./"),  # tar -cf c.tar .
        "shards": lambda: write_shards(tmp_path, folder, 3),
        "pattern": lambda: write_shards(tmp_path, folder, 3).with_name("shard-*.tar"),
    }
    place = str(archives[kind]())
    for _ in range(2):  # with an index that is built, and that is saved
        assert storage.names(place) == sorted(CONTENTS)
        assert storage.names(f"{place}/a") == ["1.bin", "2.bin"]
        for name, content in CONTENTS.items():
            path = f"{place}/{name}"
            assert storage.read(path) == content
            file = storage.open_file(path)
            assert (file.read(), file.size, str(file)) == (content, len(content), file.name)
            assert storage.exists(path)
        assert not storage.exists(f"{place}/a/4.bin")
        with pytest.raises(FileNotFoundError, match="no file of this name"):
            storage.open_file(f"{place}/a")
        forget()


def test_index_is_saved_and_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(write_tar(tmp_path / "c.tar", folder))
    storage.read(f"{place}/3.bin")
    forget()
    with monkeypatch.context() as patch:
        patch.setattr(archive_index.tarfile, "open", None)  # would fail
        patch.setattr(PackedStrings, "digests", None)  # takes seconds for a million names
        assert storage.read(f"{place}/3.bin") == b"three"
    (saved,) = (tmp_path / "cache" / "storage" / "archives").iterdir()
    for damaged in (b"", b"PK", saved.read_bytes()[:-100]):
        saved.write_bytes(damaged)
        forget()
        assert storage.read(f"{place}/3.bin") == b"three"


def test_changed_archive_is_refused_and_then_indexed_anew(folder: Path, tmp_path: Path) -> None:
    place = str(write_tar(tmp_path / "c.tar", folder))
    storage.read(f"{place}/3.bin")
    (folder / "0.bin").write_bytes(b"new")
    write_tar(tmp_path / "c.tar", folder)
    with pytest.raises(UserError, match="has changed since its index was read"):
        storage.read(f"{place}/3.bin")
    forget()
    assert storage.read(f"{place}/0.bin") == b"new"


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_hostile_names_of_tar_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    device = tarfile.TarInfo("device")
    device.type = tarfile.CHRTYPE
    place = write_entries(
        tmp_path / "c.tar",
        [
            ("good", b"good"), ("../secret", b"1"), (f"{tmp_path}/secret", b"2"), ("x/../../secret", b"3"),
            link("symbolic", str(tmp_path / "secret"), tarfile.SYMTYPE), link("hard", "good", tarfile.LNKTYPE), device,
        ],
    )  # fmt: skip
    assert storage.names(str(place)) == ["good"]
    for name in ("../secret", "symbolic", "hard", "device", "x/../../secret"):
        with pytest.raises(FileNotFoundError, match="6 links and names outside"):
            storage.read(f"{place}/{name}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.tar", "cache", "secret"]


def test_hostile_names_of_zip_are_not_read(tmp_path: Path) -> None:
    symbolic = zipfile.ZipInfo("symbolic")
    symbolic.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("good", b"good")
        archive.writestr("../secret", b"1")
        archive.writestr("/etc/passwd", b"2")
        archive.writestr(symbolic, "/etc/passwd")
    assert storage.names(str(tmp_path / "c.zip")) == ["good"]


def test_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    place = write_entries(tmp_path / "c.tar", [("a", b"1"), ("./a", b"2"), ("b", b"3")])
    with pytest.raises(UserError, match=r"occurs 2 times, in .*; keep one"):
        storage.read(f"{place}/a")
    assert storage.read(f"{place}/b") == b"3"
    write_entries(tmp_path / "d.tar", [("b", b"4")])
    with pytest.raises(UserError, match=r"c\.tar and .*d\.tar"):
        storage.read(f"{tmp_path}/{{c,d}}.tar/b")


def test_zip_bomb_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows beyond its stated size, and one whose stated size is beyond the cache."""
    place = tmp_path / "c.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(20_000_000))
    content = bytearray(place.read_bytes())
    directory = content.rindex(b"PK\1\2")
    struct.pack_into("<I", content, directory + 24, 1000)
    lying = tmp_path / "lying.zip"
    lying.write_bytes(content)
    for read in (storage.read, storage.open_file):
        with pytest.raises(UserError, match="its size or checksum is not as stated"):
            read(f"{lying}/bomb")
    monkeypatch.setenv("VEXP_CACHE_SIZE", "0.01")
    with pytest.raises(UserError, match=r"20 MB, more than the cache may hold; set VEXP_CACHE_SIZE"):
        storage.open_file(f"{place}/bomb")
    assert not list((tmp_path / "cache" / "storage" / "files").rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["checksum", "header", "stream", "method", "encrypted"])
def test_damaged_file_of_zip_is_refused(damage: str, tmp_path: Path) -> None:
    place = tmp_path / "c.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", b"content" * 100)
    content = bytearray(place.read_bytes())
    directory = content.rindex(b"PK\1\2")
    offset, value = {
        "checksum": (directory + 16, 1), "header": (0, 0), "stream": (35, 0xFFFFFFFF), "method": (directory + 10, 99),
        "encrypted": (directory + 8, 1),
    }[damage]  # fmt: skip
    struct.pack_into("<I" if damage in ("checksum", "header", "stream") else "<H", content, offset, value)
    place.write_bytes(content)
    with pytest.raises(UserError, match=r"as stated|damaged|decompressed|method 99|encrypted"):
        storage.read(f"{place}/a.bin")


def test_truncated_archives_are_refused(folder: Path, tmp_path: Path) -> None:
    tar, zipped = write_tar(tmp_path / "c.tar", folder), write_zip(tmp_path / "c.zip", folder)
    tar.write_bytes(tar.read_bytes()[:4000])
    zipped.write_bytes(zipped.read_bytes()[:4000])
    with pytest.raises(UserError, match="unexpected end of data"):
        storage.read(f"{tar}/a/1.bin")
    with pytest.raises(UserError, match=r"cannot be read as a \.zip archive"):
        storage.names(str(zipped))
    (tmp_path / "e.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(UserError, match=r"cannot be read as a \.tar archive"):
        storage.names(str(tmp_path / "e.tar"))
    with pytest.raises(UserError, match="no such archive"):
        storage.names(f"{tmp_path}/shard-{{0..3}}.tar")


def test_names_of_pax_and_gnu_archives_are_whole(tmp_path: Path) -> None:
    name = "/".join(["folder" * 10] * 4) + "/ä.bin"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = tmp_path / f"{form}.tar"
        with tarfile.open(path, "w", format=form) as archive:
            info = tarfile.TarInfo(name)
            archive.addfile(info)
        assert storage.names(str(path)) == [name]


@pytest.mark.slow
def test_archive_of_a_million_files_is_indexed_once_and_searched(tmp_path: Path) -> None:
    count = 1_000_000
    header = tarfile.TarInfo("0000000.jpg")
    header.size = 5
    block = bytearray(header.tobuf(tarfile.USTAR_FORMAT)[:512])
    with (tmp_path / "c.tar").open("wb") as file:
        for number in range(count):
            block[:7] = f"{number:07}".encode()
            block[148:156] = b" " * 8
            block[148:156] = f"{sum(block):06o}\0 ".encode()
            file.write(block + f"{number % 100_000:05}".encode().ljust(512, b"\0"))
        file.write(bytes(1024))
    place = f"{tmp_path}/c.tar"
    for _ in range(2):
        assert storage.read(f"{place}/0999999.jpg") == b"99999"
        assert storage.read(f"{place}/0123456.jpg") == b"23456"
        assert len(open_archives(place).archives[0].index.names) == count
        forget()


def test_inflate_matches_zlib(tmp_path: Path) -> None:
    data = os.urandom(1_500_000) + bytes(2_500_000)
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", data)
    assert zlib.crc32(storage.read(f"{tmp_path}/c.zip/a.bin")) == zlib.crc32(data)

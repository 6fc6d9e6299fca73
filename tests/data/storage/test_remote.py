"""Files on servers: ranges, faults, credentials."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from data.storage.conftest import forget
from support.archives import write_tar, write_zip
from support.file_server import FileServer
from support.tables import default_lane_has

from vexp.core.errors import UserError
from vexp.data import storage
from vexp.data.storage import remote

CONTENTS = {"a/1.mp4": os.urandom(300_000), "a/ä #1%.mp4": b"odd name", "b/2.mp4": os.urandom(2_500_000)}


@pytest.fixture(autouse=True)
def contents(server: FileServer) -> None:
    for name, content in CONTENTS.items():
        path = server.root / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("ranges", [True, False])
def test_read_gives_the_files_of_the_server(server: FileServer, ranges: bool) -> None:
    server.ranges = ranges
    place = storage.prefix(f"{server.url}/clips/")
    assert list(storage.names(place)) == sorted(CONTENTS)
    for name, content in CONTENTS.items():
        assert storage.exists(f"{place}/{name}")
        assert storage.read(f"{place}/{name}") == content
    assert not storage.exists(f"{place}/a/3.mp4")
    with pytest.raises(FileNotFoundError, match="the server has no such file"):
        storage.open_file(f"{place}/a/3.mp4")


def test_file_is_transferred_once_for_all_processes(server: FileServer) -> None:
    path = f"{server.url}/clips/a/1.mp4"
    for _ in range(2):
        assert storage.read(path) == CONTENTS["a/1.mp4"]
        forget()
    assert [method for method, *_ in server.requests] == ["HEAD", "GET", "HEAD"]
    (server.root / "clips/a/1.mp4").write_bytes(b"another content")
    assert storage.read(path) == b"another content"


@pytest.mark.parametrize("kind", default_lane_has(1, ["zip", "deflated", "tar", "shards"]))
def test_archive_of_server_is_read_in_parts(server: FileServer, kind: str) -> None:
    folder = server.root / "clips"
    big = folder / "b" / "unused.bin"
    big.write_bytes(bytes(3_000_000))
    if kind == "tar":
        place = f"{server.url}/{write_tar(server.root / 'c.tar', folder).name}"
    elif kind == "shards":
        write_tar(server.root / "s-0.tar", folder, [folder / name for name in list(CONTENTS)[:1]])
        write_tar(server.root / "s-1.tar", folder, [big, *(folder / name for name in list(CONTENTS)[1:])])
        place = f"{server.url}/s-{{0..1}}.tar"
    else:
        place = f"{server.url}/{write_zip(server.root / 'c.zip', folder, deflated=kind == 'deflated').name}"
    for name, content in CONTENTS.items():
        assert storage.read(f"{place}/{name}") == content
    forget()
    asked = len(server.requests)
    assert storage.read(f"{place}/b/2.mp4") == CONTENTS["b/2.mp4"]  # index and file are kept
    assert [method for method, *_ in server.requests[asked:] if method == "GET"] in ([], ["GET"])  # zip: its header
    assert all(wanted is not None for method, _, wanted in server.requests if method == "GET")


def test_pattern_of_server_matches_shards(server: FileServer) -> None:
    write_tar(server.root / "s-0.tar", server.root / "clips")
    assert storage.names(f"{server.url}/s-*.tar/a") == ["1.mp4", "ä #1%.mp4"]
    with pytest.raises(UserError, match="no such archive"):
        storage.names(f"{server.url}/t-*.tar")


def test_archive_of_server_without_ranges_is_refused(server: FileServer) -> None:
    write_tar(server.root / "c.tar", server.root / "clips")
    server.ranges = False
    with pytest.raises(UserError, match=r"does not send parts of files .* download the archive"):
        storage.read(f"{server.url}/c.tar/b/2.mp4")


@pytest.mark.parametrize("faults", [[500], ["close"], [503, 429], [0, "cut"], [0, "close", 500]])
def test_transient_fault_is_overcome(server: FileServer, faults: list[int | str]) -> None:
    """``0`` lets the request for the status pass."""
    path = f"{server.url}/clips/b/2.mp4"
    if faults[0] == 0:
        remote.file_status(path)
    server.faults[:] = [fault for fault in faults if fault]
    assert storage.read(path) == CONTENTS["b/2.mp4"]


@pytest.mark.parametrize(
    ("fault", "fragment"),
    default_lane_has(2, [(403, "the server answered 403"), (401, "answered 401"), (500, r"answered 500.*3 attempts"),
     ("close", r"[Dd]isconnected.*3 attempts|.*3 attempts"), ("hang", "less than 16 kB in 0.3 seconds")]),
)  # fmt: skip
@pytest.mark.parametrize("is_known", [False, True])
def test_lasting_fault_is_a_sentence(
    server: FileServer, fault: int | str, fragment: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{server.url}/clips/b/2.mp4"
    if is_known:
        remote.file_status(path)
    if fault == "hang":
        monkeypatch.setattr(remote, "TIMEOUT", 0.3)
    server.faults[:] = [fault] * 20
    with pytest.raises(UserError, match=fragment) as caught:
        storage.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert not list(Path(os.environ["VEXP_CACHE"]).rglob("*.tmp"))


def test_password_and_query_of_variable_are_used_and_not_shown(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server.password, server.query = "me:s3cr3t@word", "signature=t0ken"
    address = server.url.replace("://", "://me:s3cr3t%40word@")
    monkeypatch.setenv("CLIPS", f"{address}/clips?signature=t0ken")
    assert storage.read("$CLIPS/a/1.mp4") == CONTENTS["a/1.mp4"]
    file = storage.open_file("$CLIPS/a/1.mp4")
    assert str(file) == "$CLIPS/a/1.mp4"
    messages = []
    for url in (
        f"{address}/clips?signature=t0ken2",
        f"{server.url}/clips?signature=t0ken",
        f"{address}0/c?signature=t0ken",
    ):
        monkeypatch.setenv("CLIPS", url)
        forget()
        with pytest.raises(UserError) as caught:
            storage.read("$CLIPS/b/2.mp4")
        messages.append(f"{caught.value} {pickle.dumps(caught.value)!r}")
    written = "".join(str(path) for path in Path(os.environ["VEXP_CACHE"]).rglob("*"))
    shown = "".join([*messages, written, *capfd.readouterr()])
    assert "s3cr3t" not in shown
    assert "t0ken" not in shown


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_message_of_a_server_that_repeats_secrets_is_masked(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPS", "https://me:pa%2Fss@host/clips?sig=to%2Fken&n=s3cr3t")
    repeated = "pa%2Fss pa/ss to%2Fken to/ken s3cr3t https://other/?key=s3cr3t"

    def fail(place: str) -> None:
        raise error(f"denied for {repeated}")

    monkeypatch.setattr(remote, "_file_system", fail)
    with pytest.raises(UserError, match=r"^\$CLIPS/a\.mp4: cannot be read: ") as caught:
        storage.read("$CLIPS/a.mp4")
    for secret in repeated.split():
        assert secret not in str(caught.value)
    assert "to%2Fken" not in str(caught.value)


def test_netrc_gives_the_password_of_its_host(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.password = "me:word"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert storage.read(f"{server.url}/clips/a/1.mp4") == CONTENTS["a/1.mp4"]


def test_problem_of_prefixes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CLIPS", raising=False)
    assert "is not set" in str(storage.problem("$CLIPS"))
    assert "Protocol not known" in str(storage.problem("nothing://a"))
    assert storage.problem(str(tmp_path / "c.zip")) == "no such archive"
    assert storage.problem("https://host/clips") is None
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    assert "pip install 'vexp[fsspec]'" in str(storage.problem("https://host/clips"))


def test_name_with_chain_of_file_systems_is_only_a_name(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises((FileNotFoundError, UserError)):
        storage.read(f"{server.url}/clips/a.mp4::file://{tmp_path}/secret")

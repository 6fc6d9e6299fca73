"""scripts/prepare_videos.py: proxies show the same frames at the same times, and no run leaves half of one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import prepare_videos

    return prepare_videos


@pytest.fixture
def encode(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The videos of the tests of decoding: frames carry their numbers."""
    monkeypatch.syspath_prepend(ROOT / "tests/data")
    import encode

    return encode


@pytest.mark.parametrize("encoding", ["h264", "mjpeg"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("long_gop.mp4", {"gop": 250}),
        ("variable.mkv", {"times": [n + n // 7 + 3 for n in range(40)]}),  # variable frame rate, later than 0
        ("packed.avi", {"codec": "mpeg4", "b_frames": 0}),  # no times in the file
        ("ten_bit.mp4", {"pix_fmt": "yuv420p10le"}),
    ],
)
def test_frame_n_is_frame_n(
    prepare: ModuleType, encode: ModuleType, tmp_path: Path, name: str, options: dict[str, object], encoding: str
) -> None:
    from vexp.data.decode import VideoReader

    original = encode.write_video(tmp_path / name, frames=40, size=(160, 96), **options)
    kind = replace(prepare.ENCODINGS[encoding], short_side=48)
    proxy = tmp_path / prepare.proxy_name(f"proxies/{name}", kind)
    assert prepare.encode(original, proxy, kind) == 40
    with VideoReader(original) as before, VideoReader(proxy) as after:
        frames, asked = after.frames(range(40)), np.arange(0, 32, 4)
        assert frames.shape == (40, 48, 80, 3)
        assert [encode.read_number(frame) for frame in frames] == list(range(40))
        assert np.abs(before.frames(range(40)).mean((1, 2)) - frames.mean((1, 2))).max() < 2  # colours, per frame
        np.testing.assert_allclose(after.times, before.times, atol=1.01e-3)  # Matroska counts milliseconds
    with VideoReader(proxy) as reader:
        reader.frames(asked)
        assert reader.decoded == len(asked) if encoding == "mjpeg" else reader.decoded < 40
    assert [path.name for path in proxy.parent.iterdir() if path.name.startswith(".")] == []


def test_proxies_stand_upright_and_small_videos_keep_their_size(
    prepare: ModuleType, encode: ModuleType, tmp_path: Path
) -> None:
    from vexp.data.decode import VideoReader

    original = encode.set_display_matrix(encode.write_video(tmp_path / "turned.mp4", frames=5), 0, 1, -1, 0)
    prepare.encode(original, tmp_path / "proxy.mp4", prepare.ENCODINGS["h264"])
    with VideoReader(original) as before, VideoReader(tmp_path / "proxy.mp4") as after:
        assert after.frames([4]).shape == before.frames([4]).shape == (1, 80, 48, 3)
        assert np.abs(before.frames([4]).astype(int) - after.frames([4])).mean() < 4


def test_one_run_and_the_next(
    prepare: ModuleType,
    encode: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Forecast, folders, a list, a video that fails; a second run makes only what is missing; settings do not mix."""
    videos, proxies, listed = tmp_path / "videos", tmp_path / "proxies", tmp_path / "train.txt"
    (videos / "a b").mkdir(parents=True)
    encode.write_video(videos / "a b/one.avi", frames=20, codec="mpeg4", b_frames=0)
    whole = encode.write_video(videos / "two.mp4", frames=20).read_bytes()
    (videos / "broken.mp4").write_bytes(whole[: len(whole) // 2])
    listed.write_text("a b/one.avi 3\ntwo.mp4 1\nbroken.mp4 0\n")

    script = [str(ROOT / "scripts/prepare_videos.py"), str(videos), str(proxies), "--list", str(listed), "--workers=1"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *script, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    monkeypatch.setattr(sys, "argv", [*script, "--dry-run"])
    assert prepare.main() == 0
    said = capsys.readouterr().out
    assert "3 videos" in said
    assert "times as fast" in said
    assert not proxies.exists()
    first = run("--sample", "0")
    assert first.returncode == 1, first.stderr
    names = sorted(str(path.relative_to(proxies)) for path in proxies.rglob("*") if path.is_file())
    assert names == ["a b/one.mp4", "failures.txt", "lists/train.txt", "prepared.json", "two.mp4"]
    assert (proxies / "lists/train.txt").read_text() == "a b/one.mp4 3\ntwo.mp4 1\nbroken.mp4 0\n"
    assert (proxies / "failures.txt").read_text().startswith(str(videos / "broken.mp4"))
    made = (proxies / "two.mp4").stat().st_mtime_ns
    (videos / "broken.mp4").write_bytes(whole)
    second = run("--sample", "0")
    assert second.returncode == 0, second.stderr
    assert "3 videos, 2 of them are done" in second.stdout
    assert (proxies / "two.mp4").stat().st_mtime_ns == made
    assert not (proxies / "failures.txt").exists()
    monkeypatch.setattr(sys, "argv", [*script, "--encoding", "mjpeg"])
    assert prepare.main() == 2
    assert "other settings" in capsys.readouterr().err

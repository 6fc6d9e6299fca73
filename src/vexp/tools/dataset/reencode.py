"""Re-encode the videos of a collection as proxies: smaller copies with faster random access for training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from vexp.data.decoding.proxy_encoding import H264, MJPEG, ProxyEncoding
from vexp.tools.dataset.conversion import Conversion, Job


@dataclass(frozen=True, slots=True)
class Rescale(ProxyEncoding, Conversion):
    """Conversion of videos to proxies."""

    def target_name(self, name: str) -> str:
        return str(Path(name).with_suffix(self.suffix))

    def is_done(self, job: Job) -> bool:
        try:
            return job.target.stat().st_mtime_ns >= job.source.stat().st_mtime_ns
        except FileNotFoundError:
            return False

    def __call__(self, job: Job) -> int:
        return self.write(job.source, job.target)


ENCODINGS = {"h264": Rescale(**asdict(H264)), "mjpeg": Rescale(**asdict(MJPEG))}

"""A list of a million rows: time and memory to read it, and memory shared with workers."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="/proc/self is Linux's")]

ROWS = 1_000_000

MEASURE = """
import os, sys
from pathlib import Path

def megabytes(file, key):
    return sum(int(line.split()[1]) for line in open(f"/proc/self/{file}") if line.startswith(key)) / 1024

from vexp.data.annotations.list_files import read_list
before = megabytes("status", "VmRSS")
rows = read_list(Path(sys.argv[1]))
print(len(rows), megabytes("status", "VmRSS") - before, megabytes("status", "VmHWM") - before, flush=True)
if os.fork() == 0:
    own = megabytes("smaps_rollup", "Private_Dirty")
    for i in range(len(rows)):
        rows.path(i), rows.labels(i), rows.segment(i), rows.group(i), rows.frames(i)
    print(megabytes("smaps_rollup", "Private_Dirty") - own, flush=True)
    os._exit(0)
os.wait()
"""


def name(i: int) -> str:
    return f"class_{i % 700:03d}_something/abcdefghijk{i:07d}_000010_000020.mp4"


FORMATS = {
    "videos.txt": ("", lambda i: f"{name(i)} {i % 700}\n"),
    "several.txt": ("", lambda i: f"{name(i)} {i % 700} {i % 31} {i % 5}\n"),
    "table.csv": (
        "path,label,start,end,group,total_frames\n",
        lambda i: f"{name(i)},label {i % 700},{i % 9}.5,{i % 9 + 10},group{i // 7:06d},300\n",
    ),
    "records.jsonl": ("", lambda i: f'{{"filename": "{name(i)}", "label": [{i % 700}]}}\n'),
}


@pytest.mark.parametrize("file", FORMATS)
def test_list_of_a_million_rows_needs_little_memory(tmp_path: Path, file: str) -> None:
    header, line = FORMATS[file]
    with open(tmp_path / file, "w") as out:
        out.write(header)
        out.writelines(line(i) for i in range(ROWS))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / file)], capture_output=True, text=True, check=True
    )
    rows, held, peak, worker = (float(word) for word in done.stdout.split())
    print(f"{file}: holds {held:.0f} MB, reading took {peak:.0f} MB, a worker that read every row {worker:.0f} MB")
    assert rows == ROWS
    assert peak < 200  # measured: 65 to 121
    assert peak < held + 40
    assert worker < 10  # measured: below 1

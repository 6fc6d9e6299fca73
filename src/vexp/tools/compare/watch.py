"""``vexp compare --watch``: compare runs again whenever they change, and refresh the page that shows them.

index.html always is the whole page. Beside it, index.live.js names the newest refresh and index.data.js has its data.
An open page loads the first every few seconds, and the second if it is newer than the page: browsers load a script
from a folder (``file://``) as well as from a server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError
from vexp.core.files import write_text
from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.config import Compare
from vexp.tools.compare.html_page import as_json, content, render
from vexp.tools.compare.runs import NothingYetError, RunReader, find_runs, read_runs
from vexp.tools.compare.thumbnails import Thumbnails

LIVE_FILES = ("index.live.js", "index.data.js")


class Watch:
    """Runs below some folders that are compared again and again."""

    def __init__(self, places: Sequence[Path], options: Compare, out: Path) -> None:
        self.places, self.options, self.out = places, options, out
        self._readers: dict[Path, RunReader] = {}
        self._thumbnails = Thumbnails()
        self._state: Any = None  # folders with their revisions, and errors, of the last comparison
        self._session = f"{time.time_ns():x}-{os.getpid()}"  # a page that another process wrote has another one
        self._round = self._beats = 0

    def refresh(self) -> Comparison | None:
        """Compare the runs and write the page if anything has changed; return the comparison then.

        Raises:
            ConfigError: If the options do not fit the runs.
            NothingYetError: If there is nothing to compare yet.
            UserError: If there is no such folder.
            OSError: If the page cannot be written.
        """
        present = [place for place in self.places if place.is_dir()] if self._round else []  # at first all must exist
        folders = find_runs(present or self.places)
        runs, faults = read_runs(folders, self._readers)
        for folder in self._readers.keys() - set(folders):
            del self._readers[folder]
        if not runs:
            raise NothingYetError("\n".join(faults))
        state = [(run.folder, run.revision) for run in runs], faults
        if state == self._state:
            self._beat()
            return None
        comparison = Comparison(runs, self.options, faults)
        self._round += 1
        live = self._live()
        data = content(comparison, self.out, videos=self._thumbnails.of(comparison), live=live)
        write_text(self.out / "index.html", render(data))
        write_text(self.out / LIVE_FILES[1], f"vexpData({as_json(as_json(data))});\n")
        self._beat()
        self._state = state
        return comparison

    def end(self) -> None:
        """Stop the open pages from waiting for another refresh."""
        if self._round:
            self._beat(ended=True)

    def _beat(self, *, ended: bool = False) -> None:
        """Name the newest refresh; an open page notices if this file does not change any more."""
        self._beats += 1
        beat = self._live() | {"beat": self._beats, "ended": ended, "time": time.strftime("%H:%M:%S")}
        write_text(self.out / LIVE_FILES[0], f"vexpLive({as_json(beat)});\n")

    def _live(self) -> dict[str, Any]:
        return {"session": self._session, "round": self._round, "every": self.options.every}


def watch(watched: Watch, show: Callable[[Comparison], None], message: Callable[[str], None]) -> None:
    """Refresh until Ctrl-C: every ``every`` seconds, or less often if a refresh takes more than a quarter of this time.

    Args:
        watched: The runs.
        show: Is called with each new comparison.
        message: Is called with the reason if there is none: no run exists yet, or the folder has vanished.

    Raises:
        UserError: At first, if the options do not fit the runs or there is no such folder.
        OSError: At first, if the page cannot be written.
    """
    has_compared = False
    try:
        while True:
            start = time.monotonic()
            try:
                if (comparison := watched.refresh()) is not None:
                    show(comparison)
                has_compared = True
            except (UserError, OSError) as error:
                if not (has_compared or isinstance(error, NothingYetError)):
                    raise
                message(f"waiting: {error}")
            time.sleep(max(watched.options.every, 3 * (time.monotonic() - start)))
    except KeyboardInterrupt:
        watched.end()

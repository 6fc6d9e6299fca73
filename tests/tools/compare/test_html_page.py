"""index.html in headless Chromium, if it is installed."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.run_folders import make_run, make_sweep

from vexp.cli import compare
from vexp.tools.compare.config import Compare
from vexp.tools.compare.watch import Watch

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install vexp[dev])"
    )
    path = next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as driver:
        if path is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Compare the runs of a folder and open the page; check for console errors and requests at the end."""
    output: list[str] = []
    requested: list[str] = []

    def open_page(folder: Path, *arguments: str, scheme: str = "light") -> Any:
        compare.main([str(folder), f"out={tmp_path / 'out'}", *arguments])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: output.append(message.text))
        page.on("pageerror", lambda error: output.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto((tmp_path / "out" / "index.html").as_uri())
        page.wait_for_selector("#runs tbody tr")
        return page

    yield open_page
    assert output == []
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []


def column(page: Any, head: str) -> list[str]:
    """Return the texts of a column of the table of runs."""
    heads = [text.strip() for text in page.locator("#runs thead th").all_inner_texts()]
    return [
        text.strip() for text in page.locator(f"#runs tbody td:nth-child({heads.index(head) + 1})").all_inner_texts()
    ]


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true; ``wait_for_function`` needs eval, which the page does not allow."""
    end = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def numbers(texts: list[str]) -> list[float]:
    return [float(text) for text in texts if text != "–"]


def test_page_of_sweep(opened: Any, tmp_path: Path) -> None:
    page = opened(make_sweep(tmp_path / "sweep"))
    assert len(column(page, "folder")) == 24
    scores = numbers(column(page, "val/top1_acc"))
    assert scores == sorted(scores, reverse=True)  # the best first
    page.get_by_role("button", name="val/loss", exact=True).last.click()
    losses = numbers(column(page, "val/loss"))
    assert losses == sorted(losses)  # less is better: the best first, too
    page.keyboard.press("Enter")  # the header kept the focus
    assert numbers(column(page, "val/loss")) == losses[::-1]
    assert {"failed", "interrupted", "unfinished"} <= set(column(page, "state"))
    href = page.locator("#runs tbody a").first.get_attribute("href")
    assert (tmp_path / "out" / href).resolve().parent == tmp_path / "sweep"
    page.fill("#filter", "sgd lr_policy=cosine val/top1_acc>0")
    assert len(column(page, "folder")) == 4
    assert page.inner_text("#count") == "4 of 24 runs"
    assert set(column(page, "lr_policy")) == {"cosine"}


def test_page_with_many_keys_shows_results_first(opened: Any, tmp_path: Path) -> None:
    """Otherwise they would be outside the window."""
    keys = ("optimizer.lr", "optimizer.weight_decay", "epochs", "data.batch_size", "data.train.indices", "model.width",
            "grad.accumulate")  # fmt: skip
    for number, key in enumerate(keys):
        make_run(tmp_path / "s" / str(number), [f"{key}={number + 3}"])
    page = opened(tmp_path / "s")
    for section, first in (("settings", "val/top1_acc"), ("runs", "folder")):
        heads = [text.strip(" ↑↓") for text in page.locator(f"#{section} thead th").all_inner_texts()]
        assert first in heads[1:3]
        assert heads.index("val/top1_acc") < min(map(heads.index, keys))
    label = page.locator("#config thead th").nth(1).inner_text()
    assert label.count(",") == 0  # only the value that is not the most common one
    assert page.locator("nav a[href='#effects']").is_visible() == page.locator("#effects").is_visible()


def test_page_hover_and_arrow_keys_show_values(opened: Any, tmp_path: Path) -> None:
    page = opened(make_sweep(tmp_path / "sweep"))
    page.get_by_label("lines").select_option("runs")
    chart = page.locator(".chart canvas").first
    chart.scroll_into_view_if_needed()
    until(page, "!charts[0].isStale")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.97, box["y"] + box["height"] * 0.2)
    tip = page.inner_text("#tip")
    assert re.search(r"(sgd|adamw), \w+, seed \d\nval/top1_acc 0\.\d+ at step 40, epoch 4", tip), tip
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()
    chart.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert "at step 30, epoch 3" in page.inner_text("#tip")
    page.keyboard.press("Enter")  # chooses the run
    assert page.inner_text("#clear") == "1 selected: clear"
    page.locator("#settings circle").last.hover(force=True)  # whichever of the dots there is on top
    assert re.search(r"val/top1_acc 0\.\d{4}", page.inner_text("#tip"))
    page.locator("#confusion rect[data-tip]").first.hover()
    assert re.search(r"left predicted correctly\n\d of 5 videos, \d+ %", page.inner_text("#tip"))


def test_page_shows_selected_runs(opened: Any, tmp_path: Path) -> None:
    page = opened(make_sweep(tmp_path / "sweep"), scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.fill("#filter", "seed=1 step")
    for box in page.locator("#runs tbody input").all():
        box.check()
    assert page.locator("#config thead th").count() == 1 + 2
    keys = page.locator("#config tbody th").all_inner_texts()
    assert {"optimizer.type", "optimizer.lr"} <= set(keys)
    assert "data.batch_size" not in keys
    page.locator("#config input").check()
    assert "data.batch_size" in page.locator("#config tbody th").all_inner_texts()
    page.select_option("#metric", label="val/loss")
    assert "val/loss" in page.inner_text("#settings thead")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_page_escapes_names(opened: Any, tmp_path: Path) -> None:
    html = "</script><script>console.error('broken out')</script><img src=x onerror=console.error(1)>&amp; é\u2028"
    arguments = ["optimizer=sgd", "lr_policy=step"]
    for seed in (0, 1):
        make_run(tmp_path / "sweep" / f"a <b> #{seed}?", [*arguments, f"seed={seed}"], classes=[html, "b"], error=html)
    page = opened(tmp_path / "sweep")
    assert len(column(page, "folder")) == 2
    assert html[:9] in page.locator("#confusion").inner_text()
    href = page.locator("#runs tbody a").first.evaluate("link => decodeURIComponent(link.href)")
    assert href.rstrip("/").rpartition("/")[2].startswith("a <b> #")


def test_page_with_500_runs(opened: Any, tmp_path: Path) -> None:
    """Only the rows near the visible ones are in the page; all are sorted, filtered and reached by scrolling."""
    page = opened(make_sweep(tmp_path / "sweep", runs=500))
    assert page.inner_text("#count") == "500 of 500 runs"
    rows = page.locator("#runs tbody tr:not(.spacer)")
    assert 20 < rows.count() < 100
    assert page.locator("#settings tbody tr").count() == 15
    page.click("#settings .more")
    assert page.locator("#settings tbody tr").count() == 30
    page.get_by_role("button", name="val/loss", exact=True).last.click()
    first = [rows.nth(k).inner_text() for k in range(3)]
    widths = page.evaluate("[...document.querySelectorAll('#runs th')].map((cell) => cell.offsetWidth)")
    page.evaluate("document.querySelector('#runs .scroll').scrollTop = 1e6")
    until(page, "document.querySelector('#runs tbody tr:last-child').ariaRowIndex === '501'")
    assert page.evaluate("[...document.querySelectorAll('#runs th')].map((cell) => cell.offsetWidth)") == widths
    assert rows.nth(0).inner_text() not in first
    page.fill("#filter", "seed=1")
    assert page.inner_text("#count") == "30 of 500 runs"
    assert len(column(page, "folder")) == 30
    assert (tmp_path / "out" / "index.html").stat().st_size < 4e6
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domComplete") < 20_000  # ms, on a busy machine


def test_page_bands_show_mean_and_range_over_seeds(opened: Any, tmp_path: Path) -> None:
    for seed, last in enumerate((0.4, 0.5, 0.9)):
        make_run(tmp_path / "s" / str(seed), ["optimizer=sgd", f"seed={seed}"], scores=[0.1, last])
    page = opened(tmp_path / "s")
    chart = page.locator(".chart canvas").first
    chart.scroll_into_view_if_needed()
    until(page, "!charts[0].isStale")
    chart.focus()
    page.keyboard.press("ArrowRight")
    tip = "the one setting\nval/top1_acc 0.6 ± 0.2646 at step 20, epoch 2\n0.4 to 0.9 in 3 of 3 runs"
    assert page.inner_text("#tip") == tip
    assert page.evaluate("[charts[0].lines.length, charts[0].lines[0].low.at(-1), charts[0].lines[0].high.at(-1)]") == [
        1, 0.4, 0.9,
    ]  # fmt: skip
    lines = page.get_by_label("lines")
    lines.select_option("std")
    assert page.evaluate("charts[0].lines[0].low.at(-1)") == pytest.approx(0.6 - 0.26458, abs=1e-4)
    lines.select_option("runs")
    assert page.evaluate("charts[0].lines.length") == 3


def test_page_shows_videos_of_best_run(opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = {"id": 0, "path": "<b>a.mp4", "label": "left", "predicted": "right", "score": 0.25, "top_score": 0.75}
    frame = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    shown = video | {"correct": False, "is_listed": True, "frames": [frame] * 3, "missing": ""}
    missing = video | {"correct": False, "is_listed": False, "frames": [], "missing": "no <such> file"}
    content = {"note": "", "best": [shown], "worst": [missing], "run": 0, "evaluation": ""}
    monkeypatch.setattr(compare.Thumbnails, "of", lambda self, comparison: content)
    page = opened(make_sweep(tmp_path / "sweep", runs=6))
    text = page.inner_text("#videos")
    assert "left: 0.25\npredicted as right (0.75)\n<b>a.mp4" in text
    assert "not shown: no <such> file" in text
    assert page.evaluate("[...document.querySelectorAll('#videos img')].map((image) => image.naturalWidth)") == [
        1,
        1,
        1,
    ]


def test_open_page_follows_watch(browser: Any, tmp_path: Path) -> None:
    """The page, from file://, shows new values and keeps what the user has done."""
    place, out = make_sweep(tmp_path / "sweep"), tmp_path / "out"
    watch = Watch([place], Compare(every=0.5), out)
    watch.refresh()
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((out / "index.html").as_uri())
    until(page, "document.querySelector('#live').textContent.startsWith('refreshed at ')")
    page.fill("#filter", "sgd")
    page.get_by_role("button", name="folder", exact=True).click()
    page.locator("#runs tbody input").nth(2).check()
    page.get_by_label("lines").select_option("std")
    page.locator("#filter").focus()
    page.locator("#runs").scroll_into_view_if_needed()
    before = page.evaluate("document.querySelector('#runs').getBoundingClientRect().top")
    chosen = page.evaluate("[...state.chosen].map((i) => data.runs[i].name)")
    names = column(page, "folder")

    make_run(place / "a_new_one", ["optimizer=sgd", "lr_policy=step", "seed=9"], score=0.99)
    shutil.rmtree(place / names[0])
    watch.refresh()
    until(page, "data.live.round === 2")
    assert column(page, "folder") == sorted([*names[1:], "a_new_one"])
    assert page.input_value("#filter") == "sgd"
    assert page.evaluate("[...state.chosen].map((i) => data.runs[i].name)") == chosen
    assert page.inner_text("#clear") == "1 selected: clear"
    assert page.evaluate("document.activeElement.id") == "filter"
    assert page.get_by_label("lines").input_value() == "std"
    assert page.inner_text("#count") == "12 of 24 runs"
    assert page.evaluate("document.querySelector('#runs').getBoundingClientRect().top") == pytest.approx(before, abs=2)
    watch.end()
    until(page, "document.querySelector('#live').textContent.startsWith('watching ended at ')")
    assert errors == []
    page.close()

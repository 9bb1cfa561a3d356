"""The page, driven by a real browser; the system's Chromium, which `make test-full` wants installed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.clips import clip
from helpers.servers import CELLS, CLASSIFIER, DEMO, DETECTOR, HOST, PHOTOS, Served, served
from PIL import Image

import internimage as ii

MASKS, CLASSES = "mask_rcnn_internimage_atto_nuclei_320", "segformer_internimage_zepto_nuclei_384"
NUCLEI = sorted((DEMO / "cells" / "nuclei" / "images").glob("*.png"))

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(f"cells={DETECTOR}", CLASSIFIER, f"nuclei={MASKS}", f"classes={CLASSES}", "--page") as running:
        running.wait_for("ready: curl")
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("NO BROWSER HERE: the page was not tried; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(server: Served, browser: Any) -> Iterator[Any]:
    """The page in a window, which asked for nothing from elsewhere and said no error when the test ends."""
    context = browser.new_context(accept_downloads=True, viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.set_default_timeout(30_000)
    elsewhere, errors = [], []
    origin = f"http://{HOST}:{server.port}/"
    page.on(
        "request", lambda one: None if one.url.startswith((origin, "blob:", "data:")) else elsewhere.append(one.url)
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda said: errors.append(said.text) if said.type == "error" and "422" not in said.text else None
    )
    page.goto(origin)
    page.wait_for_selector("#model option[value=classes]", state="attached")
    yield page
    context.close()
    assert not elsewhere
    assert not errors


def look(page: Any, model: str, *files: Path) -> None:
    """Choose a model and pictures, and wait for what is seen."""
    page.select_option("#model", model)
    page.set_input_files("#files", [str(file) for file in files])
    page.wait_for_selector("#result:not([hidden])")


def downloaded(page: Any, button: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.click(button)
    target = folder / waiting.value.suggested_filename
    waiting.value.save_as(target)
    return target


def test_the_slider_shows_what_the_predictor_finds_without_asking_again(page: Any, tmp_path: Path) -> None:
    asked: list[str] = []
    look(page, "cells", CELLS[0])
    page.on("request", lambda one: asked.append(one.url))
    result = ii.Predictor(DETECTOR, device="cpu")(CELLS[0])
    for least in ("0.9", "0.5", "0.05"):
        page.fill("#threshold", least)
        wanted = len(result.filter(float(least)))
        assert page.locator("#table tbody tr").count() == pytest.approx(wanted, abs=1)
        assert page.inner_text("#caption").startswith(f"{page.locator('#table tbody tr').count()} objects: ")
    assert not asked
    page.fill("#threshold", "0.5")
    kept = json.loads(downloaded(page, "#save-json", tmp_path).read_text())
    assert {one["label"] for one in kept["objects"]} == {result.name(i) for i in range(len(result.filter(0.5)))}
    assert min(one["score"] for one in kept["objects"]) >= 0.5
    coco = json.loads(downloaded(page, "#save-coco", tmp_path).read_text())
    assert len(coco["annotations"]) == pytest.approx(len(kept["objects"]), abs=1)
    assert coco["images"][0]["file_name"] == CELLS[0].name
    assert Image.open(downloaded(page, "#save-picture", tmp_path)).size == (640, 480)
    page.screenshot(path=tmp_path / "detector.png")


def test_masks_and_class_maps_lie_where_they_belong(page: Any, tmp_path: Path) -> None:
    """Colours on the canvas differ from the picture inside the predictor's masks, and nowhere far from them."""
    plain = np.asarray(Image.open(NUCLEI[0]).convert("RGB"), int)
    for model, name in (("nuclei", MASKS), ("classes", CLASSES)):
        look(page, model, NUCLEI[0])
        page.fill("#opacity", "1")
        page.screenshot(path=tmp_path / f"{model}.png")
        drawn = np.asarray(Image.open(downloaded(page, "#save-picture", tmp_path)).convert("RGB"), int)
        changed = np.abs(drawn - plain).max(-1) > 24
        result: Any = ii.Predictor(name, device="cpu")(NUCLEI[0])
        if model == "nuclei":
            inside = result.filter(0.3).masks.any(0)
            assert changed[inside].mean() > 0.9
            page.uncheck("#masks")
            bare = np.asarray(Image.open(downloaded(page, "#save-picture", tmp_path)).convert("RGB"), int)
            assert (np.abs(bare - plain).max(-1) > 24)[inside].mean() < 0.4  # the lines of boxes alone
        else:
            wanted = np.array([result.colour(i) for i in range(len(result.names))])[result.label_map]
            assert (np.abs(drawn - wanted).max(-1) <= 2).mean() > 0.99


def test_classes_are_bars_and_errors_are_said(page: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    look(page, CLASSIFIER, PHOTOS[0])
    assert page.locator("#table tbody tr").count() == 5
    assert page.inner_text("#caption").startswith(ii.Predictor(CLASSIFIER, device="cpu")(PHOTOS[0]).top(1)[0].label)
    page.set_input_files("#files", [str(bad)])
    page.wait_for_selector("#list .error")
    assert "not an image in a known format" in page.inner_text("#list .error")


def test_a_phone_and_a_keyboard_suffice(page: Any, tmp_path: Path) -> None:
    """All controls are reached with Tab; nothing is wider than a phone; what is seen stands in words, too."""
    page.set_viewport_size({"width": 390, "height": 844})
    look(page, "cells", *CELLS[:2])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    reached = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.closest('ul')?.id"))
    assert {"model", "files", "list", "threshold", "save-json", "save-coco", "save-picture"} <= reached
    assert "objects" in page.get_attribute("#canvas", "aria-label")
    page.screenshot(path=tmp_path / "phone.png", full_page=True)


def test_a_video_is_seen_frame_by_frame(page: Any, tmp_path: Path) -> None:
    look(page, "cells", clip(tmp_path / "clip.mp4", frames=60))  # 2.4 seconds, a frame each
    page.wait_for_selector("#list li:nth-child(3)")
    assert page.locator("#list li").all_inner_texts() == [f"clip.mp4 {time}.0 s" for time in (0, 1, 2)]
    page.screenshot(path=tmp_path / "video.png")

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import DESKTOP, MLFLOW
from playwright.sync_api import Browser, Page

from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.analysis.rendering.figures import drawing
from study.analysis.rendering.figures.catalogue import figures
from study.analysis.rendering.page.html import as_html


@pytest.fixture(scope="module")
def file(module_whole: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the made-up study that `whole` is."""
    home = tmp_path_factory.mktemp("home")
    tables = build_tables(module_whole.entries)
    report = build_report(tables)
    charts = figures(report, tables, home)
    with drawing.writing(charts, home) as drawn:
        pass
    links = dict.fromkeys(tables["trials"]["trial"].to_pylist(), f"{MLFLOW}/#/experiments/1/runs/7")
    path = home / "report.html"
    path.write_text(as_html(report, charts, tables["trials"], home, links, drawn), encoding="utf-8")
    return path


@pytest.fixture
def visit(browser: Browser, file: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page; at the end, nothing was asked of a network and nothing went wrong."""
    asked: list[str] = []
    said: list[str] = []
    contexts = []

    def open_page(size: tuple[int, int] = DESKTOP, **options: Any) -> Page:
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(offline=True, viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert not said

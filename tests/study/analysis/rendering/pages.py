"""What a report's page holds, read from its text."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from playwright.sync_api import Locator, Page

INLINE = ("a", "b", "small")
DESKTOP, PHONE = (1280, 800), (390, 844)
MLFLOW = "http://127.0.0.1:5000"


class Tree(HTMLParser):
    """The page's tags with their attributes, and its text without scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        self._apart(tag)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        self._apart(tag)

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.texts.append(data)

    def _apart(self, tag: str) -> None:
        if tag not in INLINE:
            self.texts.append(" ")

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def unpacked(page: str, part: str) -> str:
    """What the page's script reads: ``data`` or ``vega``."""
    found = re.search(rf'<script type="application/octet-stream" id="{part}">(.*?)</script>', page)
    assert found is not None
    return gzip.decompress(b64decode(found[1])).decode()


def data_of(page: str) -> dict[str, Any]:
    """Its charts' specs and the rows of its trials."""
    found: dict[str, Any] = json.loads(unpacked(page, "data"))
    return {**found, "trials": list(zip(*found["trials"], strict=True))}


def trials(page: Page) -> Locator:
    """The rows of the table of trials, which are made when they are near."""
    page.locator("#trials").scroll_into_view_if_needed()
    rows = page.locator("#trials tbody tr")
    rows.first.wait_for()
    return rows

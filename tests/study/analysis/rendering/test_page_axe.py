"""What axe-core finds on the page of a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from pages import DESKTOP, PHONE, trials
from playwright.sync_api import Page


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(visit: Callable[..., Page], size: Any) -> None:
    page = visit(size, bypass_csp=True)
    trials(page)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()

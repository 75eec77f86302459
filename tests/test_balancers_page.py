"""docs/balancers.md says what the code says, of every balancer."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from vae_core.balancers import FAMILIES

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "balancers.md").read_text()


def test_what_it_says_of_each_is_the_codes() -> None:
    """If not: python docs/pictures/balancers.py DATA writes it anew."""
    script = runpy.run_path(str(DOCS / "pictures" / "balancers.py"))
    assert PAGE.endswith(script["sections"]())
    assert script["PICTURE"].is_file()


def test_its_tables_have_every_one_once() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(row for row in rows if " at its " not in row))
    assert sorted(named) == sorted(FAMILIES)

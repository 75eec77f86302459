"""The glossary: whole, in order, and what the document and the page's headings say."""

from __future__ import annotations

import re
from pathlib import Path

from study.glossary import GLOSSARY, headings, term_of

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "glossary.md"


def test_the_document_says_what_the_page_says() -> None:
    rows = re.findall(r"^\| (.*) \| (.*) \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    said = [(name, meaning, also) for name, meaning, also in rows if name != "term"]
    assert said == [(term.name, term.meaning, ", ".join(term.also)) for term in GLOSSARY]


def test_terms_are_in_order_and_no_heading_has_two() -> None:
    names = [term.name for term in GLOSSARY]
    assert names == sorted(names, key=str.lower)
    every = [name for term in GLOSSARY for name in (term.name, *term.also)]
    assert len(every) == len(headings())


def test_a_heading_is_found_without_its_interval_and_its_unit() -> None:
    for heading in ("trials [95 %]", "trials", "Trial"):
        found = term_of(heading)
        assert found is not None
        assert found.name == "trial"
    rate = term_of("R (nats)")
    assert rate is not None
    assert rate.name == "rate"
    assert term_of("fashion_mnist") is None

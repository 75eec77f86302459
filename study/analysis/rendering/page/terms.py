"""The glossary of a page: every term and metric, and links to them."""

from __future__ import annotations

import re
from functools import cache

from markupsafe import Markup, escape

from study.glossary import GLOSSARY, Term, term_of
from study.metrics import METRICS


@cache
def entries() -> list[Term]:
    """The terms, and the metrics by the headings of their columns, in alphabetical order."""
    labels: dict[str, list[str]] = {}
    for metric in METRICS.values():
        column = metric.column or metric.short
        if (metric.table or metric.objective) and term_of(column) is None:
            labels.setdefault(column, []).append(metric.heading)
    metrics = [Term(column, f"{'; '.join(found)}.") for column, found in labels.items()]
    return sorted([*GLOSSARY, *metrics], key=lambda term: term.name.lower())


def anchor(term: Term) -> str:
    """The id of a term's entry."""
    return f"term-{re.sub(r'[^a-z0-9]+', '-', term.name.lower()).strip('-')}"


def named(heading: str) -> Term | None:
    """The term that a heading stands for."""
    of_metric = {term.name: term for term in entries()}
    return term_of(heading) or of_metric.get(heading.partition(", 95 %")[0].partition(" [95 %]")[0])


def linked(heading: str) -> Markup:
    """A heading as a link to its term, where it has one."""
    term = named(heading)
    return _link(term, heading) if term else escape(heading)


def explained(text: str) -> Markup:
    """``text`` with the first mention of each term, by its name, as a link to it."""
    seen: set[Term] = set()
    found = Markup()
    for part in _NAMES.split(text):
        term = _of(part)
        if term is None or term in seen:
            found += escape(part)
        else:
            seen.add(term)
            found += _link(term, part)
    return found


def _link(term: Term, words: str) -> Markup:
    return Markup('<a class="term" href="#{}">{}</a>').format(anchor(term), words)


def _of(words: str) -> Term | None:
    known = {term.name.lower(): term for term in GLOSSARY}
    return known.get(words.lower()) or known.get(words.lower().removesuffix("s"))


_NAMES = re.compile(
    r"(?<![\w-])({})(?![\w-])".format(
        "|".join(f"{re.escape(t.name)}s?" for t in sorted(GLOSSARY, key=lambda t: -len(t.name)))
    ),
    re.IGNORECASE,
)

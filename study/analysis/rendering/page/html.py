"""A report as one HTML page: figures, tables, pictures and trials, opened without a network."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from study.analysis.answers.multi_study import SeveralReport
from study.analysis.answers.report import Report
from study.analysis.records.tables import study_facts
from study.analysis.rendering.figures import drawing
from study.analysis.rendering.figures.chart import Figure
from study.analysis.rendering.page import terms
from study.analysis.rendering.page import trials as trials_table
from study.analysis.rendering.page.galleries import galleries
from study.analysis.rendering.page.origin import origin
from study.analysis.rendering.tables.catalogue import tables

NOTHING_DRAWN = drawing.Drawn()
FIRST = "confirm"
"""The figure beside the answer."""


def as_html(
    report: Report,
    figures: Sequence[Figure],
    trials: pa.Table,
    home: Path,
    links: Mapping[str, str] | None = None,
    drawn: drawing.Drawn = NOTHING_DRAWN,
) -> str:
    """The page, whole: scripts, charts and pictures are in it, and it asks no network for more.

    Args:
        report: What it reports.
        figures: What :func:`.figures.catalogue.figures` made of the same study.
        trials: The table of `trials.parquet`.
        home: The study's folder, with the pictures of its confirm runs.
        links: URLs of trials in MLflow's pages, by their names.
        drawn: The figures as they are shown until they are used; without, a browser draws them.
    """
    facts = study_facts(trials)
    pictures = galleries([arm.arm for arm in report.arms], trials, home)
    server, places = _server(links or {})
    sections = {
        "figures": "Figures",
        **({"pictures": "Pictures from the models"} if pictures.shown or pictures.left_out else {}),
        "tables": "Tables",
        "trials": "Trials",
        "notes": "Notes",
        "settings": "Settings",
        "glossary": "Glossary",
    }
    charts = [figure for figure in figures if figure.chart is not None]
    return _page(
        "page.html",
        sections,
        {
            "specs": {figure.name: _rounded(figure.spec()) for figure in charts},
            "trials": trials_table.trial_columns(trials, report.objective, places),
        },
        report=report,
        first=next((figure for figure in figures if figure.name == FIRST), None),
        figures=[figure for figure in figures if figure.name != FIRST],
        drawn=drawn,
        tables=tables(report),
        pictures=pictures,
        trials=trials.num_rows,
        columns=trials_table.COLUMNS,
        left=trials_table.LEFT,
        server=server,
        origin=origin(trials),
        settings=yaml.safe_dump(facts.get("spec"), sort_keys=False, allow_unicode=True),
    )


def several_as_html(
    report: SeveralReport, studies: Sequence[Report], pages: Mapping[str, str]
) -> str:
    """The joint page of several studies; ``pages`` are links to theirs, by their names."""
    sections = {"studies": "Studies", "tables": "Tables", "notes": "Notes", "glossary": "Glossary"}
    return _page(
        "several.html",
        sections,
        {"specs": {}, "trials": []},
        report=report,
        studies=studies,
        pages=pages,
        tables=tables(report),
    )


def first_screen(report: Report, picture: str) -> str:
    """The first screen of ``report`` as a part of another page, a notebook's.

    ``picture`` is the chart of its arms as SVG, or "".
    """
    return _environment().get_template("first.html").render(report=report, picture=picture)


def _page(template: str, sections: Mapping[str, str], data: Any, **content: Any) -> str:
    """A page of ``template``; ``data`` is what its script reads."""
    vega, script = (drawing.vega() if data["specs"] else ""), _source("page.js")
    return _environment().get_template(template).render(
        **content,
        sections=sections.items(),
        css=Markup(_source("page.css")),
        script=Markup(script),
        vega=_packed(vega),
        data=_packed(json.dumps(data, separators=(",", ":"))),
        policy=_policy(vega, script),
    )  # fmt: skip


def _packed(text: str) -> str:
    """``text`` as the page's script unpacks it. The same text gives the same."""
    return b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _rounded(values: Any) -> Any:
    """``values`` with numbers of eight digits: tooltips show no more, and all fill a page."""
    match values:
        case float():
            return float(f"{values:.8g}")
        case dict():
            return {name: _rounded(value) for name, value in values.items()}
        case list() | tuple():
            return [_rounded(value) for value in values]
    return values


def _server(links: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """The address of MLflow's pages, and the trials' places there; other addresses are dropped."""
    marked = {name: link.partition("/#/") for name, link in links.items()}
    servers = {server for server, mark, _ in marked.values() if mark}
    if len(servers) != 1 or not (server := servers.pop()).startswith(("http://", "https://")):
        return "", {}
    return server, {name: f"/#/{place}" for name, (_, mark, place) in marked.items() if mark}


def _policy(*scripts: str) -> str:
    """What a browser lets the page do: run these scripts, show pictures that are in it."""
    hashes = (b64encode(sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("study.analysis.rendering", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"linked": terms.linked, "explained": terms.explained}
    found.globals |= {"glossary": terms.entries(), "anchor": terms.anchor}
    return found

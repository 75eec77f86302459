"""A report as one HTML page: figures, tables, pictures and trials, opened without a network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from study.analysis.answers.report import Report
from study.analysis.records.tables import study_facts
from study.analysis.rendering.figures import drawing
from study.analysis.rendering.figures.chart import Figure
from study.analysis.rendering.page.galleries import galleries
from study.analysis.rendering.page.trials import trial_rows
from study.analysis.rendering.tables.catalogue import tables


def as_html(
    report: Report,
    figures: Sequence[Figure],
    trials: pa.Table,
    home: Path,
    links: Mapping[str, str] | None = None,
    missing: Mapping[str, str] | None = None,
) -> str:
    """The page, whole: scripts, charts and pictures are in it, and it asks no network for more.

    Args:
        report: What it reports.
        figures: What :func:`.figures.catalogue.figures` made of the same study.
        trials: The table of `trials.parquet`.
        home: The study's folder, with the pictures of its confirm runs.
        links: URLs of trials elsewhere, by their names.
        missing: Why figures have no picture file, by their names.
    """
    facts = study_facts(trials)
    pictures = galleries([arm.arm for arm in report.arms], trials, home)
    vega, script = drawing.vega(), _source("page.js")
    sections = {
        "answer": "Answer",
        "figures": "Figures",
        **({"pictures": "Pictures from the models"} if pictures.shown or pictures.left_out else {}),
        "tables": "Tables",
        "trials": "Trials",
        "notes": "Notes",
        "settings": "Settings",
    }
    return _environment().get_template("page.html").render(
        report=report,
        figures=figures,
        missing=missing or {},
        tables=tables(report),
        pictures=pictures,
        trials=list(trial_rows(trials, report.objective, links or {})),
        sections=sections.items(),
        settings=yaml.safe_dump(facts.get("spec"), sort_keys=False, allow_unicode=True),
        code_version=facts.get("code_version") or "unknown",
        specs={figure.name: figure.spec() for figure in figures if figure.chart is not None},
        css=_source("page.css"),
        vega=vega,
        script=script,
        policy=_policy(vega, script),
    )  # fmt: skip


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
    return Environment(
        loader=PackageLoader("study.analysis.rendering", "page"),
        autoescape=True,
        undefined=StrictUndefined,
    )

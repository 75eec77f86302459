"""A report as one HTML page: figures, tables, pictures and trials, opened without a network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from study.analysis.answers.report import Report
from study.analysis.records.artifacts import standing_files
from study.analysis.records.tables import study_facts
from study.analysis.rendering.figures import drawing
from study.analysis.rendering.figures.chart import Figure
from study.analysis.rendering.tables.catalogue import tables
from study.formatting import NONE

PICTURES = 2 * 2**20
"""Bytes of pictures that a page holds; further ones are named."""

_GALLERIES = {
    "samples": "Samples from the prior",
    "samples_second_stage": "Samples of the second stage",
    "reconstructions": "Test images and their reconstructions",
}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def as_html(
    report: Report,
    figures: Sequence[Figure],
    trials: pa.Table,
    home: Path,
    links: Mapping[str, str] | None = None,
) -> str:
    """The page, whole: scripts, charts and pictures are in it, and it asks no network for more.

    Args:
        report: What it reports.
        figures: What :func:`.figures.catalogue.figures` made of the same study.
        trials: The table of `trials.parquet`.
        home: The study's folder, with the pictures of its confirm runs.
        links: Where trials are looked at elsewhere, by their names.
    """
    facts = study_facts(trials)
    galleries, left_out = _galleries(report, trials, home)
    vega, script = drawing.vega(), _source("page.js")
    sections = {
        "answer": "Answer",
        "figures": "Figures",
        **({"pictures": "What the models draw"} if galleries or left_out else {}),
        "tables": "Tables",
        "trials": "Trials",
        "notes": "Notes",
        "settings": "Settings",
    }
    return _environment().get_template("page.html").render(
        report=report,
        figures=figures,
        tables=tables(report),
        galleries=galleries,
        left_out=left_out,
        trials=list(_trials(report, trials, links or {})),
        sections=sections.items(),
        settings=yaml.safe_dump(facts.get("spec"), sort_keys=False, allow_unicode=True),
        code_version=facts.get("code_version") or "unknown",
        specs={figure.name: figure.spec() for figure in figures if figure.chart is not None},
        css=_source("page.css"),
        vega=vega,
        script=script,
        policy=_policy(vega, script),
    )  # fmt: skip


@dataclass(frozen=True)
class _Picture:
    arm: str
    seed: int
    about: str
    width: int
    height: int
    base64: str


def _galleries(
    report: Report, trials: pa.Table, home: Path
) -> tuple[list[tuple[str, list[_Picture]]], list[str]]:
    """The pictures of each kind, an arm's first; and the paths of those there is no room for."""
    galleries, left_out, room = [], [], PICTURES
    for name, title in _GALLERIES.items():
        shown: dict[str, _Picture] = {}
        passed = set()
        for trial, path in standing_files(trials, home, name):
            arm = trial["arm"]
            if arm in shown or arm in passed:
                continue
            if path.stat().st_size > room:
                left_out.append(str(path.relative_to(home.resolve())))
                passed.add(arm)
                continue
            content = path.read_bytes()
            if content.startswith(_SIGNATURE) and len(content) > 24:
                shown[arm] = _picture(trial, content)
                room -= len(content)
        pictures = [shown[arm.arm] for arm in report.arms if arm.arm in shown]
        if pictures:
            galleries.append((title, pictures))
    return galleries, left_out


def _picture(trial: Mapping[str, Any], content: bytes) -> _Picture:
    beta = "" if trial["beta"] is None else f"beta {trial['beta']:.3g}, "
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    encoded = b64encode(content).decode()
    about = f"{beta}seed {trial['seed']}"
    return _Picture(trial["arm"], trial["seed"], about, width, height, encoded)


def _trials(
    report: Report, trials: pa.Table, links: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    """Every trial as what stands in its row."""
    test = f"test_{report.objective.name}"
    columns = ["trial", "arm", "phase", "replicate", "number", "seed", "params", "state", "reason",
               "objective", "images", "billed_seconds"]  # fmt: skip
    known = [*columns, test] if test in trials.column_names else columns
    for row in trials.select(known).to_pylist():
        params = json.loads(row["params"])
        link = links.get(row["trial"], "")
        yield {
            **row,
            "name": row["trial"],
            "link": link if link.startswith(("http://", "https://")) else "",
            "params": ", ".join(f"{key}={_short(value)}" for key, value in params.items()) or NONE,
            "state": f"{row['state']}: {row['reason']}" if row["reason"] else row["state"],
            "objective": report.objective.number(row["objective"]),
            "test": report.objective.number(row.get(test)),
            "images": f"{row['images']:,}",
            "seconds": f"{row['billed_seconds']:,.1f}",
        }


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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

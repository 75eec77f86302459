"""The page of a report, read as text; `test_html_browser.py` opens it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pages import Tree, data_of, unpacked
from PIL import Image

from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.analysis.rendering.figures.catalogue import figures
from study.analysis.rendering.page.galleries import PICTURES
from study.analysis.rendering.page.html import as_html
from study.analysis.rendering.tables.catalogue import tables as text_tables
from study.journal.events import TrialEnded

Make = Callable[..., Any]
NASTY = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def page_of(stream: Any, home: Path, links: Mapping[str, str] | None = None) -> str:
    tables = build_tables(stream.entries)
    report = build_report(tables)
    return as_html(report, figures(report, tables, home), tables["trials"], home, links)


def picture(home: Path, name: str, size: int = 8) -> str:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((size, size), 90).save(path, format="PNG", compress_level=0)
    return name


def with_pictures(stream: Any, artifacts: Mapping[int, Mapping[str, str]]) -> None:
    """Confirm runs of sigma, seed -> what they left."""
    for number, (seed, left) in enumerate(artifacts.items()):
        trial = stream.ask("sigma", "confirm", number, seed, {})
        stream.begin(trial)
        stream.report(trial, 1, 9.0)
        stream.emit(TrialEnded(trial, "complete", 1, 9.0, artifacts=dict(left)))


def test_the_page_says_all_that_the_report_says(whole: Any, tmp_path: Path) -> None:
    report = build_report(build_tables(whole.entries))
    tree = Tree(page_of(whole, tmp_path))
    for sentence in (*report.verdict, *report.remarks, *report.notes):
        assert sentence in tree.text
    for table in text_tables(report):
        assert f"{table.title} {table.about[0].upper()}{table.about[1:]}." in tree.text
        for cell in (cell for row in table.rows for cell in row):
            assert " ".join(cell.replace("+-", "±").split()) in tree.text
    rows = {row[0]: row for row in data_of(page_of(whole, tmp_path))["trials"]}
    assert list(rows) == build_tables(whole.entries)["trials"]["trial"].to_pylist()
    assert rows["tpe.search.r0.0002"][2] == "failed: diverged at step 1"
    assert "balancer" in tree.text, "its settings"


def test_the_first_thing_read_is_the_answer(whole: Any, tmp_path: Path) -> None:
    report = build_report(build_tables(whole.entries))
    page = page_of(whole, tmp_path)
    outcome = f"<h1>{report.first_screen.outcome.capitalize()}"
    places = [page.index(mark) for mark in (outcome, 'class="tile"', 'id="figure-confirm"',
              'class="verdict"', 'id="figures"', "<table", 'id="notes"')]  # fmt: skip
    assert places == sorted(places)
    tiles = Tree(page[places[1] : places[2]]).text
    for number in report.first_screen.numbers:
        assert number.short in tiles
        assert number.words in tiles


def test_nothing_is_fetched_and_only_the_page_s_own_scripts_run(whole: Any, tmp_path: Path) -> None:
    page = page_of(whole, tmp_path)
    tree = Tree(page)
    assert not any("src" in attributes for attributes in tree.all("script"))
    assert not list(tree.all("link"))
    assert all(str(a["src"]).startswith("data:image/png") for a in tree.all("img"))
    assert all(str(a["href"]).startswith("#") for a in tree.all("a"))
    policy = next(a["content"] for a in tree.all("meta") if "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'; ")
    assert "unsafe-eval" not in str(policy)
    scripts = [
        body
        for kind, body in re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
        if "octet-stream" not in kind
    ]
    scripts = [unpacked(page, "vega"), *(s for s in scripts if "unpack" in s)]
    assert len(scripts) == 2
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert re.findall(r"'sha256-([^']+)'", str(policy)) == digests


def test_the_same_records_give_the_same_page(whole: Any, tmp_path: Path) -> None:
    assert page_of(whole, tmp_path) == page_of(whole, tmp_path)


def test_what_a_study_says_of_itself_is_text(
    make_stream: Make, arms: Mapping[str, Any], tmp_path: Path
) -> None:
    """A study may be somebody else's."""
    name = f"sigma{NASTY}"
    stream = make_stream({"tpe": arms["hand"], name: arms["automatic"]})
    stream.describe(question=NASTY)
    trial = stream.ask(name, "confirm", 0, 101, {NASTY: NASTY})
    stream.begin(trial)
    stream.emit(TrialEnded(trial, "failed", 0, reason=f"diverged: {NASTY}"))
    stream.confirm(name, {102: 9.0, 103: 9.5})
    page = page_of(stream, tmp_path, {trial: "javascript:alert(1)"})
    plain = page_of(make_stream(), tmp_path)
    assert page.count("<script") == plain.count("<script") == 3
    assert NASTY not in page
    assert not list(Tree(page).all("img"))
    assert not any(str(a["href"]).startswith("javascript") for a in Tree(page).all("a"))


def test_trials_are_linked_where_a_place_is_known(whole: Any, tmp_path: Path) -> None:
    url = "http://127.0.0.1:5000/#/experiments/1/runs/2?a=1&b=2"
    page = page_of(whole, tmp_path, {"tpe.search.r0.0000": url})
    places = {row[0]: row[-1] for row in data_of(page)["trials"] if row[-1]}
    assert places == {"tpe.search.r0.0000": "/#/experiments/1/runs/2?a=1&b=2"}
    assert next(Tree(page).all("body"))["data-server"] == "http://127.0.0.1:5000"


def test_an_arm_s_first_pictures_are_shown_with_their_beta(
    make_stream: Make, tmp_path: Path
) -> None:
    stream = make_stream()
    with_pictures(stream, {
        101: {"reconstructions": picture(tmp_path, "a/rec.png")},
        102: {"samples": picture(tmp_path, "b/samples.png", 16)},
        103: {"samples": picture(tmp_path, "c/samples.png")},
    })  # fmt: skip
    tree = Tree(page_of(stream, tmp_path))
    shown = list(tree.all("img"))
    assert [image["alt"] for image in shown] == [
        "Samples from the prior: sigma, seed 102",
        "Test images and their reconstructions: sigma, seed 101",
    ]
    assert (shown[0]["width"], shown[0]["height"]) == ("16", "16")
    content = base64.b64decode(str(shown[0]["src"]).partition(",")[2])
    assert content == (tmp_path / "b" / "samples.png").read_bytes()
    assert Image.open(io.BytesIO(content)).size == (16, 16)
    assert "beta 0.25, seed 102" in tree.text


def test_pictures_beyond_the_page_s_size_are_named(make_stream: Make, tmp_path: Path) -> None:
    stream = make_stream()
    large = picture(tmp_path, "a/large.png", 1500)
    assert (tmp_path / large).stat().st_size > PICTURES
    with_pictures(
        stream, {101: {"samples": large, "reconstructions": picture(tmp_path, "a/s.png")}}
    )
    tree = Tree(page_of(stream, tmp_path))
    assert len(list(tree.all("img"))) == 1
    assert "Left out to limit the page's size, in the study's folder: a/large.png." in tree.text


@pytest.mark.parametrize("how", ["absolute", "upwards", "by a link", "gone", "no picture"])
def test_files_outside_of_the_study_are_not_shown(
    make_stream: Make, tmp_path: Path, how: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    picture(tmp_path, "outside.png")
    os.symlink(tmp_path / "outside.png", home / "link.png")
    (home / "text.png").write_text("secret, and no picture at all")
    path = {"absolute": str(tmp_path / "outside.png"), "upwards": "../outside.png",
            "by a link": "link.png", "gone": "gone.png", "no picture": "text.png"}  # fmt: skip
    stream = make_stream()
    with_pictures(stream, {101: {"samples": path[how]}})
    tree = Tree(page_of(stream, home))
    assert not list(tree.all("img"))
    assert "Pictures from the models" not in tree.text


def test_two_thousand_trials_weigh_little(make_stream: Make, tmp_path: Path) -> None:
    stream = make_stream()
    stream.search("tpe", [10.0 + (i * 7919 % 2000) / 100 for i in range(2000)])
    stream.confirm("tpe", {101: 9.0, 102: 9.2}, chosen_from=0)
    stream.confirm("sigma", {101: 9.0, 102: 9.2})
    page = page_of(stream, tmp_path)
    assert len(page.encode()) < 2**20
    assert len(data_of(page)["trials"]) == 2004


@pytest.mark.parametrize("which", ["nothing", "one seed", "failed", "no hand"])
def test_a_study_with_few_results_has_a_page_that_says_so(
    make_stream: Make, arms: Mapping[str, Any], tmp_path: Path, which: str
) -> None:
    stream = make_stream({"sigma": arms["automatic"]}) if which == "no hand" else make_stream()
    if which == "one seed":
        stream.search("tpe", [9.0])
        stream.confirm("tpe", {101: 9.0}, chosen_from=0)
        stream.confirm("sigma", {101: 9.0})
    elif which == "failed":
        stream.search("tpe", [None, None])
        stream.confirm("sigma", {101: None})
    tree = Tree(page := page_of(stream, tmp_path))
    said = (
        "Inconclusive by design" if which == "one seed" else "whether searching pays can't be told"
    )
    assert said.lower() in tree.text.lower()
    for words in (tree.text, json.dumps(data_of(page))):
        assert not re.search(r"\b(nan|NaN|inf|Infinity|None|undefined)\b", words)
    assert len(list(tree.all("figure"))) > 8, "also those that show nothing say why"
    assert "Nothing to show: " in tree.text

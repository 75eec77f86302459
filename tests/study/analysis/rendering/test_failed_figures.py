"""A part of a report that fails says so in its place, and the rest of the report is complete."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.analysis.answers import assembly as answers
from study.analysis.answers import costs
from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.analysis.rendering.figures.catalogue import figures
from study.analysis.rendering.figures.drawing import Drawn
from study.analysis.rendering.page.html import as_html
from study.analysis.rendering.tables import break_even
from study.analysis.rendering.tables.catalogue import tables
from study.analysis.rendering.text import as_text, render


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("<b>no</b> trials")


def shown(stream: Any, home: Path) -> dict[str, str]:
    """The report in each of its forms, without line breaks."""
    made = build_tables(stream.entries)
    report = build_report(made)
    terminal = Terminal()
    render(report, terminal)
    page = as_html(report, figures(report, made, home), made["trials"], home)
    forms = {"text": as_text(report), "terminal": terminal.getvalue(), "page": page}
    return {form: " ".join(text.split()) for form, text in forms.items()}


def titles(stream: Any) -> list[str]:
    return [table.heading for table in tables(build_report(build_tables(stream.entries)))]


def test_a_sound_report_has_no_failure(whole: Any) -> None:
    report = build_report(build_tables(whole.entries))
    assert not report.failures
    assert all(table.rows and table.columns for table in tables(report))


def break_an_answer(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(answers, "break_evens", fail)
    return "The break-even by calibrated negative ELBO"


def break_a_table(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(break_even, "_break_even", fail)
    return "The table of break even"


@pytest.mark.parametrize("break_it", [break_an_answer, break_a_table])
def test_what_fails_is_a_section_in_every_form_and_the_rest_stands(
    whole: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[pytest.MonkeyPatch], str],
) -> None:
    sound = [title for title in titles(whole) if not title.startswith("Break-even")]
    title = break_it(monkeypatch)
    found = titles(whole)
    assert [title for title in found if "could not be computed" not in title] == sound
    sentence = f"{title}: could not be computed: ZeroDivisionError: <b>no</b> trials"
    assert sentence in found
    forms = shown(whole, tmp_path)
    assert sentence in forms["text"]
    assert sentence in forms["terminal"]
    assert "<b>no</b>" not in forms["page"], "it is text"
    error = "could not be computed: ZeroDivisionError: &lt;b&gt;no&lt;/b&gt; trials"
    assert f'">{title}</h3> <p class="about">{error}.</p>' in forms["page"]
    for text in forms.values():
        assert "Inconclusive by design" in text


def test_without_an_account_there_are_no_tables_of_it_and_all_others(
    whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = ("Device seconds of",)
    sound = [title for title in titles(whole) if not title.startswith(account)]
    monkeypatch.setattr(costs, "paid", fail)
    failed, *rest = titles(whole)
    assert "could not be computed: ZeroDivisionError" in failed
    assert rest == sound


def test_without_results_of_the_arms_there_is_still_a_report(
    whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "arm_results", fail)
    assert "could not be computed: ZeroDivisionError" in titles(whole)[0]
    for text in shown(whole, tmp_path).values():
        assert "could not be computed: ZeroDivisionError" in text


def test_the_page_says_which_picture_is_missing_and_why(whole: Any, tmp_path: Path) -> None:
    made = build_tables(whole.entries)
    report = build_report(made)
    drawn = figures(report, made, tmp_path)
    page = as_html(
        report, drawn, made["trials"], tmp_path, drawn=Drawn({}, {"search": "OSError: <full>"})
    )
    says = "Its picture in the folder figures is missing: OSError: &lt;full&gt;"
    assert page.count("Its picture in the folder figures is missing") == 1
    assert page.index('id="figure-search"') < page.index(says) < page.index('id="figure-plane"')
    assert says not in as_html(report, drawn, made["trials"], tmp_path)

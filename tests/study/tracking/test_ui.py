"""A study in MLflow's pages: in a real Chromium, served by a real server."""

from __future__ import annotations

import importlib
import re
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from study.analysis.answers.by_arm import RunAnswer
from study.journal import Entry, StudyHome, read_entries
from study.journal import Journal as JournalOnDisk
from study.journal.events import StudyDescribed
from study.tracking import MlflowWriter, run_links
from study.tracking.store import tracking_uri

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from .conftest import Journal, Server, Store

pages = importlib.import_module("study.tracking.ui")  # the package's `ui` is the function
BEGUN = Entry(0, 0.0, StudyDescribed("digits", {}, "", ""))
TRAINING = "workflowType=machine_learning"
PATIENCE = 60_000  # milliseconds that a page has to show what is waited for
ANSWERS = {
    "tpe": RunAnswer({"answer/cost_ratio": 13.0}, {"kind": "hand-tuned"}, "It is by hand"),
    "auto": RunAnswer({"answer/cost_ratio": 1.0}, {"kind": "automatic"}, "It is its own"),
}


def finish(journal: Journal, store: Store, answers: dict[str, RunAnswer], **files: str) -> None:
    """One driver's life, to a report whose ``files`` (name -> text) and ``answers`` are logged."""
    writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
    for entry in journal.entries:
        writer.send(entry)
    paths = {f"report/{name}.html": journal.home / f"{name}.html" for name in files}
    for path, text in zip(paths.values(), files.values(), strict=True):
        path.write_text(text)
    writer.finish_study(paths, "Searching **pays**.", answers)
    assert writer.close(60) == 0, writer.problem


def two_arms(journal: Journal) -> list[str]:
    """A finished study; its trials."""
    journal.begin()
    trials = [journal.ask(0), journal.ask(0, arm="auto", chosen_from=None)]
    for trial in trials:
        journal.train(trial)
    journal.finish()
    return trials


def on_disk(home: Path, entries: Iterable[Entry]) -> StudyHome:
    """The home of a study whose journal holds these events, each with a time of its own."""
    with closing(JournalOnDisk(home)) as journal:
        for entry in entries:
            journal.append(entry.event)
        journal.commit()
    return StudyHome(home.parent, home.name)


@pytest.fixture
def server(shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A running server on the studies' home."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return shared_server


@pytest.fixture
def journal(journal: Journal, server: Server, request: pytest.FixtureRequest) -> Journal:
    """The journal of a study of the server's, named after the test."""
    home = server.studies / request.node.name
    shutil.copytree(journal.home, home)
    journal.home = home
    return journal


@pytest.fixture
def store(server: Server, journal: Journal, store_at: Callable[..., Store]) -> Store:
    """The server's store, of which it shows the journal's study."""
    return store_at(tracking_uri(server.studies), journal.home.name)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def test_a_finished_study_answers_in_the_pages(
    journal: Journal, store: Store, server: Server, page: Page
) -> None:
    two_arms(journal)
    finish(journal, store, ANSWERS, report="<h1>It says so itself</h1>")
    study = store.runs()["study"]

    runs = f"{server.uri}/#/experiments/{study.info.experiment_id}/runs"
    page.goto(f"{runs}?{TRAINING}")
    page.locator(".ag-row button:visible").first.click()
    for arm in ("tpe (hand-tuned)", "auto (automatic)"):
        page.locator(".ag-row", has_text=arm).locator("input[type=checkbox]").first.check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Comparing 2 Runs").wait_for()
    page.get_by_text("answer/cost_ratio").first.wait_for()
    for ratio in ("13", "1"):
        page.get_by_text(ratio, exact=True).first.wait_for()
    for arm in ("tpe (hand-tuned)", "auto (automatic)"):
        page.get_by_text(arm).first.wait_for()

    page.goto(f"{runs}/{study.info.run_id}?{TRAINING}")
    page.get_by_text("How to read these runs").wait_for()
    page.get_by_text("does a search pay?").first.wait_for()

    page.goto(f"{runs}/{study.info.run_id}/artifacts/report/report.html?{TRAINING}")
    page.frame_locator("iframe").get_by_text("It says so itself").wait_for()


def test_links_open_the_runs_of_trials(
    journal: Journal, store: Store, server: Server, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = two_arms(journal)
    home = on_disk(journal.home, journal.entries)
    assert run_links(home) == {}
    store.write(journal.home, read_entries(home.path))
    embedded = run_links(home)
    assert set(embedded) == set(trials)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    served = run_links(home)
    assert served == {
        trial: link.replace("http://127.0.0.1:5000/", f"{server.uri}/")
        for trial, link in embedded.items()
    }
    page.goto(served[trials[0]])
    page.get_by_role("heading", name=re.compile("#0 r0 tpe search")).wait_for()


def test_without_a_store_there_are_no_links_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "digits").mkdir()
    home = on_disk(tmp_path / "digits", [BEGUN])
    assert run_links(home) == {}
    assert not (tmp_path / "mlflow.db").exists()
    (tmp_path / "mlflow.db").write_text("no database")
    assert run_links(home) == {}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert run_links(home) == {}


def test_a_silent_server_gives_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_PATIENCE", 0.2)
    (tmp_path / "digits").mkdir()
    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
    with silent:
        assert run_links(on_disk(tmp_path / "digits", [BEGUN])) == {}


def test_a_long_list_of_runs_is_read_page_by_page(
    journal: Journal, store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_PAGE", 2)
    journal.begin()
    trials = [journal.ask(number) for number in range(5)]
    for trial in trials:
        journal.start(trial)
    home = on_disk(journal.home, journal.entries)
    store.write(journal.home, read_entries(home.path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert set(run_links(home)) == set(trials)

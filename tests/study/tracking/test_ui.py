"""A study in MLflow's pages: in a real Chromium, served by a real server."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from study.analysis.answers.by_arm import RunAnswer
from study.journal import Entry, StudyHome, read_entries
from study.journal import Journal as JournalOnDisk
from study.journal.events import StudyDescribed
from study.tracking import MlflowWriter, TrackingError, run_links, serve_ui, view_links
from study.tracking.store import tracking_uri
from study.tracking.views import TAG

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from .conftest import Journal, Server, Store

pages = importlib.import_module("study.tracking.ui")  # the package's `ui` is the function
BEGUN = Entry(0, 0.0, StudyDescribed("digits", {}, "", ""))
TRAINING = "workflowType=machine_learning"
PATIENCE = 60_000  # milliseconds that a page has to show what is waited for
SCORE = "answer/test_calibrated_negative_elbo_mean"
SENTENCE = "Inconclusive: no difference between hand-tuned tpe and automatic auto is shown."
SAID = RunAnswer({"answer/difference": 0.4}, {"answer": SENTENCE}, "Searching **pays**.")
ANSWERS = {
    "tpe": RunAnswer(
        {SCORE: 9.5, "answer/cost_ratio": 13.0},
        {"kind": "hand-tuned", "score": "9.50 +- 0.30 over 3 seeds", "cost": "13x"},
        "It is by hand",
        {"setting": "beta=0.5"},
    ),
    "auto": RunAnswer(
        {SCORE: 9.1, "answer/cost_ratio": 1.0},
        {"kind": "automatic", "score": "9.10 +- 0.20 over 3 seeds", "cost": "1x"},
        "It is its own",
    ),
}


def finish(journal: Journal, store: Store, answers: dict[str, RunAnswer], **files: str) -> None:
    """One driver's life, to a report whose ``files`` (name -> text) and ``answers`` are logged."""
    writer = MlflowWriter(store.uri, journal.home, lambda: True, journal.pack)
    for entry in journal.entries:
        writer.send(entry)
    paths = {f"report/{name}.html": journal.home / f"{name}.html" for name in files}
    for path, text in zip(paths.values(), files.values(), strict=True):
        path.write_text(text)
    writer.finish_study(paths, SAID, answers)
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


def cell(page: Page, row: int, column: str) -> Locator:
    """Of MLflow's list of runs, which is two tables side by side."""
    return page.locator(f".ag-row[row-index='{row}'] [col-id='{column}']")


def test_whether_tuning_paid_is_read_from_the_printed_link(
    journal: Journal,
    store: Store,
    server: Server,
    page: Page,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two_arms(journal)
    home = on_disk(journal.home, journal.entries)
    journal.entries = list(read_entries(home.path))  # whose times the links are of
    finish(journal, store, ANSWERS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    links = view_links(home)
    assert list(links) == ["Arms", "Trials", "Confirm runs", "Live"]

    page.goto(links["Arms"])
    page.get_by_text(SENTENCE).first.wait_for()
    for row, (arm, kind) in enumerate([("auto", "automatic"), ("tpe", "hand-tuned")]):
        cell(page, row, "attributes.`Run Name`").get_by_text(f"{arm} ({kind})").wait_for()
        for name in ("kind", "score", "cost"):
            said = cell(page, row, f"tags.`{name}`")
            said.wait_for()
            assert said.inner_text() == ANSWERS[arm].tags[name]
    assert cell(page, 2, "attributes.`Run Name`").count() == 0

    for row in page.locator(".ag-row input[type=checkbox]").all():
        row.check()
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Comparing 2 Runs").wait_for()
    for said in ("answer/cost_ratio", "balancer", "fixed_beta", "learned_sigma", "beta=0.5"):
        page.get_by_text(said, exact=True).first.wait_for()


def test_the_views_show_what_they_are_called(
    journal: Journal, store: Store, server: Server, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.begin()
    for number, end in enumerate(("complete", "complete", "pruned", "failed")):
        value = {} if end == "complete" else {"value": None}
        journal.train(journal.ask(number), state=end, **value)
    for arm in ("tpe", "auto"):
        for seed in (101, 102):
            journal.train(journal.ask(seed, arm=arm, seed=seed, chosen_from=0))
    journal.start(running := journal.ask(5))
    journal.report(running, 1)
    home = on_disk(journal.home, journal.entries)
    store.write(journal.home, read_entries(home.path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    links = view_links(home)

    page.goto(links["Trials"])
    for group in ("complete", "pruned", "failed"):
        page.get_by_text(f"Group: {group}").wait_for()
    for section, charts in (("Complete trials", 2), ("Pruned trials", 1)):
        page.get_by_text(section).wait_for()
        page.get_by_text(f"({charts})").first.wait_for()

    page.get_by_test_id("saved-views-trigger").click()  # MLflow's own list of the views
    page.get_by_role("menuitem", name="Arms").or_(
        page.get_by_text("Arms", exact=True)
    ).first.click()
    page.get_by_text("tpe (hand-tuned)").wait_for()

    page.goto(links["Confirm runs"])
    for arm in ("tpe", "auto"):
        page.get_by_text(f"Group: {arm}").wait_for()
    page.get_by_text("Means over seeds").wait_for()
    page.get_by_text("test/calibrated_negative_elbo", exact=True).first.wait_for()

    page.goto(links["Live"])
    page.get_by_text("Running trials").wait_for()
    page.locator(".ag-row[row-index='0']").get_by_text("#5 beta=5.5 tpe r0").wait_for()


def test_a_store_without_views_has_the_plain_list(
    journal: Journal, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_arms(journal)
    home = on_disk(journal.home, journal.entries)
    assert view_links(home) == {}
    store.write(journal.home, read_entries(home.path))
    experiment = store.client.get_experiment_by_name(journal.home.name)
    for name in [name for name in experiment.tags if name.startswith(TAG)]:
        store.client.delete_experiment_tag(experiment.experiment_id, name)
    plain = f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs?{TRAINING}"
    assert view_links(home) == {"Runs": plain}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert view_links(home) == {}


def test_a_finished_study_is_described_in_the_pages(
    journal: Journal, store: Store, server: Server, page: Page
) -> None:
    two_arms(journal)
    finish(journal, store, ANSWERS, report="<h1>It says so itself</h1>")
    study = store.runs()["study"]
    run = f"{server.uri}/#/experiments/{study.info.experiment_id}/runs/{study.info.run_id}"
    page.goto(f"{run}?{TRAINING}")
    page.get_by_text("How to read these runs").wait_for()
    page.get_by_text("does a search pay?").first.wait_for()
    page.goto(f"{run}/artifacts/report/report.html?{TRAINING}")
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
    page.get_by_role("heading", name=re.compile("#0 beta=0.5 tpe r0")).wait_for()


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


def called(server: Server, host: str, origin: str) -> int:
    """What a browser gets whose page of ``origin`` has it list the experiments on ``host``."""
    asked = urllib.request.Request(
        f"{server.uri}/ajax-api/2.0/mlflow/experiments/search",
        json.dumps({"max_results": 1}).encode(),
        {"Host": host, "Origin": origin, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(asked) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_pages_that_are_served_to_others_answer_to_the_machines_names(open_server: Server) -> None:
    """And to no other page that a browser has open, nor to a foreign name made to lead here."""
    here = f"{socket.gethostname()}:{open_server.port}"
    assert called(open_server, here, f"http://{here}") == 200
    for local in (f"127.0.0.1:{open_server.port}", "localhost:8000"):  # a port that ssh forwards
        assert called(open_server, local, f"http://{local}") == 200
    assert called(open_server, here, "http://elsewhere.example") == 403
    assert called(open_server, f"elsewhere.example:{open_server.port}", f"http://{here}") == 403


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_here_is_not_the_ports_fault(
    journal: Journal, studies: Path, host: str
) -> None:
    with pytest.raises(TrackingError, match=f"--host: cannot listen on {host}:0") as error:
        serve_ui(studies, host, 0)
    assert "--host" in error.value.remedy

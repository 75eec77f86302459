"""Formats of the journal: what an older version wrote is read, a newer one's is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from entries import of_kind
from journals import note_line

from study.engine import checkpoints
from study.journal import Journal, JournalError, has_events, journal_file, read_entries
from study.journal.events import (
    FORMAT,
    KINDS,
    Event,
    EventError,
    OptunaOperation,
    Reported,
    StudyDescribed,
    StudyFinished,
    TrialAsked,
    TrialEnded,
    read_event,
)
from study.journal.lines import Line, control, decode
from study.search import Conductor, Request
from study.spec import StudySpec

FORMAT_1 = Path(__file__).parent / "format1"


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A study that the first format's last version interrupted, as this one finds it."""
    shutil.copytree(FORMAT_1 / "interrupted", tmp_path / "format1")
    return tmp_path / "format1"


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_an_event_comes_back_as_it_was_and_leaves_out_its_defaults(kind: type[Event]) -> None:
    given = {
        field.name: _example(field)
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    event = kind(**given)
    data = json.loads(json.dumps(event.to_data()))
    assert read_event(kind.kind, data, FORMAT) == event
    assert data == (given["operation"] if kind is OptunaOperation else given)
    assert str(event)


def _example(field: dataclasses.Field[Any]) -> Any:
    by_type = {"int": 5, "int | None": 7, "float": 1.5, "float | None": 2.5}
    plain: dict[str, Any] = {
        "operation": {"op": 1},
        "spec": {"arms": {}},
        "command": ["study"],
        "seconds": {},
    }
    return plain.get(field.name, by_type.get(str(field.type), field.name))


def test_a_field_that_is_missing_or_not_known_is_no_event() -> None:
    with pytest.raises(EventError, match=r"missing .* 'engine'"):
        read_event("death", {"trial": "t"}, FORMAT)
    with pytest.raises(EventError, match="unexpected keyword argument 'why'"):
        read_event("finish", {"why": "done"}, FORMAT)
    with pytest.raises(EventError, match="has no event 'exploded'"):
        read_event("exploded", {}, FORMAT)


def test_a_line_that_is_no_event_of_its_format_is_refused_with_file_and_line(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path)
    journal.append(StudyFinished())
    journal.commit()
    with journal_file(tmp_path, 1).open("ab") as file:
        file.write(Line(1, 1, 0.0, "death", {"trial": "t"}, 1).encode())
    with pytest.raises(JournalError, match=rf"line 4 is no event of format {FORMAT}: 'death'"):
        list(read_entries(tmp_path))


class TestNewer:
    def newer(self, home: Path) -> bytes:
        """A first launch's file as a later version would write it."""
        lease = {"format": FORMAT + 1, "version": "9.1.0", "pid": 1}
        accept = {"base": 0, "bytes": 0, "events": 0}
        content = control(1, 0.0, "lease", lease) + control(1, 0.0, "accept", accept)
        content += note_line(1, 0, "from the future")
        path = journal_file(home, 1)
        path.parent.mkdir()
        path.write_bytes(content)
        return content

    def test_it_is_refused_with_the_version_that_reads_it(self, tmp_path: Path) -> None:
        self.newer(tmp_path)
        assert has_events(tmp_path)
        with pytest.raises(JournalError) as caught:
            list(read_entries(tmp_path))
        assert f"is in journal format {FORMAT + 1}, and this version reads" in str(caught.value)
        assert "use vae-tuning-study 9.1.0, which wrote it, or a later version" in str(caught.value)

    def test_a_driver_leaves_it_as_it_is(self, tmp_path: Path) -> None:
        content = self.newer(tmp_path)
        with pytest.raises(JournalError, match=r"use vae-tuning-study 9\.1\.0"):
            Journal(tmp_path, take_over=True)
        (only,) = (tmp_path / "journal").iterdir()
        assert only.read_bytes() == content

    def test_this_version_names_its_format_and_itself(self, tmp_path: Path) -> None:
        Journal(tmp_path).close()
        line = decode(journal_file(tmp_path, 1).read_bytes().splitlines(keepends=True)[0])
        assert line is not None
        assert line.data["format"] == FORMAT
        assert line.data["version"]


class TestFirst:
    def test_every_event_of_it_is_read(self) -> None:
        entries = list(read_entries(FORMAT_1 / "finished"))
        assert [entry.sequence for entry in entries] == list(range(561))
        assert len(of_kind(entries, Reported)) == 184
        assert sum(report.redone for report in of_kind(entries, Reported)) == 0
        assert {entry.event.kind for entry in entries} == set(KINDS) - {
            "slots",
            "cap",
            "told",
            "piloted",
            "pair",
            "look",
            "search_look",
        }

    def test_arms_that_search_the_trade_off_are_hand_tuned_in_it_too(self) -> None:
        (study,) = of_kind(list(read_entries(FORMAT_1 / "finished")), StudyDescribed)
        assert study.roles == {
            "random": {"hand_tuned": True, "why": "searches beta"},
            "tpe": {"hand_tuned": True, "why": "searches beta"},
            "weighted": {"hand_tuned": True, "why": "searches k"},
            "optimal": {"hand_tuned": False, "why": ""},
        }

    def test_balancers_keep_the_constants_that_it_had_as_defaults(self) -> None:
        learned, average = {"name": "learned_sigma", "k": 2.0}, {"name": "running_average"}
        arms: dict[str, Any] = {
            "a": {"balancer": learned},
            "b": {"balancer": average, "search": {"space": {"decay": {"low": 0.5, "high": 0.9}}}},
            "c": {"balancer": {"name": "asperti_trentin"}},
        }
        study = {"name": "s", "spec": {"arms": arms}, "spec_hash": "", "code_version": "1"}
        for format in (1, 2):
            event = read_event("study", study, format)
            assert isinstance(event, StudyDescribed)
            assert event.spec["arms"] == {
                **arms,
                "a": {"balancer": {"name": "learned_sigma", "k": 2.0, "sigma_lr": 1e-3}},
            }
            assert arms["a"]["balancer"] is learned  # what was read stays as it was
        trial = {
            "trial": "t", "arm": "b", "phase": "search", "replicate": 0, "number": 0, "seed": 1,
            "params": {}, "settings": {"balancer": {"name": "running_minimum", "k": 3.0}},
        }  # fmt: skip
        asked = read_event("trial", trial, 2)
        assert isinstance(asked, TrialAsked)
        wanted = {"name": "running_minimum", "k": 3.0, "decay": 0.99}
        assert asked.settings["balancer"] == wanted
        settings = {"balancer": {"name": "running_minimum", "decay": 0.8}}
        asked = read_event("trial", {**trial, "settings": settings}, 2)
        assert isinstance(asked, TrialAsked)
        assert asked.settings == settings

    def test_its_measurements_and_rules_are_those_it_had(self) -> None:
        entries = list(read_entries(FORMAT_1 / "finished"))
        (study,) = of_kind(entries, StudyDescribed)
        spec = StudySpec.from_dict(study.spec)
        assert (spec.evaluation.draws, spec.evaluation.ties) == (1, "inside")
        asked = of_kind(entries, TrialAsked)
        balancers = [trial.settings["balancer"] for trial in asked]
        clips = {b["log_sigma_min"] for b in balancers if b["name"] == "optimal_sigma"}
        assert clips == {-6.0}

    def test_the_networks_of_its_distances_counted_ties_inside(self) -> None:
        told = {
            "engine": "e",
            "state": "started",
            "device": "cpu",
            "features": {"classifier": {"n": 9}},
        }
        event = read_event("engine", told, 1)
        assert event.features["classifier"] == {"n": 9, "ties_of_precision_and_recall": "inside"}

    def test_a_conductor_resumes_it_as_the_version_that_wrote_it_did(
        self, interrupted: Path
    ) -> None:
        journal = Journal(interrupted)
        described = [e.event for e in journal.entries if isinstance(e.event, StudyDescribed)]
        spec = StudySpec.from_dict(described[-1].spec)
        conductor = Conductor(spec, journal, dims=64, slots=1)
        handed_out = []
        while (request := conductor.next()) is not None:
            balancer = request.settings["balancer"]
            fields = [request.trial, request.seed, balancer, request.after, request.until]
            handed_out.append(fields)
            for step in range(request.after + 1, 9):
                if conductor.report(request.trial, made_up(request, step)):
                    break
            conductor.returned(request.trial)
        journal.close()
        ended = [
            [q.name, q.trial.asked.params, q.trial.state, q.objective, q.trial.step]
            for q in conductor.trials.values()
        ]
        wanted = json.loads((FORMAT_1 / "continuation.json").read_text())
        for _, _, balancer, *_ in wanted["handed_out"]:
            if balancer["name"] == "optimal_sigma":  # said since format 3, where it is another
                balancer["log_sigma_min"] = -6.0
        assert handed_out == wanted["handed_out"]
        assert ended == wanted["ended"]
        assert conductor.all_ended

    def test_a_file_of_this_format_may_continue_it(self, interrupted: Path) -> None:
        before = list(read_entries(interrupted))
        journal = Journal(interrupted)
        journal.append(StudyFinished())
        journal.commit()
        journal.close()
        assert [entry.event for entry in read_entries(interrupted)] == [
            *(entry.event for entry in before),
            StudyFinished(),
        ]


def made_up(request: Request, step: int) -> dict[str, Any]:
    """The report that `continuation.json` was made with."""
    balancer = request.settings["balancer"]
    beta = balancer.get("beta", 0.3) * balancer.get("k", 1.0)
    value = round(math.log(beta) ** 2 + 1 / step + request.seed % 97 / 1e5, 9)
    place = {"engine": "e", "shape": "x", "key": {"width": 1}, "seconds_per_image": 1e-4}
    report: dict[str, Any] = {
        "step": step,
        "images": 100 * step,
        "metrics": {"validation/calibrated_negative_elbo": value},
        "seconds": {"training": 1.0, "evaluation": 0.1},
        "engine": "e",
        "start": place,
    }
    if step == 8:
        report["end"] = {"state": "complete", "metrics": {"test/calibrated_negative_elbo": value}}
    return report


class TestThird:
    def test_its_negative_elbos_have_their_names_of_now(self) -> None:
        entries = list(read_entries(FORMAT_1 / "finished"))
        (study,) = of_kind(entries, StudyDescribed)
        assert study.spec["objective"] == "calibrated_negative_elbo"
        metrics = [dict(event.metrics) for event in of_kind(entries, Reported)]
        metrics += [dict(event.metrics) for event in of_kind(entries, TrialEnded)]
        names = {name for found in metrics for name in found}
        assert {name for name in names if "elbo" in name} == {
            "validation/calibrated_negative_elbo",
            "test/calibrated_negative_elbo",
        }
        told = {"trial": "t", "step": 1, "images": 8, "seconds": {}, "engine": "e"}
        metrics = {"validation/own_elbo": 1.0, "validation/S": 2.0}
        event = read_event("report", {**told, "metrics": metrics}, 3)
        assert event.metrics == {"validation/own_negative_elbo": 1.0, "validation/S": 2.0}

    def test_so_have_those_in_its_checkpoints(self, interrupted: Path) -> None:
        (folder,) = interrupted.glob("trials/random.search.r0.0001")
        saved = checkpoints.newest(folder)
        assert saved is not None
        assert len(saved.reports) == 3
        for report in saved.reports:
            assert "validation/calibrated_negative_elbo" in report["metrics"]
            assert "validation/calibrated_elbo" not in report["metrics"]

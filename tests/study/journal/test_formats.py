"""Formats of the journal: what an older version wrote is read, a newer one's is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from entries import of_kind
from journals import note_line

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
        field.name: _example(field.name)
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    event = kind(**given)
    data = json.loads(json.dumps(event.to_data()))
    assert read_event(kind.kind, data, FORMAT) == event
    assert data == (given["operation"] if kind is OptunaOperation else given)
    assert str(event)


def _example(field: str) -> Any:
    plain = {"operation": {"op": 1}, "spec": {"arms": {}}, "command": ["study"], "seconds": {}}
    numbers = {"difference": 1.5, "lower": 0.5, "upper": 2.5}
    return {**plain, **numbers}.get(field, field)


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
        file.write(Line(1, 1, 0.0, "death", {"trial": "t"}, True).encode())
    with pytest.raises(JournalError, match=r"line 4 is no event of format 3: 'death' missing"):
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
            "pair",
            "look",
        }

    def test_arms_that_search_the_trade_off_are_hand_tuned_in_it_too(self) -> None:
        (study,) = of_kind(list(read_entries(FORMAT_1 / "finished")), StudyDescribed)
        assert study.roles == {
            "random": {"hand_tuned": True, "why": "searches beta"},
            "tpe": {"hand_tuned": True, "why": "searches beta"},
            "weighted": {"hand_tuned": True, "why": "searches k"},
            "optimal": {"hand_tuned": False, "why": ""},
        }

    def test_a_conductor_resumes_it_as_the_version_that_wrote_it_did(
        self, interrupted: Path
    ) -> None:
        spec = StudySpec.from_dict(yaml.safe_load((interrupted / "spec.yaml").read_text()))
        journal = Journal(interrupted)
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
        "metrics": {"validation/calibrated_elbo": value},
        "seconds": {"training": 1.0, "evaluation": 0.1},
        "engine": "e",
        "start": place,
    }
    if step == 8:
        report["end"] = {"state": "complete", "metrics": {"test/calibrated_elbo": value}}
    return report

"""What choosing an arm's settings has cost: read once, charged to the arm, said in the report."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.made_up import begin
from study.analysis.answers.cost_curves import cost_curve
from study.analysis.answers.costs import told_cost
from study.analysis.answers.departures import departures
from study.analysis.records.searches import SearchTrials, arm_searches
from study.analysis.records.tables import build_tables, study_facts
from study.journal import StudyHome, read_entries
from study.journal.events import ArmPiloted, Event, PairChosen, TrialsTold
from study.launching.pilots import pilots
from study.spec import SpecError, StudySpec

STATED = {"images": 5000, "device_seconds": 2.5}


def tuned(pilot: dict[str, Any] | None = None) -> StudySpec:
    arm: dict[str, Any] = {"balancer": {"name": "learned_sigma", "sigma_lr": 0.03}}
    arms = {
        "hand": {"balancer": {"name": "fixed_beta", "beta": 1}},
        "learned": arm if pilot is None else {**arm, "pilot": pilot},
        "optimal": {"balancer": "optimal_sigma"},
    }
    return StudySpec.from_dict(
        {
            "name": "later",
            "data": "digits",
            "model": {"name": "mlp", "latent": 4, "width": 8},
            "training": {"epochs": 2, "batch_size": 100, "reports": 2},
            "arms": arms,
        }
    )


@pytest.fixture
def home(told: StudyHome, tmp_path: Path) -> StudyHome:
    """A study's home beside one finished study: three search trials, and confirm runs."""
    shutil.copytree(told.path, tmp_path / "told")
    return StudyHome(tmp_path, "later")


def begun(home: StudyHome, spec: StudySpec, *events: Event) -> Any:
    """The table of trials of a study that has just begun."""
    home.make()
    journal = begin(spec, home, [])
    for event in events:
        journal.append(event)
    journal.commit()
    journal.close()
    return build_tables(journal.entries)["trials"]


def test_all_that_the_named_study_was_charged_is_its_cost(home: StudyHome) -> None:
    (event,) = pilots(tuned({"study": "told"}), home)
    assert (event.arm, event.source) == ("learned", "study 'told'")
    rows = build_tables(read_entries(home.studies / "told"))["trials"].to_pylist()
    assert event.images == sum(row["images"] for row in rows) > 5 * 1350
    assert event.billed == pytest.approx(sum(row["billed_seconds"] for row in rows))
    assert event.standard == pytest.approx(event.images * 1e-4)


def test_a_stated_cost_is_taken_as_it_is(home: StudyHome) -> None:
    (event,) = pilots(tuned(STATED), home)
    assert (event.images, event.billed, event.standard) == (5000, 2.5, 2.5)
    assert pilots(tuned(), home) == []


@pytest.mark.parametrize("name", ["other", "later"])
def test_a_study_that_is_not_there_is_refused(home: StudyHome, name: str) -> None:
    with pytest.raises(SpecError, match=f"there is no earlier study '{name}'") as caught:
        pilots(tuned({"study": name}), home)
    assert "arms.learned.pilot.study" in str(caught.value)


def test_an_arm_that_has_begun_reads_nothing_again(home: StudyHome) -> None:
    spec = tuned({"study": "told"})
    (event,) = pilots(spec, home)
    begun(home, spec, event)
    shutil.rmtree(home.studies / "told")
    assert pilots(spec, home) == [event]


def test_it_is_part_of_what_the_arm_costs(home: StudyHome) -> None:
    spec = tuned(STATED)
    trials = begun(home, spec, *pilots(spec, home))
    assert told_cost(trials, "learned").images == 5000
    assert told_cost(trials, "learned").billed == 2.5
    assert told_cost(trials, "optimal").images == 0


def test_a_pilot_has_cost_its_own_pilots_too(home: StudyHome) -> None:
    spec = tuned(STATED)
    begun(home, spec, *pilots(spec, home))
    (home.studies / "later").rename(home.studies / "before")
    (event,) = pilots(tuned({"study": "before"}), home)
    assert event.images == 5000  # none of its own trials has begun


class TestNote:
    def test_it_says_where_the_settings_come_from_and_what_they_cost(self, home) -> None:
        spec = tuned(STATED)
        _, note = departures(study_facts(begun(home, spec, *pilots(spec, home))))
        assert note == (
            "learned departs from its balancer's defaults: sigma_lr = 0.03 (default derived): "
            "chosen by a pilot outside this home, as the spec states it, whose 5,000 images are "
            "part of its cost to one model."
        )

    def test_without_a_pilot_it_was_tuned_outside(self, home: StudyHome) -> None:
        given, note = departures(study_facts(begun(home, tuned())))
        assert note.endswith("tuned outside this study, and its cost is not counted.")
        assert given == (
            "hand has a balance that was set by hand: what choosing it took is not counted."
        )

    @pytest.mark.parametrize(("automatic", "count"), [("learned", 2), ("optimal", 1)])
    def test_it_is_of_the_compared_pair(self, home: StudyHome, automatic: str, count: int) -> None:
        pair = PairChosen("hand", automatic, {})
        assert len([*departures(study_facts(begun(home, tuned(), pair)))]) == count

    @pytest.mark.parametrize(("automatic", "count"), [("learned", 2), ("optimal", 1)])
    def test_or_of_the_one_named_in_advance(
        self, home: StudyHome, automatic: str, count: int
    ) -> None:
        named = {"primary": {"hand_tuned": "hand", "automatic": automatic}}
        spec = StudySpec.from_dict({**tuned().to_dict(), **named, "choosing_seeds": None})
        assert len([*departures(study_facts(begun(home, spec)))]) == count


def test_an_event_says_itself_in_words() -> None:
    event = ArmPiloted("learned", "study 'told'", 5000, 2.5, None)
    assert str(event) == "learned has settings from study 'told': 5,000 images are charged"


def test_a_pilot_is_in_every_cost_of_its_arm_and_counts_once(home: StudyHome) -> None:
    """Curves begin where it ended; and a search that it contains was not made twice."""
    spec = tuned({"study": "told"})
    (event,) = pilots(spec, home)
    source = f"{event.source}, arm 'random'"
    search = TrialsTold("learned", source, [], 0, event.images // 2, 1.0, 1.0)
    trials = begun(home, spec, event, search)
    assert told_cost(trials, "learned").images == event.images
    found = arm_searches(trials, spec.to_dict(), "calibrated_negative_elbo")
    assert found["learned"].elsewhere[0] == event.images
    assert found["optimal"].elsewhere == (0, 0)
    ones = np.ones(3)
    runs = SearchTrials(ones, ones, 1000 * ones, ones, ones)
    for searched, how in ((False, "seeds"), (True, "random"), (True, "tpe")):
        arm = replace(
            found["learned"],
            searches=[runs],
            searched=searched,
            independent=how != "tpe",
            how=how,
        )
        curve = cost_curve(arm)
        assert curve is not None
        assert curve.images == [event.images + 1000 * n for n in (1, 2, 3)]

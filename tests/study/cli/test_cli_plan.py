"""``study plan``, as a person meets it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import ray
from commands import made, refusal, study

from benchmarks.made_up import begin, follow
from study import api
from study.journal import StudyHome
from study.journal.events import EngineChanged, StudyFinished
from study.search import Conductor, Request
from study.spec import load_spec


def test_what_a_file_can_show(place):
    result = study("plan", "study.yaml")
    assert result.exit_code == 0
    assert "12 seeds show a difference of 1.12 standard deviations" in result.stdout
    assert "random: 8 trials bound " in result.stdout
    assert {name.partition("/")[0] for name in made(place)} == {"data"}
    assert not ray.is_initialized()


def test_a_given_spread_and_margin(place):
    result = study("plan", "study.yaml", "--spread", "0.5", "--set", "margin=0.5")
    assert result.exit_code == 0
    assert "the margin of 0.50 nats per image takes 17, " in result.stdout
    assert "--set 'seeds={count: 17}'" in result.stdout
    assert api.plan("study.yaml", ["margin=0.5"], spread=0.5).needed == 17


def reported(request: Request, step: int) -> dict[str, Any]:
    """The last report of a trial, whose seed's luck is its arm's own."""
    luck = len(request.trial.partition(".")[0]) * request.seed % 7
    metrics = {"calibrated_negative_elbo": 10.0 + luck, "bits_per_dim": 1.0, "MSE": 0.05, "R": 3.0}
    key = {"device": "cpu", "threads": 1, "width": 1}
    return {
        "step": step,
        "images": 1400,
        "metrics": {f"validation/{name}": value for name, value in metrics.items()},
        "seconds": {"training": 0.5},
        "engine": "e1",
        "start": {"engine": "e1", "shape": "mlp-4", "key": key, "seconds_per_image": 1e-4},
        "end": {
            "state": "complete",
            "metrics": {f"test/{name}": value for name, value in metrics.items()},
        },
    }


def test_an_earlier_study_and_the_study_s_own_records(place):
    told = {"name": "first", "seeds": [1, 2, 3], "training": {"epochs": 1, "reports": 1}}
    spec = load_spec(place / "study.yaml", [f"{key}={json.dumps(told[key])}" for key in told])
    home = StudyHome(place / "home", "first")
    journal = begin(spec, home, [EngineChanged("e1", "started", "cpu", 1, startup_seconds=2.0)])
    follow(Conductor(spec, journal, dims=64, slots=1), reported)
    journal.close()
    text = study("plan", "study.yaml", "--from", "first").stdout
    assert text.startswith("spread: study first, random and learned over 3 seeds")
    (place / "first.yaml").write_text(home.spec.read_text())
    own = study("plan", "first.yaml").stdout
    assert own.splitlines()[:2] == [
        text.splitlines()[0],
        "seeds: 3 seeds decide nothing: it takes 6",
    ]


def test_more_seeds_of_a_study_that_was_reported_are_planned_as_looks(place):
    given = [
        "name=first",
        "seeds=[1, 2, 3, 4, 5, 6]",
        "training={epochs: 1, reports: 1}",
        "margin=2",
    ]
    spec = load_spec(place / "study.yaml", given)
    journal = begin(
        spec,
        StudyHome(place / "home", "first"),
        [EngineChanged("e1", "started", "cpu", 1, startup_seconds=2.0)],
    )
    conductor = Conductor(spec, journal, dims=64, slots=1)
    follow(conductor, reported)
    before = api.plan("study.yaml", given)
    conductor.note(StudyFinished())
    journal.close()
    after = api.plan("study.yaml", given)
    assert (before.reported, after.reported) == (0, 6)
    assert after.needed > before.needed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--spread", "0"], "--spread: 0 is no standard deviation"),
        (["--spread", "nan"], "--spread: nan is no standard deviation"),
        (["--from", "nowhere"], "no study 'nowhere'"),
    ],
)
def test_a_pilot_that_says_nothing(place, options, says):
    assert says in refusal("plan", "study.yaml", *options)


def test_one_pilot_at_a_time(told):
    text = refusal("plan", "study.yaml", "--from", "told", "--spread", "1", "--home", told.studies)
    assert text.startswith("--from: a study and a standard deviation are given")

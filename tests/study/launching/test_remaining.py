"""What a dry run counts of a study that has begun, and what it says a launch would refuse."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.made_up import begin
from study.cli import main
from study.journal import Journal, StudyHome
from study.journal.commands import send
from study.journal.events import StudyFinished
from study.journal.files import scan
from study.journal.home import HomeError
from study.journal.lease import LeaseError
from study.launching.checks import settle
from study.launching.dry_run import Estimate, estimate
from study.launching.remaining import PAIR, remaining
from study.search import Conductor
from study.search.budget import Spending
from study.spec import SpecError, StudySpec
from study.tracking import TrackingError

TRIAL = 2 * 13 * 100  # images: 2 epochs of 13 batches of 100
TRAINED = 1350  # by a report of a made-up trial
Conducting = Callable[[int], tuple[Conductor, StudyHome]]


def changed(spec: StudySpec, **changes: Any) -> StudySpec:
    """The spec with keys changed; of the arm ``random``'s search with ``trials``."""
    data = copy.deepcopy(spec.to_dict())
    if "trials" in changes:
        data["arms"]["random"]["search"]["trials"] = changes.pop("trials")
    return StudySpec.from_dict({**data, **changes})


def plan(spec: StudySpec, home: StudyHome, **options: Any) -> Estimate:
    return estimate(spec, home.studies, None, **options)


def counts(found: Estimate) -> list[tuple[int, int, int, int]]:
    return [(a.search_trials, a.confirm_runs, a.images, a.ended) for a in found.arms]


@pytest.mark.parametrize("reports", range(13))
def test_what_is_left_is_what_a_launch_then_runs(
    conducting: Conducting, follow_up: Any, reports: int
) -> None:
    conductor, home = conducting(reports)
    planned = remaining(conductor.spec, scan(home.path).entries, lambda training: 2700)
    before = {name for name, queued in conductor.trials.items() if queued.ended}
    conductor.journal.close()
    again = Conductor(conductor.spec, Journal(home.path), dims=64, slots=1)
    follow_up(again)
    assert again.all_ended
    ran = [queued.trial.asked for name, queued in again.trials.items() if name not in before]
    for arm in planned:
        mine = [asked.phase for asked in ran if asked.arm == arm.arm]
        assert (arm.search_trials, arm.confirm_runs) == (
            mine.count("search"),
            mine.count("confirm"),
        )
    assert sum(arm.ended for arm in planned) == len(before)
    again.journal.close()


@pytest.fixture
def staged(told_spec: StudySpec) -> Callable[..., StudySpec]:
    """The study with two arms more, so that the pair is chosen."""
    old = told_spec.to_dict()
    more = {
        "fixed": {"balancer": {"name": "fixed_beta", "beta": 1}},
        "learned": {"balancer": "learned_sigma"},
    }
    staged = {**old, "seeds": {"from": 3, "count": 3}, "arms": {**old["arms"], **more}}
    return lambda **changes: StudySpec.from_dict({**staged, **changes})


@pytest.mark.parametrize("reports", [0, 5, 11, 16, 21, 22, 26, 33])
@pytest.mark.parametrize("until", [False, True])
def test_so_it_is_in_two_stages_with_the_pair_at_most(
    tmp_path: Path, staged: Any, follow_up: Any, reports: int, until: bool
) -> None:
    seeds = {"until": "decided", "at_most": 9} if until else {"count": 3}
    spec, home = staged(choosing_seeds=2, seeds=seeds), StudyHome(tmp_path, "told")
    conductor = Conductor(spec, begin(spec, home, ()), dims=64, slots=1)
    follow_up(conductor, reports)
    planned = remaining(spec, scan(home.path).entries, lambda training: 2700)
    before = {name for name, queued in conductor.trials.items() if queued.ended}
    conductor.journal.close()
    again = Conductor(spec, Journal(home.path), dims=64, slots=1)
    follow_up(again)
    assert again.all_ended
    ran = Counter(
        (queued.trial.asked.phase, queued.trial.asked.stage)
        for name, queued in again.trials.items()
        if name not in before
    )
    assert sum(arm.search_trials for arm in planned) == ran["search", ""]
    assert sum(arm.choosing_runs for arm in planned) == ran["confirm", "choosing"]
    assert sum(arm.confirm_runs for arm in planned) == ran["confirm", "comparing"]
    assert sum(arm.ended for arm in planned) == len(before)
    choosing = any(arm.search_trials or arm.choosing_runs for arm in planned)
    assert ([arm.arm for arm in planned][4:] == [PAIR]) == choosing
    again.journal.close()


@pytest.mark.parametrize("reports", [0, 5, 30])
def test_a_search_until_bounded_has_at_most_its_cap_left(
    tmp_path: Path, told_spec: StudySpec, follow_up: Any, reports: int
) -> None:
    until = {"until": "bounded", "at_most": 14, "batch": 3}
    spec, home = changed(told_spec, trials=until, choosing_seeds=2), StudyHome(tmp_path, "told")
    conductor = Conductor(spec, begin(spec, home, ()), dims=64, slots=1)
    follow_up(conductor, reports)
    (random, *_) = remaining(spec, scan(home.path).entries, lambda training: 2700)
    ended = [q for q in conductor.trials.values() if q.ended and q.trial.asked.phase == "search"]
    assert random.search_trials == 14 - len(ended)
    conductor.journal.close()


class TestCounts:
    def test_of_a_study_in_two_stages(self, staged: Any, tmp_path: Path) -> None:
        found = plan(staged(), StudyHome(tmp_path, "told"))
        assert counts(found) == [
            (3, 0, 5 * TRIAL, 0),
            *[(0, 0, 2 * TRIAL, 0)] * 3,
            (0, 6, 6 * TRIAL, 0),
        ]
        assert [arm.choosing_runs for arm in found.arms] == [2, 2, 2, 2, 0]
        lines = str(found).splitlines()
        assert lines[0] == f"told would run 17 trials on {17 * TRIAL:,} images:"
        assert "3 to search,   2 to choose,   0 to compare," in lines[1]
        assert lines[5].startswith(f"  {PAIR} ")
        assert "0 to choose,   6 to compare," in lines[5]

    def test_what_may_be_fewer_is_said_to_be_the_most(self, staged: Any, tmp_path: Path) -> None:
        home = StudyHome(tmp_path, "told")
        until = plan(staged(seeds={"until": "decided", "at_most": 9}), home)
        head, *rows = str(until).splitlines()[:6]
        assert head.startswith("told would run at most 29 trials on ")
        assert [" at most," in row for row in rows] == [False] * 4 + [True]
        assert "18 to compare at most," in rows[4]
        arms = staged().to_dict()["arms"]
        arms["random"]["search"]["replicates"] = 2
        head, *rows = str(plan(staged(arms=arms), home)).splitlines()[:6]
        assert head.startswith("told would run at most ")
        assert "9 to compare at most," in rows[4]

    def test_of_a_study_that_was_interrupted(self, conducting: Conducting) -> None:
        conductor, home = conducting(4)  # one trial done, one crashed, one at its first report
        conductor.journal.close()
        found = plan(conductor.spec, home)
        assert counts(found) == [(1, 2, 3 * TRIAL - TRAINED, 2), (0, 2, 2 * TRIAL, 0)]
        left = 5 * TRIAL - TRAINED
        assert str(found).startswith(
            f"told would run 5 trials on {left:,} images, after 2 that have ended:\n"
        )

    def test_of_a_finished_study_and_of_one_that_is_extended(self, told: StudyHome) -> None:
        spec = StudySpec.from_dict(scan(told.path).entries[0].event.spec)  # type: ignore[attr-defined]
        finished = plan(spec, told)
        assert str(finished).startswith("told is finished: a launch would run nothing")
        assert counts(finished) == [(0, 0, 0, 5), (0, 0, 0, 2)]
        seeds = plan(changed(spec, seeds=[0, 1, 2]), told)
        assert counts(seeds) == [(0, 1, TRIAL, 5), (0, 1, TRIAL, 2)]
        trials = plan(changed(spec, trials=5), told)  # and another configuration may be chosen
        assert counts(trials) == [(2, 2, 4 * TRIAL, 5), (0, 0, 0, 2)]

    def test_of_an_arm_that_was_stopped(self, conducting: Conducting) -> None:
        conductor, home = conducting(4)
        conductor.stop(arm="random")
        conductor.journal.close()
        assert counts(plan(conductor.spec, home)) == [(0, 0, 0, 3), (0, 2, 2 * TRIAL, 0)]

    def test_of_a_search_that_found_nothing(self, conducting: Conducting) -> None:
        conductor, home = conducting(0)
        for trial in [name for name in conductor.trials if name.startswith("random")]:
            conductor.stop(trial=trial)
        conductor.journal.close()
        assert counts(plan(conductor.spec, home))[0] == (0, 0, 0, 3)

    def test_commands_that_wait(self, conducting: Conducting) -> None:
        conductor, home = conducting(4)
        conductor.journal.close()
        send(home.path, {"order": "stop"})
        send(home.path, {"order": "retry", "trial": "random.search.r0.0001"})
        text = str(plan(conductor.spec, home))
        assert text.endswith("\na launch first executes: retry trial random.search.r0.0001")
        assert text.count("a launch first executes") == 1


class TestCaps:
    def test_what_they_allow_after_what_is_spent(self, conducting: Conducting) -> None:
        conductor, home = conducting(4)
        conductor.journal.close()
        spent = self.images(home)
        left = 5 * TRIAL - TRAINED
        cap = spent + left // 4
        text = str(plan(changed(conductor.spec, max_images=cap), home))
        assert f"max_images: {cap:,}, {spent:,} of it spent, would end it early" in text
        assert "at about 25% of what is left" in text
        assert "max_images" not in str(plan(changed(conductor.spec, max_images=spent + left), home))

    def test_one_that_is_reached(self, conducting: Conducting) -> None:
        conductor, home = conducting(4)
        conductor.journal.close()
        spent = self.images(home)
        text = str(plan(changed(conductor.spec, max_images=spent), home))
        assert text.startswith(
            f"told would run nothing: max_images is {spent:,}, and {spent:,} are spent. With a "
            "higher cap, 5 trials on "
        )

    def images(self, home: StudyHome) -> int:
        spending = Spending()
        for entry in scan(home.path).entries:
            spending.follow(entry)
        assert spending.images == 4 * TRAINED
        return spending.images


class TestRefusals:
    def test_other_settings(self, conducting: Conducting) -> None:
        conductor, home = conducting(4)
        conductor.journal.close()
        with pytest.raises(
            SpecError, match=r"objective: 'calibrated_negative_elbo' -> 'bits_per_dim'"
        ):
            plan(changed(conductor.spec, objective="bits_per_dim"), home)

    def test_a_cap_may_be_lowered_to_the_seeds_that_ran(
        self, told_spec: StudySpec, follow_up: Any, tmp_path: Path
    ) -> None:
        pair = {"hand_tuned": "random", "automatic": "optimal"}
        seeds = {"until": "decided", "at_most": 20}
        old = {**told_spec.to_dict(), "primary": pair}
        spec = StudySpec.from_dict({**old, "seeds": seeds})
        home = StudyHome(tmp_path, "told")
        conductor = Conductor(spec, begin(spec, home, ()), dims=64, slots=1)
        follow_up(conductor, 8)  # the first 9 seeds are asked
        conductor.journal.close()
        lowered = StudySpec.from_dict({**old, "seeds": {**seeds, "at_most": 9}})
        assert settle(lowered, home).seeds == spec.seeds[:9]
        too_low = StudySpec.from_dict({**old, "seeds": {**seeds, "at_most": 8}})
        with pytest.raises(SpecError, match="seeds: "):
            settle(too_low, home)

    def test_a_study_that_runs(self, conducting: Conducting) -> None:
        conductor, home = conducting(4)
        before = {file: file.read_bytes() for file in home.journal.iterdir()}
        held = plan(conductor.spec, home)
        (refused,) = held.refusals
        assert isinstance(refused, LeaseError)
        assert counts(held)[0] == (1, 2, 3 * TRIAL - TRAINED, 2)
        assert not plan(conductor.spec, home, take_over=True).refusals
        assert {file: file.read_bytes() for file in home.journal.iterdir()} == before
        conductor.note(StudyFinished())  # it has lost nothing
        conductor.journal.close()
        assert not plan(conductor.spec, home).refusals

    def test_a_store_that_does_not_answer(
        self, told_spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        (refused,) = plan(told_spec, StudyHome(tmp_path, "told")).refusals
        assert isinstance(refused, TrackingError)
        assert not (tmp_path / "told").exists()

    def test_a_home_that_cannot_be_written(self, told_spec: StudySpec, tmp_path: Path) -> None:
        (tmp_path / "told").touch()
        (refused,) = plan(told_spec, StudyHome(tmp_path, "told")).refusals
        assert isinstance(refused, HomeError)

    def test_by_the_command_line(self, conducting: Conducting) -> None:
        conductor, home = conducting(4)
        command = ["resume", "told", "--dry-run", "--home", str(home.studies)]
        held = CliRunner().invoke(main, command)
        assert held.exit_code == LeaseError.exit_code
        assert held.stdout.startswith("told would run 5 trials on ")
        assert "error: a launch would be refused: " in held.stderr
        assert "the study is being run by process " in held.stderr
        conductor.journal.close()
        free = CliRunner().invoke(main, [*command, "--set", "seeds=[0, 1, 5]"])
        assert free.exit_code == 0, free.output
        assert free.stdout.startswith("told would run 7 trials on ")
        refused = CliRunner().invoke(main, [*command, "--set", "seeds=[5, 0, 1]"])
        assert refused.exit_code == 2
        assert "seeds: [0, 1] -> [5, 0, 1] (add new ones at the end)" in refused.stderr

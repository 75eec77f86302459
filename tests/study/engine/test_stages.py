"""Trials whose settings change on the way, and that go on from the ends of others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_bench import Bench, fetch, follow, numbers, request, slow_down

from study.engine import checkpoints
from study.engine.stages import Stages
from study.journal.course import Course

BETAS, RATES = (0.5, 0.05, 2.0), (3e-3, 1e-3, 2e-3)


def stage(number: int) -> dict[str, Any]:
    return {
        "training": {"lr": RATES[number]},
        "balancer": {"name": "fixed_beta", "beta": BETAS[number]},
    }


def asked(trial: str, last: int, *, first: int = 0, parent: str = "", **more: Any) -> Any:
    """A trial of the stages up to ``last`` of three of 10 steps, ``first`` its own first."""
    earlier = [{"params": {}, "settings": stage(number)} for number in range(last)]
    course = Course(generations=3, epochs=0.5, earlier=earlier, first=first, parent=parent)
    own = last + 1 - first
    training = {**stage(last)["training"], "epochs": 0.5 * own, "reports": 2 * own}
    settings = {"training": training, "balancer": stage(last)["balancer"]}
    return request(trial, **settings, course=course.to_data(), **more)


def row(bench: Bench, trial: str) -> dict[str, torch.Tensor]:
    saved = checkpoints.newest(bench.folder(trial))
    assert saved is not None
    return saved.row


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def whole(bench: Bench) -> list[dict[str, Any]]:
    """All three stages by one trial."""
    return follow(bench.engine(), asked("whole", 2))


def test_a_child_goes_on_to_where_one_training_of_its_course_ends(
    bench: Bench, whole: list[dict[str, Any]]
) -> None:
    for number in range(3):
        parent = f"t{number - 1}" if number else ""
        # A neighbour of another balance changes nothing.
        engine = bench.engine(width=1)
        found = follow(engine, asked(f"t{number}", number, first=number, parent=parent))
        assert [report["step"] for report in found] == [1, 2]
        assert [report["images"] for report in found] == [5 * 64, 10 * 64]
        there = whole[2 * number : 2 * number + 2]
        for report, other in zip(found, there, strict=True):
            assert report["metrics"] == other["metrics"]
    assert same(row(bench, "t2"), row(bench, "whole"))


def test_a_child_whose_parent_s_checkpoint_is_gone_begins_at_its_first_stage(
    bench: Bench, whole: list[dict[str, Any]]
) -> None:
    found = follow(bench.engine(), asked("orphan", 2, first=2, parent="nobody"))
    assert [report["images"] for report in found] == [5 * 64, 10 * 64]
    assert [r["metrics"] for r in found] == [r["metrics"] for r in whole[4:]]
    assert same(row(bench, "orphan"), row(bench, "whole"))


@pytest.mark.parametrize("reports", [1, 3], ids=["before", "after"])
def test_a_child_does_not_go_on_from_a_parent_that_is_not_at_its_end(
    bench: Bench, whole: list[dict[str, Any]], reports: int
) -> None:
    engine = bench.engine()
    engine.admit(asked("parent", 2, seed=2, until=reports))
    fetch(engine, "parent", reports)
    engine.stop()
    assert row(bench, "parent")["step"] == 5 * reports
    found = follow(bench.engine(), asked("child", 1, first=1, parent="parent"))
    assert [r["metrics"] for r in found] == [r["metrics"] for r in whole[2:4]]


def test_a_confirm_run_suspended_anywhere_ends_the_same(
    bench: Bench, whole: list[dict[str, Any]]
) -> None:
    wanted = asked("cut", 2)
    reports: list[dict[str, Any]] = []
    for count in (1, 3, 4):  # inside a stage, and where one begins
        engine = slow_down(bench.engine())
        engine.admit(wanted | {"after": len(reports)})
        reports += fetch(engine, "cut", count - len(reports))[: count - len(reports)]
        engine.suspend()
        engine.stop()
    reports += follow(bench.engine(), wanted | {"after": len(reports)})
    by_step = {report["step"]: report for report in reports}
    assert numbers([by_step[step] for step in sorted(by_step)]) == numbers(whole)
    assert same(row(bench, "cut"), row(bench, "whole"))


def test_a_stage_trains_with_its_own_settings_and_the_whole_training_s_steps() -> None:
    stages = Stages.of(asked("t", 2, first=1, parent="p"), images=20 * 64)
    assert (stages.steps, stages.begin, stages.end) == (10, 10, 30)
    assert [stages.at(step).lr for step in (0, 9, 10, 19, 20, 29, 30)] == [
        *(RATES[0], RATES[0], RATES[1], RATES[1], RATES[2], RATES[2], RATES[2])
    ]
    assert {member.steps for member in stages.members} == {30}
    assert [member.hyper for member in stages.members] == [{"beta": beta} for beta in BETAS]
    assert [stages.left(step) for step in (0, 9, 10, 25)] == [10, 1, 10, 5]


def test_a_request_without_a_course_is_one_stage() -> None:
    stages = Stages.of(request(), images=20 * 64)
    assert (stages.steps, stages.begin, stages.end) == (40, 0, 40)
    assert len(stages.members) == 1

"""Progress on a terminal and elsewhere, over a real conductor."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from waiting import until

from study.journal import Journal
from study.journal.events import TrialEnded, TrialPlaced
from study.launching import progress
from study.launching.progress import Progress
from study.search import Conductor


class Screen(io.StringIO):
    """Where a console writes; can be waited on."""

    def shows(self, text: str) -> str:
        until(lambda: text in self.getvalue(), f"{text!r} on the screen")
        return self.getvalue()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REFRESH", 0.02)
    monkeypatch.setattr(progress, "LINE", 0.02)
    monkeypatch.setattr(progress, "duration", lambda seconds: "0 s")


def test_a_terminal_has_bars(conducting, told_spec):
    conductor, _ = conducting(4)
    screen = Screen()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with Progress(conductor, told_spec, console) as shown:
        shown.begin()
        screen.shows("best ")
    text = screen.getvalue()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()
    whole, random = (
        [line.split() for line in lines if line.startswith(f"{name} ")][-1]
        for name in ("told", "random")
    )
    assert " ".join(whole[2:]).startswith("2 of 7 trials ended, 1 running (search), 0 s")
    leader = next(arm for arm in conductor.arm_progress() if arm.arm == "random")
    assert leader.setting.startswith("beta=")
    said = f"2 of 5, search, best {leader.best:.2f} by {leader.setting}"
    assert " ".join(random[2:]) == said
    assert "━" in text
    assert "\x1b[" in text  # redrawn in place


def test_elsewhere_there_are_plain_lines(conducting, told_spec):
    conductor, _ = conducting(4)
    screen = Screen()
    with Progress(conductor, told_spec, Console(file=screen)) as shown:
        shown.begin()
        screen.shows("\n")
    lines = screen.getvalue().splitlines()
    best = min(s.best for s in conductor.arm_progress() if s.best is not None)
    (leader,) = (arm for arm in conductor.arm_progress() if arm.best == best)
    assert lines[0] == (
        f"told: 2 of 7 trials ended, 1 running (search), 0 s, best {best:.2f} by "
        f"{leader.setting} (random)"
    )


def test_the_time_left_counts_what_was_done_since_training_began(conducting, told_spec, follow_up):
    conductor, _ = conducting(0)
    screen = Screen()
    with Progress(conductor, told_spec, Console(file=screen)) as shown:
        shown.begin()
        assert "left" not in screen.shows("0 of 7 trials ended")
        conductor.returned(next(iter(conductor.trials)))
        follow_up(conductor)
        screen.shows("7 of 7 trials ended, 0 running, 0 s, about 0 s left")


def test_nothing_is_said_before_training_begins(conducting, told_spec):
    conductor, _ = conducting(0)
    screen = Screen()
    with Progress(conductor, told_spec, Console(file=screen)):
        pass
    assert screen.getvalue() == ""


def test_the_best_is_the_lowest_report_so_far_also_after_a_restart(conducting, told_spec):
    conductor, home = conducting(0)
    (name,) = conductor.running()
    made = {"images": 1, "seconds": {"training": 1.0}, "engine": "e1"}
    for step, value in ((1, 3.0), (2, 5.0)):
        metrics = {"validation/calibrated_negative_elbo": value}
        conductor.report(name, {"step": step, "metrics": metrics, **made})
    assert conductor.arm_progress()[0].best == 3.0
    again = Conductor(told_spec, Journal(home.path, take_over=True), dims=64, slots=1)
    assert again.arm_progress()[0].best == 3.0
    again.journal.close()


def test_a_gpu_that_replays_no_steps_is_named_once(conducting, told_spec):
    conductor, _ = conducting(4)
    screen = Screen()
    shown = Progress(conductor, told_spec, Console(file=screen))
    for trial, engine in (("a", "e1"), ("b", "e2")):
        event = TrialPlaced(trial, engine, "mlp", {"width": 4}, "operation not permitted")
        shown.show(conductor.journal.append(event))
    shown.show(conductor.journal.append(TrialPlaced("c", "e3", "mlp", {"width": 4})))
    assert screen.getvalue() == (
        "warning: e1 is slower than its GPU: steps are not replayed (operation not permitted)\n"
    )


def test_news_are_printed_as_they_are(conducting, told_spec):
    conductor, _ = conducting(4)
    screen = Screen()
    event = TrialEnded("a", "failed", 1, None, reason="no [/models] here")
    Progress(conductor, told_spec, Console(file=screen)).show(conductor.journal.append(event))
    assert screen.getvalue() == "trial a failed: no [/models] here\n"

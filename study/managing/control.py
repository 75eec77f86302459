"""Steering a study from another terminal: orders checked against its journal, then left there.

An order changes nothing by itself: the driver of the study takes it, and the journal says so.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection

from study.analysis.records.history import History
from study.journal import Event, StudyHome, holder, read_events, studies_home
from study.journal.commands import Order, give, waiting
from study.managing.status import no_trial
from vae_core.errors import UserError, nearest

PATIENCE = 120.0
"""Seconds that stopping a study waits for its driver to let go."""
_LOOK = 0.2  # seconds between two looks at who holds the study


class OrderError(UserError):
    """An order that makes no sense for the study as it is."""


class NotObeyedError(UserError):
    """An order that was given and not obeyed in time."""

    exit_code = 1


def stop_study(home: StudyHome, patience: float = PATIENCE) -> str:
    """Have the driver of the study end it as after a Ctrl-C, and wait until it has let go.

    Returns:
        What came of it.

    Raises:
        OrderError: nobody is running the study.
        NotObeyedError: its driver did not let go within ``patience`` seconds.
    """
    if holder(home.path) is None:
        raise OrderError(
            "nobody is running the study",
            where=home.name,
            remedy="nothing is to be stopped; --arm or --trial end a part of it for good",
        )
    path = give(home.path, {"order": "stop"})
    try:
        deadline = time.monotonic() + patience
        while (now := holder(home.path)) is not None and time.monotonic() < deadline:
            time.sleep(_LOOK)
        taken = not path.exists()
    finally:
        path.unlink(missing_ok=True)  # left lying, it would stop the next launch
    if now is None:
        return _outcome(home)
    if taken:
        raise NotObeyedError(
            f"its driver is stopping it and has not let go after {patience:.0f} s: {now}",
            where=home.name,
            remedy=f"look again with `{_command(home, 'status')}`",
        )
    raise NotObeyedError(
        f"its driver has not taken the order within {patience:.0f} s: {now}",
        where=home.name,
        remedy="the order is withdrawn; if that process hangs, "
        f"`{_command(home, 'resume')} --take-over` goes on without it",
    )


def stop_arm(home: StudyHome, arm: str) -> str:
    """Have an arm ended for good: its trials pruned, nothing of it asked any more.

    Returns:
        When the order takes effect.

    Raises:
        OrderError: no such arm, or nothing of it is left to stop.
    """
    events = list(read_events(home.path))
    history = History(events)
    arms = history.study["spec"]["arms"]
    if arm not in arms:
        raise OrderError(f"no arm '{arm}'", where=home.name, remedy=nearest(arm, arms))
    if any(event.kind == "stop" and event.data.get("arm") == arm for event in events):
        raise OrderError(f"arm '{arm}' has been stopped already", where=home.name)
    if history.finished and all(t.finished for t in history.trials.values() if t.arm == arm):
        raise OrderError(f"arm '{arm}' has ended already", where=home.name)
    return _give(home, {"order": "stop", "arm": arm})


def stop_trial(home: StudyHome, trial: str) -> str:
    """Have a trial ended for good, as pruned. Returns and raises as :func:`stop_arm`."""
    state = _state(home, trial, list(read_events(home.path)))
    if state in {"complete", "pruned", "failed"}:
        raise OrderError(
            f"trial '{trial}' has ended already: it is {state}",
            where=home.name,
            remedy="only a trial that has not ended can be stopped",
        )
    return _give(home, {"order": "stop", "trial": trial})


def retry_trial(home: StudyHome, trial: str) -> str:
    """Have a failed or pruned trial run again, as a trial of its own with the same seed.

    Returns and raises as :func:`stop_arm`.
    """
    events = list(read_events(home.path))
    state = _state(home, trial, events)
    if state not in {"failed", "pruned"}:
        raise OrderError(
            f"trial '{trial}' is {state}",
            where=home.name,
            remedy="only a failed or a pruned trial can be retried",
        )
    ended = {event.data["trial"] for event in events if event.kind == "end"}
    for event in events:
        if event.kind == "trial" and event.data.get("retry_of") == trial:
            again = event.data["trial"]
            if again not in ended:
                raise OrderError(
                    f"trial '{trial}' is being retried already",
                    where=home.name,
                    remedy=f"see `{_command(home, 'show')} {again}`",
                )
    return _give(home, {"order": "retry", "trial": trial})


def _give(home: StudyHome, order: Order) -> str:
    if order in (found for _, found in waiting(home.path)):
        raise OrderError("that is ordered already, and waits to be taken", where=home.name)
    give(home.path, order)
    who = holder(home.path)
    if who is not None:
        return f"ordered; the study's driver takes it within seconds ({who})"
    resume = _command(home, "resume")
    return f"ordered; nobody is running the study: it takes effect at `{resume}`"


def _state(home: StudyHome, trial: str, events: Collection[Event]) -> str:
    trials = History(events).trials
    if trial not in trials:
        raise no_trial(trial, trials, home.name)
    return trials[trial].state


def _outcome(home: StudyHome) -> str:
    """How the driver that has just let go ended."""
    kinds = [event.kind for event in read_events(home.path)]
    resume = _command(home, "resume")
    match kinds[-1] if kinds else "":
        case "finish":
            return "the study has come to its end by itself"
        case "interrupted":
            return f"stopped; nothing is lost. Go on with: {resume}"
        case _:
            return (
                "its driver is gone, without a word in the journal: nothing that is in it is "
                f"lost. Go on with: {resume}"
            )


def _command(home: StudyHome, verb: str) -> str:
    """What to type, where the studies' home is not the one a command finds by itself, too."""
    elsewhere = home.studies != studies_home()
    at = f" --home {shlex.quote(str(home.studies))}" if elsewhere else ""
    return f"study {verb} {home.name}{at}"

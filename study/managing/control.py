"""Controlling a study from another terminal: commands checked against its journal, then sent.

A command changes nothing by itself: the study's driver executes it, and journals that.
"""

from __future__ import annotations

import time

from study.analysis.records.history import History
from study.journal import StudyHome, Trial, holder, read_entries, silent, unknown_trial
from study.journal.commands import STOP, Command, pending, send
from study.journal.events import SHOWN, Event, Stopped, StudyFinished, StudyInterrupted
from vae_core.errors import UserError, nearest

PATIENCE = 120.0
"""Seconds that stopping a study waits until its driver has released it."""
_INTERVAL = 0.2  # seconds between two looks at who holds the study


class CommandError(UserError):
    """A command that the study, in its present state, cannot execute."""


class CommandTimeoutError(UserError):
    """A command that was not executed in time."""

    exit_code = 1


def stop_study(home: StudyHome, patience: float = PATIENCE) -> str:
    """Make the driver of the study end it as after a Ctrl-C, and wait until it has.

    Returns:
        How the driver ended.

    Raises:
        CommandError: the study is not running, or its driver sends no heartbeat any more.
        CommandTimeoutError: its driver did not release it within ``patience`` seconds.
    """
    who, parts = holder(home.path), "to end a part of it for good, use --arm or --trial"
    if who is None:
        raise CommandError("the study is not running", where=home.name, remedy=parts)
    if silent(home.path):
        raise CommandError(
            f"its driver sends no heartbeat any more: {who}",
            where=home.name,
            remedy=f"`{home.command('resume')}` takes the study over; {parts}",
        )
    path = send(home.path, STOP)
    try:
        deadline = time.monotonic() + patience
        while (now := holder(home.path)) is not None and time.monotonic() < deadline:
            time.sleep(_INTERVAL)
        executing = not path.exists()
    finally:
        path.unlink(missing_ok=True)  # else it would stop the next launch
    if now is None:
        return _outcome(home)
    if executing:
        raise CommandTimeoutError(
            f"its driver is stopping it and still holds it after {patience:.0f} s: {now}",
            where=home.name,
            remedy=f"check later with `{home.command('status')}`",
        )
    raise CommandTimeoutError(
        f"its driver has not executed the command within {patience:.0f} s: {now}",
        where=home.name,
        remedy="the command is withdrawn; if that process hangs, "
        f"`{home.command('resume')} --take-over` resumes without it",
    )


def stop_arm(home: StudyHome, arm: str) -> str:
    """End an arm for good: its trials are pruned, and no new ones asked.

    Returns:
        When the command takes effect.

    Raises:
        CommandError: there is no such arm, or it has ended or was stopped already.
    """
    entries = list(read_entries(home.path))
    history = History(entries)
    arms = history.study.spec["arms"]
    if arm not in arms:
        raise CommandError(f"no arm '{arm}'", where=home.name, remedy=nearest(arm, arms))
    if any(isinstance(entry.event, Stopped) and entry.event.arm == arm for entry in entries):
        raise CommandError(f"arm '{arm}' has been stopped already", where=home.name)
    mine = [trial for trial in _trials(history).values() if trial.asked.arm == arm]
    if history.finished and all(trial.ended for trial in mine):
        raise CommandError(f"arm '{arm}' has ended already", where=home.name)
    return _send(home, {"order": "stop", "arm": arm})


def stop_trial(home: StudyHome, trial: str) -> str:
    """End a trial for good, as pruned. Returns and raises as :func:`stop_arm`."""
    found = _find(home, trial)[trial]
    if found.ended:
        raise CommandError(
            f"trial '{trial}' has ended already: it is {found.state}",
            where=home.name,
            remedy="only a trial that has not ended can be stopped",
        )
    return _send(home, {"order": "stop", "trial": trial})


def retry_trial(home: StudyHome, trial: str) -> str:
    """Run a failed or pruned trial again, as a new trial with the same seed.

    Returns and raises as :func:`stop_arm`.
    """
    trials = _find(home, trial)
    if trials[trial].state not in {"failed", "pruned"}:
        raise CommandError(
            f"trial '{trial}' is {trials[trial].state}",
            where=home.name,
            remedy="only a failed or a pruned trial can be retried",
        )
    for other in trials.values():
        if other.asked.retry_of == trial:
            again = other.state in {"failed", "pruned"}
            raise CommandError(
                f"trial '{trial}' {'has been' if other.ended else 'is being'} retried already",
                where=home.name,
                remedy=f"{'retry' if again else 'see'} "
                f"`{home.command('retry' if again else 'show')} {other.name}`",
            )
    return _send(home, {"order": "retry", "trial": trial})


def _send(home: StudyHome, command: Command) -> str:
    if command in (found for _, found in pending(home.path)):
        raise CommandError("the same command is pending already", where=home.name)
    send(home.path, command)
    who = holder(home.path)
    if who is not None and not silent(home.path):
        return f"command sent; the study's driver executes it within seconds ({who})"
    resume = home.command("resume")
    return f"command sent; the study is not running: it takes effect at `{resume}`"


def _find(home: StudyHome, trial: str) -> dict[str, Trial]:
    """The study's trials, which include ``trial``."""
    trials = _trials(History(read_entries(home.path, *SHOWN)))
    if trial not in trials:
        raise unknown_trial(trial, trials, home.name)
    return trials


def _trials(history: History) -> dict[str, Trial]:
    return {name: found.trial for name, found in history.trials.items()}


def _outcome(home: StudyHome) -> str:
    """How the driver that has just released the study ended."""
    last: Event | None = None
    for entry in read_entries(home.path):
        last = entry.event
    resume = home.command("resume")
    match last:
        case StudyFinished():
            return "the study has finished"
        case StudyInterrupted():
            return f"stopped; nothing is lost. Resume with: {resume}"
        case _:
            return (
                "its driver ended without a last event in the journal: nothing that is in it is "
                f"lost. Resume with: {resume}"
            )

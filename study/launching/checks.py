"""What a launch refuses before anything of it is written; a dry run asks the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from study.journal import Entry, StudyHome, has_events, read_entries
from study.journal.commands import pending
from study.journal.events import LaunchBegan, StudyDescribed, StudyFinished
from study.journal.home import command_line
from study.journal.lease import check_vacant
from study.spec import Begun, SpecError, StudySpec, arm_roles, difference, last_description
from study.spec.begun import begun_as
from study.spec.design import as_begun, bounded_arms, check_bounded, check_design, settled
from study.spec.errors import Source
from study.spec.roles import kept_roles
from study.tracking import check, check_name, probe_store, tracking_uri
from vae_core.data import PreparedData


def settle(
    spec: StudySpec, home: StudyHome, roles: Mapping[str, Mapping[str, Any]] | None = None
) -> StudySpec:
    """``spec`` with what it leaves open spelled out: as the study began, else by its arms' kinds.

    Args:
        spec: what is to run.
        home: where.
        roles: of its arms, where they are known; else the core is imported.

    Raises:
        SpecError: it does more than extend the spec the study began with, or has nothing to
            decide.
    """
    past = Begun.of(home)
    roles = arm_roles(spec) if roles is None else roles
    if past is None:
        check_design(spec, roles, Source())
        return settled(spec, roles)
    roles = {**roles, **kept_roles(spec, past.roles)}
    spec = as_begun(spec, past.spec, past.assumed)
    _refuse_changes(spec, past, home)
    check_bounded(spec, roles, Source())
    if bounded_arms(spec) and spec.design == "same_seeds":
        raise SpecError(
            "the study began with all arms on the same seeds: a search that looked at an automatic "
            "arm's would know those that compare it",
            where=f"arms.{bounded_arms(spec)[0]}.search.trials",
            remedy="give a number of trials, or begin another study: "
            f"`{command_line('fork', home.path)} NEW --set ...`",
        )
    if spec.until is not None and spec.design == "same_seeds":
        raise SpecError(
            "the study began with all arms on the same seeds, and no pair of them to decide about",
            where="seeds",
            remedy="add seeds at the end of its list, or begin another study: "
            f"`{command_line('fork', home.path)} NEW --set ...`",
        )
    return spec


def _refuse_changes(spec: StudySpec, past: Begun, home: StudyHome) -> None:
    """Refuse a spec that does more than extend the one before."""
    old, seeds = past.spec.to_dict(), past.spec.seeds
    if past.spec.until is not None:  # of the seeds that may be added, those that were
        last = max((i for i, seed in enumerate(seeds) if seed in past.seeds), default=-1)
        old["seeds"] = seeds[: last + 1]
    refused = difference(old, spec.to_dict()).refused
    if refused:
        raise SpecError(
            "the study has run already, with other settings:\n    " + "\n    ".join(refused),
            where=str(home.spec),
            remedy="return to the settings it was begun with, or begin another study: "
            f"`{command_line('fork', home.spec.parent)} NEW --set ...`, or the file under another "
            "name",
        )


def begun_arms(home: StudyHome) -> set[str]:
    """The arms of the study as it was last launched; none if it has not begun."""
    past = last_description(read_entries(home.path, StudyDescribed))
    return set(past.spec["arms"]) if past else set()


def check_tracking(spec: StudySpec, home: StudyHome, *, writing: bool) -> None:
    """Check MLflow's store, which a launch is to reach.

    ``writing`` is whether something may be written to the store, and taken away again: only that
    shows that it takes what a study writes.

    Raises:
        UserError: it cannot be used.
    """
    uri, begun = tracking_uri(home.studies), has_events(home.path)
    if writing:
        probe_store(uri, home.studies, spec.name, spec.question, begun=begun)
    elif not begun:  # else what MLflow is to get can wait in the journal
        check(uri)
    if not begun:
        check_name(uri, home.studies, spec.name)


def check_home(home: StudyHome, *, take_over: bool) -> None:
    """Check that a launch could write in ``home`` and acquire its lease. Leaves nothing there.

    Raises:
        UserError: it could not.
    """
    there = home.path.exists()
    home.make()
    if not there:
        with suppress(OSError):  # a launch may have begun in it
            home.path.rmdir()
    elif not take_over:
        check_vacant(home.path)


def check_data(
    spec: StudySpec, data: PreparedData, entries: Iterable[Entry], home: StudyHome
) -> None:
    """Check that the images are those the study was begun with.

    Raises:
        SpecError: they are not.
    """
    described = [e.event.data for e in entries if isinstance(e.event, StudyDescribed)]
    if described and described[-1].get("sha256", data.sha256) != data.sha256:
        raise SpecError(
            f"the images of '{spec.data.name}' are not those the study was begun with",
            where=str(home.path),
            remedy="restore them, or begin a study of another name",
        )


def nothing_left(spec: StudySpec, entries: Iterable[Entry], home: StudyHome) -> bool:
    """Whether the study was finished, as ``spec`` has it, by an earlier launch."""
    described, finished = None, False
    for entry in entries:
        match entry.event:
            case StudyDescribed() as study:
                described = study
            case LaunchBegan() | StudyFinished() as event:
                finished = isinstance(event, StudyFinished)
    if described is None or not finished or pending(home.path):
        return False
    return begun_as(described, spec)

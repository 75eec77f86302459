"""How a study finds the pair of arms that it compares: settled once, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.metrics import OBJECTIVES
from study.spec.arms import ArmSpec
from study.spec.errors import Source
from study.spec.models import PrimarySpec, StudySpec
from study.spec.seeds import BATCH, continued, own_seeds
from study.statistics import FEWEST_LOOKED

Roles = Mapping[str, Mapping[str, Any]]

MANY = 8
"""Arms from which on choosing among them takes a seed more."""


def choosing_seeds(arms: int) -> int:
    """How many seeds so many arms are chosen on, where the spec gives no number."""
    return 2 if arms < MANY else 3


def first_look(spec: StudySpec) -> int:
    """Seeds before the first look of a study that goes on until it is decided: the whole batches
    without which nothing is decided.
    """
    batch = spec.seeds_batch or BATCH
    return min(-(-FEWEST_LOOKED // batch) * batch, len(spec.seeds))


def confirm_runs(spec: StudySpec, *, compared: bool) -> int:
    """How many confirm runs a configuration may have in the end.

    Args:
        spec: the study, its design settled.
        compared: whether its arm is of the pair. The other arms of a study with a pair have their
            choosing runs, or, where the pair was named in advance, as many as the first look takes.
    """
    chosen_on = spec.choosing_seeds or 0
    if compared or spec.design == "same_seeds":
        return chosen_on + len(spec.seeds)
    if spec.design == "two_stages":
        return chosen_on
    return len(spec.seeds) if spec.until is None else first_look(spec)


def check_design(spec: StudySpec, roles: Roles, source: Source) -> None:
    """Check what ``spec`` says of the pair against its arms' kinds.

    Raises:
        SpecError: an arm of the pair is of the other kind, or there is no pair to choose or to
            decide about.
    """
    hand, automatic = _kinds(spec, roles)
    for kind, arm in spec.primary or ():
        of_kind = hand if kind == "hand_tuned" else automatic
        if arm not in of_kind:
            what = f"arm '{arm}' is {'automatic' if kind == 'hand_tuned' else 'hand-tuned'}"
            remedy = f"name one of {', '.join(of_kind)}" if of_kind else "leave primary out"
            raise source.error(("primary", kind), what, remedy)
    check_bounded(spec, roles, source)
    one = len(hand) * len(automatic) < 2 and not (hand and automatic and bounded_arms(spec))
    if spec.choosing_seeds is not None and one:
        pairs = "one pair of arms" if hand and automatic else "no pair of arms"
        what = f"there is {pairs}, a hand-tuned and an automatic one, so none is chosen"
        raise source.error(("choosing_seeds",), what, "leave it out")
    if spec.until is not None and not (hand and automatic):
        what = "there is nothing to decide without a hand-tuned and an automatic arm"
        raise source.error(("seeds",), what, "give the seeds, e.g. {count: 12}")


def bounded_arms(spec: StudySpec) -> list[str]:
    """The arms that search until their break-even is bounded."""
    return [name for name, arm in spec.arms.items() if arm.search and arm.search.until is not None]


def check_bounded(spec: StudySpec, roles: Roles, source: Source) -> None:
    """Check that searches until bounded have a level to reach, on seeds that compare nothing.

    Raises:
        SpecError: one has not.
    """
    hand, automatic = _kinds(spec, roles)
    for arm in bounded_arms(spec):
        at, fixed = ("arms", arm, "search", "trials"), "give a number of trials"
        if arm not in hand:
            what = f"arm '{arm}' is automatic, and break-even is that of hand-tuned searches"
            raise source.error(at, what, fixed)
        if not automatic:
            raise source.error(at, "there is no automatic arm whose level it could reach", fixed)
        if spec.primary is not None:
            what = (
                "the pair is named, so its automatic arm has no seeds but those that compare it: "
                "a search that looked at them would know them"
            )
            remedy = f"{fixed}, or leave primary out of a new study (--set primary=null)"
            raise source.error(at, what, remedy)
        if OBJECTIVES[spec.objective].network is not None and spec.evaluation.trials != "all":
            what = f"trials of a search are not scored on test by {spec.objective}"
            raise source.error(at, what, f"give evaluation.trials: all; or {fixed}")


def settled(spec: StudySpec, roles: Roles) -> StudySpec:
    """``spec`` of a study that has not begun, with its design spelled out.

    The pair is the one that the spec names or that is the only one; else it is chosen on seeds of
    their own, which every arm trains on first. So is the only pair whose search goes on until its
    break-even is bounded: the level that it is to reach is then that of the choosing seeds. Without
    a hand-tuned and an automatic arm all arms train on the same seeds, and nothing is chosen.
    """
    hand, automatic = _kinds(spec, roles)
    if spec.design != "same_seeds" or not (hand and automatic):
        return spec
    if len(hand) == len(automatic) == 1 and not bounded_arms(spec):
        pair = PrimarySpec(hand_tuned=hand[0], automatic=automatic[0])
        return spec.model_copy(update={"primary": pair})
    return spec.model_copy(update={"choosing_seeds": choosing_seeds(len(spec.arms))})


def as_begun(spec: StudySpec, frozen: StudySpec, assumed: Mapping[str, Any]) -> StudySpec:
    """``spec`` of a study that has begun as ``frozen``, which says what ``spec`` leaves open.

    ``assumed`` is what ``frozen`` left open itself, when other defaults held
    (:func:`study.spec.begun.assumed_by`): they hold on.
    """
    open_keys: dict[str, Any] = {
        key: getattr(frozen, key)
        for key in ("primary", "choosing_seeds")
        if getattr(spec, key) is None
    }
    if "seeds" not in spec.model_fields_set:
        open_keys |= {key: getattr(frozen, key) for key in ("seeds", "until", "seeds_batch")}
    elif spec.until is not None and spec.seeds == own_seeds(spec.name, len(spec.seeds)):
        open_keys["seeds"] = continued(frozen.seeds, len(spec.seeds))
    constants = assumed.get("arms", {})
    arms = {
        name: _with(arm, constants[name]["balancer"])
        if name in constants and arm.balancer.name == frozen.arms[name].balancer.name
        else arm
        for name, arm in spec.arms.items()
    }
    if "draws" not in spec.evaluation.model_fields_set:
        draws = assumed.get("evaluation", {})
        open_keys["evaluation"] = spec.evaluation.model_copy(update=draws)
    return spec.model_copy(update={**open_keys, "arms": arms})


def _with(arm: ArmSpec, constants: Mapping[str, float]) -> ArmSpec:
    """``arm`` with those ``constants`` of its balancer that it does not set."""
    left_open = {k: v for k, v in constants.items() if k not in arm.balancer.extras}
    return arm.model_copy(update={"balancer": arm.balancer.model_copy(update=left_open)})


def _kinds(spec: StudySpec, roles: Roles) -> tuple[list[str], list[str]]:
    """The names of the hand-tuned and of the automatic arms, in the spec's order."""
    hand = [arm for arm in spec.arms if roles[arm]["hand_tuned"]]
    return hand, [arm for arm in spec.arms if arm not in hand]

"""The result of each arm of a study."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.analysis.answers import costs
from study.analysis.answers.design import CHOOSING, COMPARING, Design, design_of
from study.analysis.records.convergence import Arrival, arrivals
from study.analysis.records.tables import Role, recorded_roles, study_facts
from study.formatting import setting
from study.journal.course import Course, in_words
from study.metrics import BITS_PER_DIM
from study.spec import SAMPLERS
from study.spec.arms import BalancerSpec
from study.spec.collapse import CollapseSpec
from study.spec.roles import searches
from study.spec.trials import most_trials
from study.statistics.collapse import Collapses, collapses
from study.statistics.intervals import Interval, mean_interval
from study.statistics.seeds import over_replicates


@dataclass(frozen=True)
class Draws:
    """What drew the search trials of an arm.

    Attributes:
        sampler: Its sampler, as in a spec.
        pruner: Likewise; None if it has none.
        recorded: Search trials of which the journal says what drew them, without retries.
        chosen: How many of them an adaptive sampler chose by earlier results; the others are
            random draws, or enqueued. None of another sampler.
        repeated: Whether its replicates have the same points: an earlier version did not scramble.
    """

    sampler: str
    pruner: str | None
    recorded: int
    chosen: int | None
    repeated: bool

    @property
    def known(self) -> bool:
        """Whether the sampler is adaptive, and the journal says what it chose."""
        return self.chosen is not None and self.recorded > 0


@dataclass(frozen=True)
class ArmResult:
    """The result of one arm. Test values are of its current confirm runs: of those of its stage.

    Attributes:
        stage: ``comparing`` or ``choosing``, whose runs these are; "" in a study without stages.
        why: Which of its settings makes it hand-tuned, "" of an automatic arm.
        counts: Trials by state, over both phases; ``planned`` is how many the spec asks for, and
            with them the retries and the confirm runs of superseded choices.
        failed_seeds: Confirm runs that failed and have no complete retry: they are missing from
            every mean.
        lost_seeds: Seeds without a test objective, as a run failed or scored no finite number
            (:func:`study.statistics.seeds.over_replicates`); ``second_lost_seeds`` likewise.
        collapsed_seeds: Seeds that are lost or on which a run collapsed, as the spec defines it.
        collapsed: Their share of the seeds that have ended; None before one has.
        draws: What drew its search trials; None if it searches nothing.
        settings: The chosen setting, one per replicate, as "beta=0.3 training.lr=0.001".
        effective_beta: Mean of k sigma^2 at the end of the confirm runs.
        validation: Objective of the chosen search trial, the mean over replicates.
        optimism: Mean validation objective of the confirm runs minus ``validation``: how much
            better than itself the winner of the search looked.
        test: Objective over the seeds that are not lost (replicates of a seed averaged first);
            ``second`` likewise.
        by_seed: Seed -> test objective; what differences are paired over.
        bits_by_seed: Seed -> bits per dimension on test, the likelihood that compares over
            datasets; ``validation_bits`` likewise, the mean over the confirm runs.
        means: Every test metric the confirm runs have, their mean, by its name.
        deployed_seed: That of the model that is exported, the confirm run best on validation; None
            where replicates share their seeds.
        images_to_final: Mean over the confirm runs of the images after which the validation
            objective stayed within 1 % of its final value, at a report.
        images_away: Likewise at the last report before, which was not that near; 0: there is none.
    """

    arm: str
    automatic: bool
    stage: str
    why: str
    balancer: str
    counts: Mapping[str, int]
    planned: int
    replicates: int
    failed_seeds: int
    lost_seeds: Sequence[int]
    second_lost_seeds: Sequence[int]
    collapsed_seeds: Sequence[int]
    collapsed: Collapses | None
    draws: Draws | None
    settings: Sequence[str]
    effective_beta: float | None
    validation: float | None
    confirm_validation: float | None
    optimism: float | None
    test: Interval
    second: Interval
    mse: float | None
    rate: float | None
    active_units: float | None
    cost: costs.CostToOneModel
    by_seed: Mapping[int, float]
    second_by_seed: Mapping[int, float]
    bits_by_seed: Mapping[int, float]
    validation_bits: float | None
    means: Mapping[str, float]
    deployed_seed: int | None
    images_to_final: float | None
    images_away: float | None

    @property
    def searches(self) -> bool:
        """Whether it is hand-tuned by a search of its balance."""
        return not self.automatic and searches(self.why, search=self.draws is not None)

    @property
    def compared(self) -> bool:
        """Whether its runs compare it with others, and not merely chose among them."""
        return self.stage != CHOOSING

    @property
    def unfinished(self) -> int:
        """Planned trials that have not ended."""
        ended = sum(self.counts.get(state, 0) for state in ("complete", "pruned", "failed"))
        return max(0, self.planned - ended)


def arm_results(
    tables: Mapping[str, pa.Table], spec: Mapping[str, Any], objective: str, second: str
) -> list[ArmResult]:
    """The results of the arms of ``spec``, in its order, scored by two named objectives."""
    trials = tables["trials"]
    roles = recorded_roles(trials)
    arrived = arrivals(tables["records"], objective)
    design = design_of(study_facts(trials), spec)
    return [
        _arm(name, spec, roles[name], trials, design, arrived, (objective, second))
        for name in spec["arms"]
    ]


def pairs(arms: Sequence[ArmResult]) -> list[tuple[ArmResult, ArmResult]]:
    """Every hand-tuned arm with every automatic one, of those whose runs compare them."""
    compared = [arm for arm in arms if arm.compared]
    automatic = [arm for arm in compared if arm.automatic]
    return [(hand, arm) for hand in compared if not hand.automatic for arm in automatic]


def best_on_validation(arms: Sequence[ArmResult]) -> ArmResult | None:
    """The arm with the lowest validation objective over its confirm runs; test stays unseen."""
    scored = [
        (a.confirm_validation, i) for i, a in enumerate(arms) if a.confirm_validation is not None
    ]
    return arms[min(scored)[1]] if scored else None


def _arm(
    name: str,
    spec: Mapping[str, Any],
    role: Role,
    trials: pa.Table,
    design: Design,
    arrived: Mapping[str, Arrival],
    scores: tuple[str, str],
) -> ArmResult:
    rows, stage = trials.filter(pc.equal(trials["arm"], name)).to_pylist(), design.stage(name)
    standing = _standing(rows, stage)
    confirmed = [row for row in standing if row["state"] == "complete"]
    near = [arrived[row["trial"]] for row in confirmed if row["trial"] in arrived]
    chosen = [row for row in rows if row["phase"] == "search" and row["chosen"]]
    balancer, search = spec["arms"][name]["balancer"], spec["arms"][name].get("search") or {}
    replicates = search.get("replicates", 1)
    validation = _mean(row["objective"] for row in chosen)
    confirm_validation = _mean(row.get(f"validation_{scores[0]}") for row in confirmed)
    found = {row["replicate"] for row in rows if row["chosen"]}  # those with a configuration
    (by_seed, lost), (second_by_seed, second_lost), (bits_by_seed, _) = (
        _over_replicates(standing, f"test_{score}", len(found))
        for score in (*scores, BITS_PER_DIM.name)
    )
    ended, looks = {*by_seed, *lost}, design.looked
    collapsed = _collapsed(confirmed, CollapseSpec.of(spec), ended, lost)
    return ArmResult(
        arm=name,
        automatic=not role.hand_tuned,
        stage=stage,
        why=role.why,
        balancer=balancer["name"],
        counts=Counter(row["state"] for row in rows),
        replicates=replicates,
        planned=_planned(name, spec, design, rows),
        failed_seeds=sum(row["state"] == "failed" for row in standing),
        lost_seeds=lost,
        second_lost_seeds=second_lost,
        collapsed_seeds=collapsed,
        collapsed=collapses(len(collapsed), len(ended), looks=looks) if ended else None,
        draws=_draws(search, rows) if search else None,
        settings=_settings(balancer, chosen or ([] if search else standing[:1])),
        effective_beta=_mean(row["beta"] for row in confirmed),
        validation=validation,
        confirm_validation=confirm_validation,
        optimism=_gap(confirm_validation, validation),
        test=mean_interval(by_seed.values(), looks=looks),
        second=mean_interval(second_by_seed.values(), looks=looks),
        mse=_mean(row["test_MSE"] for row in confirmed),
        rate=_mean(row["test_R"] for row in confirmed),
        active_units=_mean(row["test_active_units"] for row in confirmed),
        cost=costs.cost_to_one_model(trials, name),
        by_seed=by_seed,
        second_by_seed=second_by_seed,
        bits_by_seed=bits_by_seed,
        validation_bits=_mean(row["validation_bits_per_dim"] for row in confirmed),
        means=_means(confirmed),
        deployed_seed=_deployed(rows) if replicates == 1 else None,
        images_to_final=_mean(one.by for one in near),
        images_away=_mean(one.after for one in near),
    )


def _standing(rows: Sequence[Mapping[str, Any]], stage: str) -> list[Mapping[str, Any]]:
    """The current confirm runs of a stage."""
    confirms = (row for row in rows if row["phase"] == "confirm" and row["chosen"])
    return [row for row in confirms if (row.get("stage") or "") == stage]


def _planned(
    name: str, spec: Mapping[str, Any], design: Design, rows: Sequence[Mapping[str, Any]]
) -> int:
    """How many trials an arm is to have, with its retries and runs of superseded choices."""
    search, stage = spec["arms"][name].get("search") or {}, design.stage(name)
    confirms = [row for row in rows if row["phase"] == "confirm"]
    choosing, seeds = spec.get("choosing_seeds") or 0, len(spec["seeds"])
    if design.until_decided and (design.decided or name not in (design.pair or ())):
        # The others are not needed: it is decided, or about other arms.
        seeds = len({row["seed"] for row in confirms if row.get("stage") != CHOOSING})
    if stage:
        seeds = choosing + (seeds if stage == COMPARING else 0)
    retried = sum(row["retry_of"] is not None for row in rows if row["phase"] == "search")
    beside = sum(not row["chosen"] for row in confirms)
    searched = most_trials(search) if search else 0
    mine = [row for row in rows if row["phase"] == "search"]
    if search and isinstance(search["trials"], Mapping) and any(row["chosen"] for row in mine):
        searched = len({row["number"] for row in mine})  # it was bounded, and is over
    return int(search.get("replicates", 1) * (searched + seeds) + retried + beside)


def _collapsed(
    complete: Sequence[Mapping[str, Any]],
    rule: CollapseSpec,
    ended: Collection[int],
    lost: Sequence[int],
) -> list[int]:
    """Of the seeds that have ended, those that are lost or whose models ignore their latents."""
    ignoring = {row["seed"] for row in complete if rule.ignores_latents(row.get("test_R"))}
    return sorted(ignoring.intersection(ended).union(lost))


def _deployed(rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The seed of the confirm run that :func:`study.exporting.model.export` would take."""
    complete = [
        (row["objective"], row["trial"], row["seed"])
        for row in rows
        if row["phase"] == "confirm" and row["chosen"] and row["state"] == "complete"
        if _known(row["objective"])
    ]
    return min(complete)[2] if complete else None


def _draws(search: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Draws:
    given = search["sampler"]
    sampler = given["name"]
    drawn = [row["drawn_by"] for row in rows if row["drawn_by"] and row["retry_of"] is None]
    chosen = drawn.count(sampler) if SAMPLERS[sampler].adaptive else None
    pruner = (search.get("pruner") or {}).get("name")
    repeated = sampler == "qmc" and not drawn and not given.get("scramble")
    return Draws(sampler, pruner, len(drawn), chosen, repeated)


def _settings(balancer: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was set, a text a trial; beta that is given for another loss in S/2 + beta R too."""
    loss = BalancerSpec.model_validate(balancer).loss
    fixed = {k: v for k, v in balancer.items() if k not in ("name", "reduction", "convention")}
    texts = []
    for trial in trials:
        params, course = json.loads(trial["params"]), trial["course"]
        given = fixed | params
        words = {key: setting(value) for key, value in given.items()}
        words |= in_words(params, course and Course.of(json.loads(course)))
        text = ", ".join(f"{key}={value}" for key, value in words.items())
        if loss is not None and "beta" in given:
            own = json.loads(trial["settings"])["balancer"]["beta"]
            text += f" (beta of {loss}: {setting(own)} in S/2 + beta R)"
        texts.append(text)
    return texts


def _over_replicates(
    rows: Sequence[Mapping[str, Any]], column: str, replicates: int
) -> tuple[dict[int, float], list[int]]:
    """The seeds that count and those that are lost; a run stopped by hand is none that failed."""
    ended = (row for row in rows if row["state"] in ("complete", "failed"))
    return over_replicates(((row["seed"], row.get(column)) for row in ended), replicates)


def _gap(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None and isfinite(v)]
    return fsum(known) / len(known) if known else None


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of every test metric of ``rows``, by the metric's name."""
    columns = [name for name in (rows[0] if rows else ()) if name.startswith("test_")]
    found = {name.removeprefix("test_"): _mean(row[name] for row in rows) for name in columns}
    return {name: mean for name, mean in found.items() if mean is not None}


def _known(value: float | None) -> bool:
    return value is not None and isfinite(value)

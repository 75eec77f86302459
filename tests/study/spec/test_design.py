"""How the compared pair comes about, and which seeds it trains on: what a spec leaves open."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.made_up import begin
from study import api
from study.journal import Journal, StudyHome
from study.launching.checks import settle
from study.spec import Begun, SpecError, StudySpec, arm_roles
from study.spec.design import as_begun, check_design, settled
from study.spec.errors import Source
from study.spec.seeds import own_seeds
from vae_core.randomness import SEED_LIMIT

FORMAT_1 = Path(__file__).parents[1] / "journal" / "format1" / "finished"
SEARCH = {"space": {"beta": {"low": 1e-3, "high": 10, "log": True}}, "trials": 4}
HAND: dict[str, Any] = {"balancer": "fixed_beta", "search": SEARCH}
AUTO = {"balancer": "learned_sigma"}


def arms(hand: int, automatic: int) -> dict[str, Any]:
    return {f"h{i}": HAND for i in range(hand)} | {f"a{i}": AUTO for i in range(automatic)}


@pytest.fixture
def spec(base: Any) -> Any:
    """A spec with changes, as a first launch settles it."""

    def make(**changes: Any) -> StudySpec:
        found = StudySpec.from_dict(base(**changes))
        return settled(found, arm_roles(found))

    return make


class TestDesign:
    @pytest.mark.parametrize(
        ("hand", "automatic", "design", "choosing"),
        [
            (1, 1, "named", None),
            (0, 3, "same_seeds", None),
            (3, 0, "same_seeds", None),
            (1, 2, "two_stages", 2),
            (2, 1, "two_stages", 2),
            (3, 4, "two_stages", 2),
            (4, 4, "two_stages", 3),
        ],
    )
    def test_it_follows_from_the_arms(
        self, spec: Any, hand: int, automatic: int, design: str, choosing: int | None
    ) -> None:
        found = spec(arms=arms(hand, automatic))
        assert (found.design, found.choosing_seeds) == (design, choosing)

    def test_what_is_given_stands(self, spec: Any) -> None:
        pair = {"hand_tuned": "h1", "automatic": "a0"}
        named = spec(arms=arms(2, 2), primary=pair)
        assert (named.design, named.to_dict()["primary"]) == ("named", pair)
        assert spec(arms=arms(2, 2), choosing_seeds=5).choosing_seeds == 5

    def test_a_settled_spec_is_read_back_as_it_is(self, spec: Any) -> None:
        for found in (spec(arms=arms(1, 1)), spec(arms=arms(1, 2)), spec(arms=arms(1, 0))):
            again = StudySpec.from_dict(found.to_dict())
            assert (again, again.hash) == (found, found.hash)

    def test_nothing_to_decide_is_refused(self, base: Any, tmp_path: Any) -> None:
        seeds = {"until": "decided", "at_most": 40}
        study = StudySpec.from_dict(base(arms=arms(0, 2), seeds=seeds))
        with pytest.raises(SpecError, match="nothing to decide without a hand-tuned"):
            settle(study, StudyHome(tmp_path, "small"))


class TestUntilBounded:
    BOUNDED = {"until": "bounded", "at_most": 60}

    def arms(self, hand: int = 1, automatic: int = 1, **search: Any) -> dict[str, Any]:
        searched = {**SEARCH, "trials": self.BOUNDED, **search}
        return {**arms(hand, automatic), "h0": {**HAND, "search": searched}}

    def test_the_only_pair_has_choosing_seeds_too(self, spec: Any, base: Any) -> None:
        found = spec(arms=self.arms())
        assert (found.design, found.choosing_seeds) == ("two_stages", 2)
        assert spec(arms=self.arms(), choosing_seeds=4).choosing_seeds == 4
        check_design(found, arm_roles(found), Source())  # as a file of it would be

    def test_it_is_frozen_as_it_is_given(self, spec: Any) -> None:
        found = spec(arms=self.arms())
        search = found.to_dict()["arms"]["h0"]["search"]
        assert search["trials"] == self.BOUNDED
        assert (found.arms["h0"].search.trials, found.arms["h0"].search.batch_size) == (60, 6)
        assert StudySpec.from_dict(found.to_dict()) == found
        paced = spec(arms=self.arms(trials={**self.BOUNDED, "batch": 8}))
        assert paced.arms["h0"].search.batch_size == 8
        assert StudySpec.from_dict(paced.to_dict()) == paced

    @pytest.mark.parametrize(
        ("changes", "where", "what"),
        [
            ({"primary": {"hand_tuned": "h0", "automatic": "a0"}}, "h0", "the pair is named"),
            ({"hand": 1, "automatic": 0}, "h0", "there is no automatic arm"),
            ({"objective": "fid_gen1"}, "h0", "not scored on test by fid_gen1"),
            ({"automatic": 2, "lucky": True}, "a0", "arm 'a0' is automatic"),
        ],
    )
    def test_without_a_level_it_is_refused(
        self, base: Any, tmp_path: Any, changes: dict[str, Any], where: str, what: str
    ) -> None:
        counts = [changes.pop(kind, 1) for kind in ("hand", "automatic")]
        found = self.arms(*counts)
        if changes.pop("lucky", False):
            space = {"training.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
            found = {**arms(*counts), "a0": {**AUTO, "search": {**SEARCH, "space": space}}}
            found["a0"]["search"]["trials"] = self.BOUNDED
        if "objective" in changes:
            changes["evaluation"] = {"features": ["inception"]}
        study = StudySpec.from_dict(base(arms=found, **changes))
        with pytest.raises(SpecError, match=what) as caught:
            settle(study, StudyHome(tmp_path, "small"))
        assert f"arms.{where}.search.trials" in str(caught.value)

    def test_a_study_whose_pair_was_named_cannot_begin_it(
        self, spec: Any, base: Any, tmp_path: Any
    ) -> None:
        home = StudyHome(tmp_path, "small")
        begin(spec(arms=arms(1, 1)), home, ()).close()
        with pytest.raises(SpecError, match="the pair is named"):
            settle(StudySpec.from_dict(base(arms=self.arms())), home)

    def test_nor_can_one_of_the_first_format(self, tmp_path: Any) -> None:
        home = StudyHome(tmp_path, "format1")
        shutil.copytree(FORMAT_1, home.path)
        past = Begun.of(home)
        assert past is not None
        more = past.spec.to_dict()
        more["arms"]["random"]["search"]["trials"] = {**self.BOUNDED, "at_most": 99}
        with pytest.raises(SpecError, match="began with all arms on the same seeds"):
            settle(StudySpec.from_dict(more), home)


def recorded(home: StudyHome) -> StudySpec:
    past = Begun.of(home)
    assert past is not None
    return past.spec


class TestBegun:
    def test_it_stays_what_it_was(self, spec: Any, base: Any) -> None:
        for before, more in (((1, 1), (1, 2)), ((1, 2), (4, 4)), ((2, 0), (2, 2))):
            begun = spec(arms=arms(*before))
            now = as_begun(StudySpec.from_dict(base(arms=arms(*more))), begun, {})
            assert (now.design, now.primary) == (begun.design, begun.primary)
            assert now.choosing_seeds == begun.choosing_seeds

    def test_seeds_that_are_not_given_are_those_it_began_with(self, base: Any) -> None:
        old = StudySpec.from_dict(base(seeds=[0, 1, 2, 3, 4]))
        assert as_begun(StudySpec.from_dict(base()), old, {}).seeds == [0, 1, 2, 3, 4]
        assert as_begun(StudySpec.from_dict(base(seeds=[7])), old, {}).seeds == [7]

    @pytest.mark.parametrize("seeds", [[9, 3, 100], [*range(101, 109)], [2**32 - 8]])
    def test_any_seeds_go_on_until_it_is_decided(
        self, spec: Any, base: Any, tmp_path: Path, seeds: list[int]
    ) -> None:
        begun, home = spec(arms=arms(1, 1), seeds=seeds), StudyHome(tmp_path, "small")
        begin(begun, home, ()).close()

        def on(**until: Any) -> list[int]:
            given = {"until": "decided", "at_most": 8, **until}
            file = StudySpec.from_dict(base(arms=arms(1, 1), seeds=given))
            return settle(file, home).seeds

        assert on() == [*seeds, *range(max(seeds) + 1, max(seeds) + 9 - len(seeds))]
        with pytest.raises(SpecError, match="seeds: "):
            on(**{"from": 5})
        if max(seeds) > 2**31:
            with pytest.raises(SpecError, match="no 8 seeds are left above 4294967288"):
                on(at_most=9)


class TestSeeds:
    def test_a_study_has_its_own_wherever_it_runs(self, base: Any) -> None:
        code = "from study.spec.seeds import own_seeds; print(own_seeds('small'))"
        there = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        found = StudySpec.from_dict(base()).seeds
        assert str(found) == there.stdout.strip()
        assert len(found) == 12
        assert all(b - a == 1 for a, b in pairwise(found))
        assert all(0 <= seed < SEED_LIMIT for seed in found)
        assert not set(found) & set(own_seeds("other"))

    def test_a_count_alone_begins_where_they_do(self, base: Any) -> None:
        own = StudySpec.from_dict(base()).seeds
        assert StudySpec.from_dict(base(seeds={"count": 15})).seeds[:12] == own
        assert StudySpec.from_dict(base(seeds={"count": 5})).seeds == own[:5]

    def test_until_decided_is_frozen_as_the_list_of_all_of_them(self, base: Any) -> None:
        seeds = {"until": "decided", "at_most": 8, "from": 5}
        found = StudySpec.from_dict(base(seeds=seeds))
        frozen = found.to_dict()
        assert frozen["seeds"] == [5, 6, 7, 8, 9, 10, 11, 12]
        assert (frozen["until"], frozen["seeds_batch"]) == ("decided", 3)
        assert StudySpec.from_dict(frozen) == found
        other = StudySpec.from_dict(base(seeds={**seeds, "batch": 5}))
        assert other.seeds_batch == 5

    def test_what_is_not_given_is_not_in_the_frozen_spec(self, base: Any) -> None:
        keys = StudySpec.from_dict(base()).to_dict().keys()
        assert not keys & {"primary", "choosing_seeds", "until", "seeds_batch"}


class TestFrozen:
    def test_it_is_the_journals_and_not_the_file_for_people(
        self, spec: Any, base: Any, tmp_path: Any
    ) -> None:
        home = StudyHome(tmp_path, "small")
        assert Begun.of(home) is None
        home.make()
        Journal(home.path).close()
        home.spec.write_text("name: another")  # as a launch leaves it that died right after
        assert Begun.of(home) is None
        begin(spec(arms=arms(1, 2)), home, ()).close()
        home.spec.write_text("name: another")
        assert recorded(home) == spec(arms=arms(1, 2))
        assert settle(StudySpec.from_dict(base(arms=arms(1, 3))), home).choosing_seeds == 2

    def test_records_of_the_first_format_keep_their_arms_on_the_same_seeds(
        self, tmp_path: Any
    ) -> None:
        home = StudyHome(tmp_path, "format1")
        shutil.copytree(FORMAT_1, home.path)
        past = recorded(home)
        assert settle(past, home) == past
        assert past.design == "same_seeds"
        pair = {"hand_tuned": "random", "automatic": "optimal"}
        for key, value in (("primary", pair), ("choosing_seeds", 2)):
            with pytest.raises(SpecError, match=f"{key}: nothing -> "):
                settle(StudySpec.from_dict({**past.to_dict(), key: value}), home)
        until = {"until": "decided", "at_most": 40, "from": past.seeds[0]}
        with pytest.raises(SpecError, match="began with all arms on the same seeds"):
            settle(StudySpec.from_dict({**past.to_dict(), "seeds": until}), home)


class TestAssumed:
    """What a study left open, when other defaults held: its own stay, a new study has today's."""

    @pytest.fixture
    def described(self, base: Any) -> Any:
        def make(evaluation: Any = None, **hyper: float) -> StudySpec:
            arms = {"a": {"balancer": {"name": "learned_sigma", **hyper}}}
            return StudySpec.from_dict(base(arms=arms, evaluation=evaluation or {}))

        return make

    def test_what_was_left_open_stays_as_it_was(self, described: Any) -> None:
        begun = described({"draws": 1}, sigma_lr=1e-3)
        assumed = {"evaluation": {"draws": 1}, "arms": {"a": {"balancer": {"sigma_lr": 1e-3}}}}
        assert as_begun(described(), begun, assumed).to_dict() == begun.to_dict()
        tuned = described({"draws": 5}, sigma_lr=0.03)
        assert as_begun(tuned, begun, assumed).to_dict() == tuned.to_dict()  # to be refused

    def test_what_was_set_cannot_be_left_out(self, described: Any, tmp_path: Path) -> None:
        home = StudyHome(tmp_path, "small")
        begin(described({"draws": 5}, sigma_lr=1e-3), home, ()).close()
        for now, refused in (
            (described({"draws": 5}), "arms.a.balancer.sigma_lr: 0.001 -> nothing"),
            (described(sigma_lr=1e-3), "evaluation.draws: 5 -> 'auto'"),
        ):
            with pytest.raises(SpecError, match=refused):
                settle(now, home)

    def test_a_study_of_an_older_format_resumes_from_its_file(self, tmp_path: Path) -> None:
        home = StudyHome(tmp_path, "format1")
        shutil.copytree(FORMAT_1, home.path)
        given = yaml.safe_load(home.spec.read_text()) | {"objective": "calibrated_negative_elbo"}
        file = StudySpec.from_dict(given)
        assert "log_sigma_min" not in file.arms["optimal"].balancer.extras
        assert settle(file, home) == recorded(home)

    def test_a_fork_of_it_has_today_s_defaults(self, tmp_path: Path) -> None:
        home = StudyHome(tmp_path, "format1")
        shutil.copytree(FORMAT_1, home.path)
        forked = api.fork_spec("format1", "new", home=tmp_path)
        assert forked.evaluation.draws == "auto"
        assert not any("departs" in role for role in arm_roles(forked).values())
        kept = "arms.optimal.balancer.log_sigma_min=-6"
        forked = api.fork_spec("format1", "new", [kept], home=tmp_path)
        assert forked.arms["optimal"] == api.frozen_spec(home).arms["optimal"]

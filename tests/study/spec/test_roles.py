"""Which arms are hand-tuned: by the spec, by the balancer, by what is searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from study.spec import SpecError, StudySpec, arm_roles, check_names, difference, warnings
from study.spec.roles import departure

BETA = {"low": 0.1, "high": 10, "log": True}
AUTOMATIC = {"hand_tuned": False, "why": ""}
OWN = '''
from vae_core.balancers import Balance, Balancer
from vae_core.balancers.contract import Hyperparameter, positive


class Annealed(Balancer):
    """The KL weight rises linearly to beta over a number of steps."""

    name = "annealed"
    hand_tuned = False
    hyperparameters = {
        "beta": positive(1.0, "KL weight at the end", trade_off=True),
        "steps": positive(100.0, "steps to the end"),
    }

    def initial_state(self, hyper):
        return {"step": hyper["beta"] * 0}

    def balance(self, terms, state, learned, hyper):
        share = ((state["step"] + 1) / hyper["steps"]).clamp(max=1)
        return Balance(log_sigma2=0 * share, k=share * hyper["beta"])

    def next_state(self, terms, state, learned, hyper):
        return {"step": state["step"] + 1}


class Constant(Annealed):
    name = "constant"
    hand_tuned = True


class Bare(Annealed):
    name = "bare"
    hand_tuned = True
    hyperparameters = {"beta": positive(1.0, "not declared"), "steps": positive(1.0, "steps")}


class Undeclared(Balancer):
    name = "undeclared"
    hyperparameters = {}

    def balance(self, terms, state, learned, hyper):
        raise NotImplementedError
'''


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roles_own_balancers.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def arm(balancer: Any, space: Any = None, **more: Any) -> dict[str, Any]:
    search = {"search": {"space": space, "trials": 24}} if space else {}
    if isinstance(balancer, str) and balancer[0].isupper():
        balancer = f"roles_own_balancers:{balancer}"
    return {"balancer": balancer, **search, **more}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (arm("fixed_beta", {"beta": BETA}), "searches beta"),
        (arm({"name": "fixed_beta", "beta": 2}), "sets beta"),
        (arm({"name": "fixed_beta", "beta": 2}, {"training.lr": BETA}), "sets beta"),
        (arm("optimal_sigma", {"k": BETA, "training.lr": BETA}), "searches k"),
        (arm("asperti_trentin", {"k": BETA}), "searches k"),
        (arm("Annealed", {"beta": BETA}), "searches beta"),
        (arm("multi_rate"), ""),  # beta is chosen without training, by nobody
        (arm("multi_rate", {"beta_high": BETA}), "searches beta_high"),
        (arm({"name": "gates_frozen", "beta": 2}), "sets beta"),
        (arm("Constant"), "sets beta"),
        (arm("Bare"), "balancer bare is hand-tuned"),
        (arm("learned_sigma", kind="hand_tuned"), "declared in the spec"),
        (arm("optimal_sigma"), ""),
        (arm("learned_sigma", {"sigma_min": BETA}), "searches sigma_min"),
        (arm("optimal_sigma", {"log_sigma_min": [-6, -3]}), "searches log_sigma_min"),
        (arm("per_image_sigma", {"log_sigma_min": [-6, -3]}), "searches log_sigma_min"),
        (arm("late_optimal_sigma", {"start_sigma": BETA}), ""),
        (arm("Annealed"), ""),
        (arm("Annealed", {"steps": BETA}), ""),
        (arm("optimal_sigma", {"k": BETA}, kind="automatic"), ""),
        (arm("fixed_beta", {"beta": BETA}, kind="automatic"), ""),
    ],
)
def test_an_arm_s_role_and_what_makes_it_so(base: Any, given: dict[str, Any], why: str) -> None:
    spec = StudySpec.from_dict(base(arms={"a": given}))
    check_names(spec)
    assert arm_roles(spec) == {"a": {"hand_tuned": bool(why), "why": why}}
    assert arm_roles(StudySpec.from_dict(spec.to_dict())) == arm_roles(spec)


@pytest.mark.parametrize(
    ("balancer", "departs"),
    [
        ({"name": "optimal_sigma", "k": 3}, [("k", 3, "1")]),
        ({"name": "optimal_sigma", "k": 1, "log_sigma_min": -12}, []),
        ({"name": "learned_sigma", "sigma_lr": 0.03}, [("sigma_lr", 0.03, "derived")]),
        ({"name": "learned_sigma", "sigma_min": 0.3}, [("sigma_min", 0.3, "0.00112764")]),
        ({"name": "asperti_trentin", "decay": 0.9}, [("decay", 0.9, "0.99")]),
        (
            {"name": "asperti_trentin", "k": 1, "decay": 0.9},
            [("k", 1, "derived"), ("decay", 0.9, "0.99")],
        ),
        ({"name": "multi_rate", "beta_low": 0.001}, [("beta_low", 0.001, "0.005")]),
        ({"name": "roles_own_balancers:Annealed", "steps": 20}, [("steps", 20, "100")]),
        ({"name": "roles_own_balancers:Constant", "steps": 20}, []),  # hand-tuned
    ],
)
def test_what_an_automatic_arm_departs_in_from_its_balancer_s_defaults(
    base: Any, balancer: Any, departs: list[Any]
) -> None:
    (role,) = arm_roles(StudySpec.from_dict(base(arms={"a": {"balancer": balancer}}))).values()
    found = role.get("departs", [])
    assert [(d["name"], d["value"], d["default"]) for d in found] == departs


def test_a_required_setting_of_an_automatic_arm_has_no_default_to_keep(base: Any) -> None:
    given = arm({"name": "fixed_beta", "beta": 0.5}, kind="automatic")
    (role,) = arm_roles(StudySpec.from_dict(base(arms={"a": given}))).values()
    assert departure(role["departs"]) == "beta = 0.5 (default none)"


def test_a_departure_without_a_pilot_is_warned_of(base: Any) -> None:
    given = arm({"name": "learned_sigma", "sigma_lr": 0.03})
    spec = StudySpec.from_dict(base(arms={"a": given}))
    (warning,) = warnings(spec, arm_roles(spec))
    assert warning == (
        "arm 'a' departs from its balancer's defaults, sigma_lr = 0.03 (default derived): tuned "
        "outside this study, and its cost is not counted. Leave them out, or name what chose them: "
        "arms.a.pilot."
    )
    for pilot in ({"study": "before"}, {"images": 5, "device_seconds": 0.5}):
        spec = StudySpec.from_dict(base(arms={"a": {**given, "pilot": pilot}}))
        assert warnings(spec, arm_roles(spec)) == []
        assert StudySpec.from_dict(spec.to_dict()) == spec
        assert spec.to_dict()["arms"]["a"]["pilot"] == pilot


@pytest.mark.parametrize(
    ("pilot", "what"),
    [
        ({}, "nothing says what the pilot cost"),
        ({"images": 5}, "nothing says what the pilot cost"),
        ({"study": "before", "images": 5}, "costs are stated too"),
        ({"study": "before", "epochs": 5}, "epochs"),
        ({"images": -5, "device_seconds": 1}, "-5"),
    ],
)
def test_a_pilot_is_a_study_or_its_stated_cost(
    base: Any, refused: Any, pilot: Any, what: str
) -> None:
    error = refused(base(arms={"a": arm("optimal_sigma", pilot=pilot)}))
    assert what in str(error)
    assert "arms.a.pilot" in error.where


def test_fairness_goes_by_the_roles(base: Any) -> None:
    arms = {
        "searched": arm("optimal_sigma", {"k": BETA, "training.lr": BETA}),
        "b": arm("Annealed"),
    }
    spec = StudySpec.from_dict(base(arms=arms))
    (warning,) = warnings(spec, arm_roles(spec))
    assert "and the automatic arms b do not" in warning
    assert warnings(spec, {"searched": AUTOMATIC, "b": AUTOMATIC}) == []


def test_a_balancer_of_one_s_own_has_to_declare_it(base: Any, refused: Any) -> None:
    error = refused(base(arms={"a": arm("Undeclared")}))
    assert error.where.endswith(": arms.a.balancer.name")
    assert "does not declare whether it is hand_tuned" in error.what
    assert "hand_tuned = True" in error.remedy


def test_a_required_hyperparameter_is_set_or_searched(base: Any) -> None:
    balancer = "vae_core.balancers.fixed_beta:FixedBeta"
    with pytest.raises(SpecError, match=f"{balancer} without a beta"):
        check_names(StudySpec.from_dict(base(arms={"a": {"balancer": balancer}})))
    for given in ({"name": balancer, "beta": 1}, balancer):
        searched = {"beta": BETA} if given is balancer else None
        check_names(StudySpec.from_dict(base(arms={"a": arm(given, searched)})))


def test_a_reduction_belongs_to_any_balancer_with_a_beta(base: Any) -> None:
    balancer = {"name": "roles_own_balancers:Annealed", "beta": 1, "reduction": "mean"}
    check_names(StudySpec.from_dict(base(arms={"a": {"balancer": balancer}})))


def test_another_kind_is_an_error(base: Any, refused: Any) -> None:
    error = refused(base(arms={"a": arm("learned_sigma", kind="manual")}))
    assert error.where.endswith(": arms.a.kind")
    assert "hand_tuned or automatic" in error.remedy


def test_a_study_frozen_before_there_were_kinds_resumes_and_keeps_its_own(base: Any) -> None:
    spec = StudySpec.from_dict(base()).to_dict()
    assert not any("kind" in described for described in spec["arms"].values())  # nor in its hash
    frozen = yaml.safe_load(yaml.safe_dump(spec))
    assert StudySpec.from_dict(frozen).to_dict() == spec
    changed = yaml.safe_load(yaml.safe_dump(spec))
    changed["arms"]["learned"]["kind"] = "hand_tuned"
    assert difference(spec, changed).refused == ["arms.learned.kind: nothing -> 'hand_tuned'"]

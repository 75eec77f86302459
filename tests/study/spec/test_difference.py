"""Which changes extend a study, and which would change what was already run."""

import copy

import pytest

from study.spec import StudySpec, difference


@pytest.fixture
def compare(base):
    """The difference that a change made in place to a spec's dict makes."""

    def changed(change):
        old = StudySpec.from_dict(base(seeds=[0, 1, 2, 3, 4])).to_dict()
        new = copy.deepcopy(old)
        change(new)
        return difference(old, StudySpec.from_dict(new).to_dict())

    return changed


def test_no_change(compare):
    assert compare(lambda new: None) == ([], [])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda new: new["seeds"].append(9), "seeds: [0, 1, 2, 3, 4] -> [0, 1, 2, 3, 4, 9]"),
        (
            lambda new: new["arms"]["random"]["search"].update(trials=9),
            "arms.random.search.trials: 8 -> 9",
        ),
        (
            lambda new: new["arms"]["random"]["search"].update(replicates=3),
            "arms.random.search.replicates: 1 -> 3",
        ),
        (lambda new: new.update(question="why?"), "question: '' -> 'why?'"),
        (lambda new: new["engines"].update(slots=4), "engines.slots: 'auto' -> 4"),
        (
            lambda new: new["engines"].update(precision="bfloat16"),
            "engines.precision: 'float32' -> 'bfloat16'",
        ),
        (lambda new: new.update(max_images=5), "max_images: nothing -> 5"),
        (lambda new: new.update(max_hours=0.5), "max_hours: nothing -> 0.5"),
        (lambda new: new.update(max_device_hours=2), "max_device_hours: nothing -> 2.0"),
        (
            lambda new: new["checkpoints"].update(keep="last"),
            "checkpoints.keep: 'none' -> 'last'",
        ),
    ],
)
def test_an_extension(compare, change, line):
    assert compare(change) == ([line], [])


def test_a_range_of_whole_numbers_is_another_than_one_of_real_numbers(searching):
    old, new = (
        StudySpec.from_dict(searching({"model.slope": {"low": low, "high": 1}})).to_dict()
        for low in (0, 0.0)
    )
    changed = [
        f"arms.a.search.space.model.slope.{end}" for end in ("low: 0 -> 0.0", "high: 1 -> 1.0")
    ]
    assert difference(old, new) == ([], changed)


def test_fixed_seeds_may_go_on_until_decided_and_not_the_other_way_round(base):
    fixed = StudySpec.from_dict(base(seeds={"from": 0, "count": 7})).to_dict()
    seeds = {"until": "decided", "at_most": 7, "from": 0}
    until = StudySpec.from_dict(base(seeds=seeds)).to_dict()
    wanted = ["until: nothing -> 'decided'", "seeds_batch: nothing -> 3"]
    assert difference(fixed, until) == (wanted, [])
    assert difference(until, fixed).refused


def test_trials_of_a_fixed_number_may_go_on_until_bounded_and_not_the_other_way_round(searching):
    space = {"beta": {"low": 1e-3, "high": 10, "log": True}}

    def of(trials, **search):
        return StudySpec.from_dict(searching(space, trials=trials, **search)).to_dict()

    fixed, until = of(8), of({"until": "bounded", "at_most": 9})
    line = "arms.a.search.trials: 8 -> {'until': 'bounded', 'at_most': 9}"
    assert difference(fixed, until) == ([line], [])
    assert difference(until, fixed).refused
    assert difference(until, of(99)).refused
    assert difference(of(99), until).refused
    more = of({"until": "bounded", "at_most": 12, "batch": 2})
    assert difference(until, more) == (
        ["arms.a.search.trials.at_most: 9 -> 12", "arms.a.search.batch: nothing -> 2"],
        [],
    )
    assert difference(more, until).refused == ["arms.a.search.trials.at_most: 12 -> 9"]
    assert difference(of(8), of(8, batch=2)).refused == ["arms.a.search.batch: nothing -> 2"]


def test_a_cap_can_be_lowered_and_taken_away():
    free = {"max_images": 5, "max_hours": 2.0, "max_device_hours": None}
    found = difference(free, {"max_images": 4, "max_hours": None, "max_device_hours": None})
    assert found == (["max_images: 5 -> 4", "max_hours: 2.0 -> nothing"], [])


def test_another_arm(compare):
    (line,), refused = compare(lambda new: new["arms"].update(c={"balancer": "optimal_sigma"}))
    assert line.startswith("arms.c: nothing -> {'balancer': {'name': 'optimal_sigma'")
    assert refused == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda new: new["training"].update(epochs=3), "training.epochs: 2.0 -> 3.0"),
        (lambda new: new["model"].update(width=32), "model.width: 64 -> 32"),
        (lambda new: new["model"].pop("width"), "model.width: 64 -> nothing"),
        (lambda new: new["data"].update(validation=50), "data.validation: 0.1 -> 50"),
        (
            lambda new: new.update(objective="bits_per_dim"),
            "objective: 'calibrated_negative_elbo' -> 'bits_per_dim'",
        ),
        (lambda new: new["evaluation"].update(images=10), "evaluation.images: 2048 -> 10"),
        (
            lambda new: new.update(primary={"hand_tuned": "random", "automatic": "learned"}),
            "primary: nothing -> {'hand_tuned': 'random', 'automatic': 'learned'}",
        ),
        (lambda new: new.update(choosing_seeds=2), "choosing_seeds: nothing -> 2"),
        (lambda new: new["seeds"].remove(3), "seeds: [0, 1, 2, 3, 4] -> [0, 1, 2, 4]"),
        (
            lambda new: new["seeds"].insert(0, 9),
            "seeds: [0, 1, 2, 3, 4] -> [9, 0, 1, 2, 3, 4] (add new ones at the end)",
        ),
        (
            lambda new: new["arms"]["random"]["search"].update(trials=4),
            "arms.random.search.trials: 8 -> 4",
        ),
        (
            lambda new: new["arms"]["random"]["search"].update(batch=2),
            "arms.random.search.batch: nothing -> 2",
        ),
        (
            lambda new: new["arms"]["random"]["search"]["space"]["beta"].update(low=0.01),
            "arms.random.search.space.beta.low: 0.001 -> 0.01",
        ),
        (
            lambda new: new["arms"]["learned"]["balancer"].update(k=2.0),
            "arms.learned.balancer.k: nothing -> 2.0",
        ),
    ],
)
def test_a_change_to_what_was_run(compare, change, line):
    assert compare(change) == ([], [line])


def test_an_arm_taken_away(compare):
    allowed, (line,) = compare(lambda new: new["arms"].pop("learned"))
    assert allowed == []
    assert line.startswith("arms.learned: {'balancer'")
    assert line.endswith("-> nothing")


def test_extensions_and_refusals_are_separated(compare):
    def change(new):
        new["seeds"].append(9)
        new["training"]["lr"] = 0.1

    allowed, refused = compare(change)
    assert allowed == ["seeds: [0, 1, 2, 3, 4] -> [0, 1, 2, 3, 4, 9]"]
    assert refused == ["training.lr: 0.001 -> 0.1"]

"""What a spec means: defaults, conversions, batches, and what two forms of it have in common."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.spec import (
    Choice,
    FloatRange,
    IntRange,
    SpecError,
    StudySpec,
    check_names,
    load_spec,
    resolve,
)
from study.spec.errors import Source
from study.spec.names import check_beginning
from study.spec.seeds import own_seeds

SLOPED = """
from torch import nn
from vae_core.models import VAE


class Net(VAE):
    def __init__(self, shape, latent, slope: {} = 0.2):
        super().__init__(shape, latent)
        self.e = nn.Sequential(nn.Flatten(), nn.Linear(shape.dims, 2 * latent), nn.LeakyReLU(slope))
        self.d = nn.Sequential(nn.Linear(latent, shape.dims), nn.Unflatten(1, shape.chw))

    def encode(self, x):
        return self.e(x).chunk(2, dim=1)

    def decode(self, z):
        return self.d(z).sigmoid()
"""


def search_of(searching, space, **search):
    return StudySpec.from_dict(searching(space, **search)).arms["a"].search


class TestReading:
    def test_numbers_as_people_write_them(self, tmp_path):
        file = tmp_path / "study.yaml"
        file.write_text(
            "name: n\ndata: digits\nmodel: {name: mlp, latent: 8}\n"
            "training: {epochs: 1, batch_size: 1e2, lr: 1e-3}\n"
            "arms: {a: {balancer: fixed_beta, search: {trials: 8, space: {\n"
            "  beta: {low: 1E-3, high: 10, log: true}, training.lr: [1e-4, '1e-3', 1]}}}}\n"
        )
        spec = load_spec(file)
        assert spec.training.lr == 1e-3
        assert spec.training.batch_size == 100
        space = spec.arms["a"].search.space
        assert space["beta"] == FloatRange(1e-3, 10.0, log=True)
        assert space["training.lr"] == Choice((1e-4, 1e-3, 1.0))

    def test_caps_and_what_stays_of_checkpoints(self, base):
        spec = StudySpec.from_dict(base())
        assert (spec.max_hours, spec.max_images, spec.max_device_hours) == (None, None, None)
        assert spec.checkpoints.keep == "none"
        caps = {"max_hours": 8, "max_images": "2e6", "max_device_hours": "1e-1"}
        spec = StudySpec.from_dict(base(**caps, checkpoints={"keep": "last"}))
        assert (spec.max_hours, spec.max_images, spec.max_device_hours) == (8.0, 2_000_000, 0.1)
        assert StudySpec.from_dict(spec.to_dict()) == spec

    def test_the_key_decides_between_real_and_whole_numbers(self, searching):
        whole = {"low": 1, "high": 9}
        keys = ["beta", "training.lr", "training.epochs", "model.latent", "training.batch_size"]
        space = search_of(searching, dict.fromkeys([*keys, "model.width"], whole)).space
        kinds = {key: type(found) for key, found in space.items()}
        assert [kinds[key] for key in keys] == [FloatRange] * 3 + [IntRange] * 2
        assert kinds["model.width"] is IntRange
        real = search_of(searching, {"beta": whole, "model.rate": {"low": 0.0, "high": 1}})
        assert type(real.space["model.rate"]) is FloatRange

    @pytest.mark.parametrize("annotation", ["float", "'float'", "float | None", "'float | None'"])
    def test_a_range_with_whole_ends_is_refused_where_a_model_takes_real_numbers(
        self, searching, tmp_path, monkeypatch, annotation
    ):
        (tmp_path / "sloped.py").write_text(SLOPED.format(annotation))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "sloped", raising=False)

        def check(slope, begun=()):
            data = searching({"beta": {"low": 0.1, "high": 1}, "model.slope": slope})
            model = {"name": "sloped:Net", "latent": 2}
            check_beginning(StudySpec.from_dict({**data, "model": model}), begun, Source())

        with pytest.raises(SpecError, match="'slope' takes real numbers") as caught:
            check({"low": 0, "high": 1})
        assert caught.value.where == "arms.a.search.space.model.slope"
        assert caught.value.remedy == "write low: 0.0; with step: 1 it draws whole ones"
        for slope in ({"low": 0.0, "high": 1}, {"low": 0.0, "high": 4, "step": 1}, [0, 1]):
            check(slope)
        check({"low": 0, "high": 1}, {"a"})

    def test_a_bare_string_is_a_name(self, base):
        spec = StudySpec.from_dict(base())
        assert spec.data.settings == {"name": "digits"}
        assert spec.arms["random"].balancer.name == "fixed_beta"

    def test_the_order_of_a_space_in_the_file_is_nothing(self, searching):
        ranges = {"model.width": [16, 32], "beta": {"low": 0.1, "high": 1}}
        one, other = ranges, dict(reversed(ranges.items()))
        assert [*search_of(searching, one).space] == [*search_of(searching, other).space]

    def test_import_paths_are_looked_up(self, base):
        data = base(model={"name": "vae_core.models.mlp:MLP", "latent": 8, "width": 4})
        data["arms"] = {
            "a": {"balancer": {"name": "vae_core.balancers.fixed_beta:FixedBeta", "beta": 1}}
        }
        check_names(StudySpec.from_dict(data))


class TestBatches:
    BETA = {"beta": {"low": 0.1, "high": 10, "log": True}}

    @pytest.mark.parametrize(
        ("search", "size"),
        [
            ({"sampler": "random", "trials": 20}, 20),
            ({"sampler": "qmc", "trials": 20}, 20),
            ({"sampler": "tpe", "trials": 20}, 4),
            ({"sampler": "gp", "trials": 8}, 2),
            ({"sampler": "gp", "trials": 2}, 1),
            ({"sampler": "tpe", "trials": 20, "batch": 8}, 8),
            ({"sampler": "random", "trials": 20, "batch": 30}, 20),
        ],
    )
    def test_by_sampler(self, searching, search, size):
        assert search_of(searching, self.BETA, **search).batch_size == size

    def test_cmaes_asks_a_population(self, searching):
        space = {**self.BETA, "model.width": {"low": 8, "high": 64}}
        assert search_of(searching, space, sampler="cmaes", trials=20).batch_size == 6
        popular = {"name": "cmaes", "popsize": 10}
        assert search_of(searching, space, sampler=popular, trials=20).batch_size == 10

    def test_a_grid_is_as_large_as_its_points(self, searching):
        space = {
            "beta": {"low": 0.01, "high": 100, "log": True, "points": 5},
            "model.width": {"low": 16, "high": 48, "step": 16},
            "training.lr": [1e-3, 1e-2],
        }
        search = search_of(searching, space, sampler="grid", trials=None)
        assert search.trials == search.batch_size == 5 * 3 * 2
        assert search.space["beta"].grid() == pytest.approx([0.01, 0.1, 1, 10, 100])
        assert search.space["model.width"].grid() == [16, 32, 48]
        assert search.space["training.lr"].grid() == [1e-3, 1e-2]


class TestResolving:
    @pytest.mark.parametrize(
        ("reduction", "factor"), [("half_sum", 1.0), ("sum", 0.5), ("mean", 64 / 2)]
    )
    def test_beta_is_sigma_squared_whatever_the_reduction(self, searching, reduction, factor):
        """A loss c S + beta R has sigma^2 = beta / (2 c)."""
        balancer = {"name": "fixed_beta", "reduction": reduction}
        spec = StudySpec.from_dict(searching({"beta": {"low": 0.1, "high": 1}}, balancer))
        resolved = resolve(spec, "a", {"beta": 0.3}, dims=64)
        assert resolved["balancer"] == {"name": "fixed_beta", "beta": pytest.approx(0.3 * factor)}

    def test_a_fixed_beta_is_converted_too(self, base):
        balancer = {"name": "fixed_beta", "beta": 1, "reduction": "mean"}
        spec = StudySpec.from_dict(base(arms={"a": {"balancer": balancer}}))
        assert resolve(spec, "a", {}, dims=784)["balancer"]["beta"] == 392.0

    def test_each_key_goes_to_its_section_and_the_spec_stays(self, searching):
        spec = StudySpec.from_dict(searching({"beta": {"low": 0.1, "high": 1}}))
        before = spec.to_dict()
        params = {"beta": 0.5, "training.lr": 0.01, "model.latent": 4, "model.width": 16}
        resolved = resolve(spec, "a", params, dims=64)
        assert resolved["model"] == {"name": "mlp", "latent": 4, "width": 16}
        assert resolved["training"]["lr"] == 0.01
        assert resolved["training"]["epochs"] == 2
        assert resolved["balancer"] == {"name": "fixed_beta", "beta": 0.5}
        assert spec.to_dict() == before


numbers = st.floats(1e-6, 1e6)
ranges = st.builds(
    lambda low, ratio, log: {"low": low, "high": low * ratio, "log": log},
    numbers,
    st.floats(1.01, 1e3),
    st.booleans(),
)
whole_ranges = st.builds(
    lambda low, more: {"low": low, "high": low + more},
    st.integers(1, 100),
    st.integers(1, 100),
)
spaces = st.fixed_dictionaries(
    {"beta": ranges | st.lists(numbers, min_size=1, max_size=4, unique=True)},
    optional={
        "training.lr": ranges,
        "training.dequantize": st.just([True, False]),
        "model.latent": whole_ranges | st.lists(st.integers(1, 64), min_size=1, unique=True),
        "model.activation": st.lists(st.text(max_size=5), min_size=1, max_size=3, unique=True),
    },
)
searches = st.fixed_dictionaries(
    {"space": spaces, "trials": st.integers(1, 1000)},
    optional={
        "sampler": st.sampled_from(["random", "tpe", {"name": "gp", "n_startup_trials": 3}]),
        "pruner": st.sampled_from(["median", {"name": "patient", "patience": 2}, None]),
        "batch": st.integers(1, 20) | st.none(),
        "replicates": st.integers(1, 9),
    },
)
arms = st.one_of(
    st.fixed_dictionaries(
        {"balancer": st.just("fixed_beta"), "search": searches},
    ),
    st.fixed_dictionaries(
        {
            "balancer": st.fixed_dictionaries(
                {"name": st.just("running_average")}, optional={"decay": numbers, "k": numbers}
            )
        }
    ),
)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
studies = st.fixed_dictionaries(
    {
        "name": names,
        "data": st.just("digits"),
        "model": st.fixed_dictionaries(
            {"name": st.just("mlp"), "latent": st.integers(1, 512)},
            optional={"width": st.integers(1, 999), "sizes": st.lists(numbers, max_size=3)},
        ),
        "training": st.fixed_dictionaries({"epochs": numbers}, optional={"lr": numbers}),
        "arms": st.dictionaries(names, arms, min_size=1, max_size=3),
    },
    optional={
        "question": st.text(max_size=20),
        "objective": st.sampled_from(["calibrated_negative_elbo", "bits_per_dim"]),
        "seeds": st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8, unique=True),
        "engines": st.fixed_dictionaries({"slots": st.just("auto") | st.integers(1, 64)}),
    },
)


class TestRoundTrip:
    @settings(max_examples=30)
    @given(data=studies)
    def test_through_json_nothing_changes(self, data):
        spec = StudySpec.from_dict(data)
        again = StudySpec.from_dict(json.loads(json.dumps(spec.to_dict())))
        assert again == spec
        assert again.to_dict() == spec.to_dict()
        assert again.hash == spec.hash

    def test_the_hash_depends_on_the_spec_and_not_on_its_spelling(self, base):
        spec = StudySpec.from_dict(base())
        defaults = StudySpec.from_dict(
            base(objective="calibrated_negative_elbo", seeds=own_seeds("small"))
        )
        assert defaults.hash == spec.hash
        assert len(spec.hash) == 64
        hashes = {spec.hash}
        for change in ({"seeds": [0]}, {"name": "other"}, {"training": {"epochs": 3}}):
            hashes.add(StudySpec.from_dict(base(**change)).hash)
        assert len(hashes) == 4


def test_importing_the_spec_loads_none_of_the_heavy_libraries():
    code = (
        "import sys, study.spec; "
        "print([name for name in ('torch', 'ray', 'optuna', 'mlflow', 'numpy', 'pandas')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

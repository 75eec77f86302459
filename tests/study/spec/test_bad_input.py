"""Every wrong study file: the place, the value and the remedy that its error names."""

import pytest

from study.spec import SpecError, StudySpec, load_spec

FILE = """\
name: small
data: digits
model: {name: mlp, latent: 8}
training:
  epochs: 2
arms:
  random:
    balancer: fixed_beta
    search:
      space:
        beta: {low: 1e-3, high: 10, log: true}
      trials: 8
"""


class TestFiles:
    def test_a_missing_file_names_its_nearest_neighbour(self, tmp_path):
        (tmp_path / "digits.yaml").write_text(FILE)
        with pytest.raises(SpecError) as caught:
            load_spec(tmp_path / "digit.yaml")
        assert caught.value.what == "no such file"
        assert caught.value.where == str(tmp_path / "digit.yaml")
        assert "did you mean 'digits.yaml'?" in caught.value.remedy

    def test_a_file_in_no_folder(self, tmp_path):
        with pytest.raises(SpecError, match="no such file"):
            load_spec(tmp_path / "nowhere" / "digits.yaml")

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(SpecError, match="cannot be read: Is a directory"):
            load_spec(tmp_path)

    def test_a_file_that_is_not_text(self, tmp_path):
        (tmp_path / "x.yaml").write_bytes(b"name: \xff\xfe")
        with pytest.raises(SpecError, match="byte 6 is not UTF-8"):
            load_spec(tmp_path / "x.yaml")

    def test_a_control_character(self, refused):
        assert "not valid YAML: special characters are not allowed" in str(refused("name: a\0b"))

    def test_an_empty_file(self, refused):
        assert refused("# nothing\n").what == "the file is empty"

    def test_a_list_is_no_study(self, refused):
        assert refused("[a, b]").what == "['a', 'b'] is not a study"


class TestNumbers:
    @pytest.mark.parametrize(
        ("line", "read", "meant"),
        [
            ("max_hours: 1:30", "90 (base 60", "or a time"),
            ("max_images: 0100", "64 (base 8", "or 100"),
            ("seeds: [0, 1:00]", "60 (base 60", "or a time"),
        ],
    )
    def test_one_that_can_be_read_in_two_ways(self, refused, line, read, meant):
        error = refused(FILE + line)
        assert read in error.what
        assert meant in error.what
        assert error.where.endswith(f":{1 + FILE.count(chr(10))}")
        assert "write the number" in error.remedy

    @pytest.mark.parametrize(
        ("key", "value", "kind"),
        [
            ("question", "2024-13-45", "date"),
            ("question", "2024-01-02 25:61:00", "date"),
            ("seeds", "0x_", "int"),
        ],
    )
    def test_what_has_the_form_of_one_and_is_none(self, refused, key, value, kind):
        error = refused(f"{FILE}{key}: {value}\n")
        assert error.what.startswith(f"{value} is not a valid {kind}")
        assert error.where.endswith(f"study.yaml:{1 + FILE.count(chr(10))}")
        assert "quotes" in error.remedy
        assert refused(FILE, f"{key}={value}").where == f"--set {key}={value}"

    def test_text_that_looks_like_one_is_text(self, tmp_path):
        file = tmp_path / "study.yaml"
        file.write_text(FILE + "question: '1:30 or 0100?'\nmax_hours: 0.5\n")
        assert load_spec(file).max_hours == 0.5

    def test_one_validation_image_is_refused_and_two_are_not(self, refused, tmp_path):
        error = refused(FILE.replace("data: digits", "data: {name: digits, validation: 1}"))
        assert "one image, which then chooses every winner" in error.what
        file = tmp_path / "study.yaml"
        file.write_text(FILE.replace("data: digits", "data: {name: digits, validation: 2}"))
        assert load_spec(file).data.validation == 2

    def test_unscrambled_replicates_are_one_search_repeated(self, refused, tmp_path):
        search = "trials: 8\n      sampler: {name: qmc, scramble: false}\n"
        plain = FILE.replace("trials: 8\n", search)
        error = refused(plain + "      replicates: 2\n")
        assert "all 2 replicates search the same points" in error.what
        assert "scramble" in error.remedy
        file = tmp_path / "once.yaml"
        file.write_text(plain)
        assert load_spec(file).arms["random"].search.replicates == 1

    @pytest.mark.parametrize("beta", ["1e-50", "1e50"])
    def test_a_beta_that_float32_cannot_hold(self, refused, beta):
        error = refused(FILE.replace("low: 1e-3", f"low: {beta}").replace("10, log", "1e60, log"))
        assert error.where.endswith("arms.random.search.space.beta")
        assert "float32" in error.remedy


class TestYaml:
    @pytest.mark.parametrize(
        ("old", "new", "line"),
        [
            ("{name: mlp, latent: 8}", "{name: mlp, latent: 8", 4),
            ("  epochs: 2", "  epochs: 2\n lr: 1", 6),
            ("  epochs: 2", "\tepochs: 2", 5),
            ("data: digits", "data: *nothing", 2),
        ],
    )
    def test_a_syntax_error_names_its_line(self, refused, tmp_path, old, new, line):
        error = refused(FILE.replace(old, new))
        assert error.where == f"{tmp_path / 'study.yaml'}:{line}"
        assert error.what.startswith("not valid YAML: ")

    def test_a_key_given_twice(self, refused, tmp_path):
        error = refused(FILE.replace("  epochs: 2", "  epochs: 2\n  epochs: 3"))
        assert (error.where, error.what) == (
            f"{tmp_path / 'study.yaml'}:6",
            "'epochs' is given twice",
        )

    @pytest.mark.parametrize("key", ["1", "no", "[a, b]", "2020-01-01", "!!binary aGk="])
    def test_a_key_that_is_no_text(self, refused, tmp_path, key):
        error = refused(f"{FILE}? {key}\n: x\n")
        assert error.where == f"{tmp_path / 'study.yaml'}:13"
        assert "a key is not text: put it in quotes" in error.what

    def test_an_alias_inside_itself(self, refused):
        assert "an alias contains itself" in refused("a: &a [*a]").what

    def test_python_objects_are_never_made(self, refused, tmp_path):
        marker = tmp_path / "made"
        error = refused(f"name: !!python/object/apply:os.mkdir ['{marker}']")
        assert "could not determine a constructor" in error.what
        assert not marker.exists()


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "what", "remedy"),
    [
        (
            "  epochs: 2",
            "  epoch: 2\n  epochs: 2",
            5,
            "training.epoch",
            "unknown key 'epoch'",
            "'epochs'",
        ),
        ("data: digits", "data: digits\nseed: [1]", 3, "seed", "unknown key 'seed'", "'seeds'"),
        (
            "      trials: 8",
            "      trails: 8",
            12,
            "arms.random.search.trails",
            "unknown key",
            "'trials'",
        ),
        (
            "low: 1e-3",
            "lo: 1e-3",
            11,
            "arms.random.search.space.beta.lo",
            "unknown key 'lo'",
            "'low'",
        ),
        ("  epochs: 2", "  epochs: soon", 5, "training.epochs", "'soon' should be", "above 0"),
        ("  epochs: 2", "  epochs: true", 5, "training.epochs", "True should be", "above 0"),
        ("  epochs: 2", "  epochs: .nan", 5, "training.epochs", "nan should be", "above 0"),
        ("  epochs: 2", "  epochs: 0", 5, "training.epochs", "0.0 should be", "above 0"),
        ("latent: 8", "latent: 2.5", 3, "model.latent", "2.5 should be", "1 or more"),
        ("data: digits", "data: [digits]", 2, "data", "is not a mapping", "name and settings"),
        ("name: mlp, ", "", 3, "model", "'name' is missing", "a model's name"),
        (", latent: 8", "", 3, "model", "'latent' is missing", "latent size"),
        (
            "      trials: 8\n",
            "",
            9,
            "arms.random.search.trials",
            "'trials' is missing",
            "how many trials",
        ),
        ("trials: 8", "trials: 0", 12, "arms.random.search.trials", "0 trials", "1 trial or more"),
        (
            "low: 1e-3, high: 10",
            "low: 10, high: 1",
            11,
            "arms.random.search.space.beta",
            "empty",
            "low",
        ),
        ("low: 1e-3", "low: 0", 11, "arms.random.search.space.beta.low", "no logarithm", "low > 0"),
        (
            "low: 1e-3",
            "low: tiny",
            11,
            "arms.random.search.space.beta.low",
            "'tiny' is not",
            "number",
        ),
        (
            "{low: 1e-3, high: 10, log: true}",
            "7",
            11,
            "arms.random.search.space.beta",
            "neither",
            "list",
        ),
        (
            "{low: 1e-3, high: 10, log: true}",
            "[]",
            11,
            "arms.random.search.space.beta",
            "empty",
            "one",
        ),
        (
            *("{low: 1e-3, high: 10, log: true}", "[0, 1]", 11, "arms.random.search.space.beta"),
            *("beta = 0", "between 0 and inf"),
        ),
        ("name: small", "name: ../small", 1, "name", "cannot be a study's name", "letters, digits"),
        ("name: small", "name: a/b", 1, "name", "'a/b'", "letters, digits"),
        (
            "  random:",
            "  ran.dom:",
            7,
            "arms.ran.dom",
            "cannot be an arm's name",
            "letters, digits",
        ),
    ],
)
def test_a_wrong_key_or_value(refused, where, old, new, line, key, what, remedy):
    error = refused(FILE.replace(old, new))
    assert error.where == where(line, key)
    assert what in error.what
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("changes", "key", "what", "remedy"),
    [
        ({"arms": {}}, "arms", "no arm is given", "learned_sigma"),
        ({"arms": ["a"]}, "arms", "['a'] is not a mapping", "give arms by name"),
        ({"data": "digit"}, "data.name", "unknown dataset 'digit'", "did you mean 'digits'"),
        ({"data": {"name": "digits", "crop": 8}}, "data.crop", "no setting 'crop'", "known"),
        ({"data": {"name": "celeba", "crop": 100}}, "data", "crop 100", "data.crop"),
        ({"data": {"name": "folder"}}, "data", "'path'", "data section"),
        ({"data": {"name": "nowhere.at_all:Source"}}, "data.name", "cannot be imported", "path"),
        (
            {"data": {"name": "digits", "validation": 1.5}},
            "data.validation",
            "1.5",
            "between 0 and 1",
        ),
        ({"data": {"name": "digits", "validation": 0}}, "data.validation", "0", "between 0 and 1"),
        ({"model": {"name": "mpl", "latent": 8}}, "model.name", "unknown model 'mpl'", "'mlp'"),
        ({"model": {"name": "mlp", "latent": 8, "widht": 3}}, "model.widht", "'widht'", "'width'"),
        ({"model": {"name": "collections:Counter", "latent": 8}}, "model.name", "is not", "VAE"),
        (
            {"objective": "loss"},
            "objective",
            "depends on beta",
            "calibrated_negative_elbo or bits_per_dim",
        ),
        ({"objective": "train/loss"}, "objective", "depends on beta", "calibrated_negative_elbo"),
        (
            {"objective": "validation/MSE"},
            "objective",
            "depends on beta",
            "calibrated_negative_elbo",
        ),
        ({"objective": "S"}, "objective", "depends on beta", "calibrated_negative_elbo"),
        ({"objective": "elbo"}, "objective", "depends on beta", "calibrated_negative_elbo"),
        (
            {"objective": "calibrated_elob"},
            "objective",
            "unknown objective",
            "'calibrated_negative_elbo'",
        ),
        ({"objective": 3}, "objective", "3 should be", "calibrated_negative_elbo"),
        ({"seeds": []}, "seeds", "no seed", "leave seeds out for 12"),
        ({"seeds": 5}, "seeds", "the seed 5 or 5 seeds", "[5], or {count: 5} for 5 of"),
        ({"seeds": 0}, "seeds", "0 should be a valid list", "list of whole numbers"),
        ({"seeds": True}, "seeds", "True should be a valid list", "{from: 101, count: 8}"),
        ({"seeds": "101..108"}, "seeds", "'101..108' does not say", "{from: 101, count: 8}"),
        ({"seeds": "0-4"}, "seeds", "whether 4 is one", "for 0 to 4 give {from: 0, count: 5}"),
        ({"seeds": "9..0"}, "seeds", "'9..0' should be a valid list", "list of whole numbers"),
        ({"seeds": "0..99999"}, "seeds", "should be a valid list", "list of whole numbers"),
        ({"seeds": {"from": 1}}, "seeds", "'count' is missing", "how many"),
        ({"seeds": {"form": 1, "count": 2}}, "seeds.form", "unknown key", "mean 'from'?"),
        ({"seeds": {"until": "bored", "at_most": 9}}, "seeds.until", "'bored'", "until: decided"),
        ({"seeds": {"until": "decided"}}, "seeds", "'at_most' is missing", "at_most: 40"),
        ({"seeds": {"until": "decided", "at_most": 6}}, "seeds.at_most", "6 cannot", "7 to"),
        (
            {"seeds": {"until": "decided", "at_most": 9, "batch": 0}},
            "seeds.batch",
            "0 seeds cannot",
            "leave it out for 3",
        ),
        (
            {"seeds": {"until": "decided", "at_least": 9}},
            "seeds.at_least",
            "unknown key",
            "mean 'at_most'?",
        ),
        (
            {"seeds": {"until": "decided", "at_most": 9, "from": -1}},
            "seeds.from",
            "-1 is no seed",
            "from 0",
        ),
        (
            {"seeds": {"until": "decided", "at_most": 8, "from": 2**32 - 5}},
            "seeds.from",
            "from 4294967291 on there are 5 seeds, and at_most is 8",
            "up to 4294967288",
        ),
        ({"seeds": {"at_most": 8}}, "seeds.at_most", "unknown key", "add until: decided"),
        ({"primary": {"hand_tuned": "random"}}, "primary", "'automatic' is missing", "the name"),
        (
            {"primary": {"hand_tuned": "rando", "automatic": "learned"}},
            "primary.hand_tuned",
            "no arm 'rando'",
            "mean 'random'?",
        ),
        (
            {"primary": {"hand_tuned": "learned", "automatic": "random"}},
            "primary.hand_tuned",
            "arm 'learned' is automatic",
            "name one of random",
        ),
        (
            {"primary": {"hand_tuned": "random", "automatic": "learned"}, "choosing_seeds": 2},
            "choosing_seeds",
            "that primary names",
            "leave out one",
        ),
        ({"choosing_seeds": 2}, "choosing_seeds", "there is one pair", "leave it out"),
        ({"seeds": {"from": -1, "count": 2}}, "seeds.from", "-1 is no seed", "from 0"),
        ({"seeds": {"from": 0, "count": 0}}, "seeds.count", "0 is no number", "1 to 10000"),
        ({"seeds": {"from": 0, "count": 10**9}}, "seeds.count", "is no number", "1 to 10000"),
        ({"seeds": {"from": 2**32 - 2, "count": 3}}, "seeds.count", "3 is no", "1 to 2"),
        ({"seeds": [{"from": 0, "count": 2}]}, "seeds.0", "should be a valid integer", "list"),
        ({"seeds": [0, 1, 0]}, "seeds.2", "seed 0 is given twice", "once"),
        ({"seeds": [0, 2**32]}, "seeds.1", "out of range", "2^32 - 1"),
        ({"seeds": [-1]}, "seeds.0", "out of range", "from 0"),
        ({"seeds": ["x"]}, "seeds.0", "'x' should be", "whole numbers"),
        ({"training": {"epochs": 1, "reports": 0}}, "training.reports", "0 should", "1 or more"),
        ({"engines": {"device": "tpu"}}, "engines.device", "'tpu' should", "auto, cpu or cuda"),
        ({"engines": {"slots": 0}}, "engines.slots", "0 should", "auto, or slots"),
        ({"engines": {"precision": "half"}}, "engines.precision", "half", "float32 or bfloat16"),
        ({"max_hours": 0}, "max_hours", "0 should be greater than 0", "hours the study may run"),
        ({"max_hours": "soon"}, "max_hours", "'soon' should be", "above 0, or leave it out"),
        ({"max_images": 0.5}, "max_images", "0.5 should be", "1 or more, or leave it out"),
        ({"max_images": -1}, "max_images", "-1 should be greater than 0", "1 or more"),
        ({"max_device_hours": True}, "max_device_hours", "True should be", "hours its engines"),
        ({"max_epochs": 3}, "max_epochs", "unknown key 'max_epochs'", "'max_hours'"),
        ({"checkpoints": "last"}, "checkpoints", "'last' is not a mapping", "{keep: last}"),
        ({"checkpoints": {"keep": "two"}}, "checkpoints.keep", "'two' should", "none, last or all"),
    ],
)
def test_a_wrong_study(base, refused, changes, key, what, remedy):
    error = refused(base(**changes))
    assert error.where.endswith(f": {key}")
    assert what in error.what
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("arm", "key", "what", "remedy"),
    [
        ("learned_sigma", "", "is not a mapping", "balancer: learned_sigma"),
        ({"balancer": "learned_sgima"}, "balancer.name", "unknown balancer", "'learned_sigma'"),
        ({"balancer": "os:sep"}, "balancer.name", "'os:sep'", "Balancer"),
        ({"balancer": "fixed_beta"}, "balancer", "without a beta", "search it"),
        ({"balancer": {"name": "fixed_beta", "beta": 0}}, "balancer.beta", "beta = 0", "between 0"),
        (
            {"balancer": {"name": "fixed_beta", "beta": -1}},
            "balancer.beta",
            "beta = -1",
            "between 0",
        ),
        (
            {"balancer": {"name": "fixed_beta", "beta": "x"}},
            "balancer.beta",
            "not a number",
            "beta",
        ),
        (
            {"balancer": {"name": "fixed_beta", "beta": 1, "bat": 2}},
            "balancer.bat",
            "'bat'",
            "'beta'",
        ),
        (
            {"balancer": {"name": "optimal_sigma", "reduction": "sum"}},
            *("balancer.reduction", "takes no beta", "leave out reduction"),
        ),
        (
            {"balancer": {"name": "fixed_beta", "beta": 1, "reduction": "average"}},
            *(
                "balancer.reduction",
                "'average' should be",
                "half_sum (S/2), sum (S), mean (S/D) or",
            ),
        ),
    ],
)
def test_a_wrong_balancer(base, refused, arm, key, what, remedy):
    error = refused(base(arms={"a": arm}))
    assert error.where.endswith(f": arms.a.{key}" if key else ": arms.a")
    assert what in error.what
    assert remedy in error.remedy


BETA = {"low": 1e-3, "high": 10, "log": True}
WIDTH = {"low": 16, "high": 64}


@pytest.mark.parametrize(
    ("space", "search", "key", "what", "remedy"),
    [
        ({}, {}, "space", "nothing is searched", "leave out search"),
        ({"bata": BETA}, {}, "space.bata", "'bata' is neither", "'beta'"),
        ({"lr": [0.1]}, {}, "space.lr", "'lr' is neither", "did you mean 'training.lr'?"),
        ({"balancer.beta": BETA}, {}, "space.balancer.beta", "neither", "did you mean 'beta'?"),
        ({"model.wdith": WIDTH}, {}, "space.model.wdith", "neither", "'model.width'"),
        (
            {"training.reports": [5, 10]},
            {},
            "space.training.reports",
            "cannot be searched",
            "leave",
        ),
        ({"training.lr": [0.1, -1]}, {}, "space.training.lr", "-1.0 should be", "above 0"),
        ({"training.lr": {"low": 0, "high": 1}}, {}, "space.training.lr", "0.0 should", "above 0"),
        ({"model.latent": {"low": 2.5, "high": 8}}, {}, "space.model.latent", "whole", "whole"),
        ({"model.latent": [0, 8]}, {}, "space.model.latent", "0 should be", "1 or more"),
        ({"model.width": {"low": 1.5, "high": 8}}, {}, "space.model.width", "whole", "whole"),
        ({"model.width": ["wide"]}, {}, "space.model.width", "whole numbers", "whole"),
        ({"training.batch_size": [32, 32]}, {}, "space.training.batch_size.1", "twice", "once"),
        ({"training.batch_size": [32, 0.5]}, {}, "space.training.batch_size.1", "whole", "whole"),
        ({"training.lr": [{}]}, {}, "space.training.lr.0", "{} cannot be a choice", "number"),
        ({"beta": ["low"]}, {}, "space.beta", "'low' is not a number", "numbers"),
        ({"beta": {**BETA, "step": 1}}, {}, "space.beta.step", "no step", "log"),
        ({"beta": {"low": 1, "high": 2, "step": 0.3}}, {}, "space.beta.step", "miss high 2", "1.9"),
        ({"beta": {"low": 1, "high": 2, "step": 0}}, {}, "space.beta.step", "not above 0", "step"),
        ({"beta": {**BETA, "points": 5}}, {}, "space.beta.points", "'grid'", "leave out points"),
        ({"beta": BETA}, {"sampler": "grid", "trials": 8}, "trials", "'beta'", "points"),
        (
            *({"beta": {**BETA, "points": 5}}, {"sampler": "grid", "trials": 6}),
            *("trials", "6 trials of a grid of 5", "fewer trials"),
        ),
        (
            *({"beta": {**BETA, "points": 1}}, {"sampler": "grid"}),
            *("space.beta.points", "points 1", "2 or more"),
        ),
        ({"beta": BETA}, {"sampler": "tpee"}, "sampler.name", "unknown sampler 'tpee'", "'tpe'"),
        (
            *({"beta": BETA}, {"sampler": {"name": "tpe", "n_startup": 3}}),
            *("sampler.n_startup", "no option 'n_startup'", "'n_startup_trials'"),
        ),
        (
            *({"beta": BETA}, {"sampler": {"name": "tpe", "n_startup_trials": "few"}}),
            *("sampler.n_startup_trials", "'few' is not a whole number", "n_startup_trials"),
        ),
        ({"beta": BETA}, {"sampler": {"name": "random", "seed": 1}}, "sampler.seed", "'seed'", ""),
        (
            *({"beta": BETA, "training.lr": [0.1, 0.2]}, {"sampler": "cmaes"}),
            *("space.training.lr", "ranges only", "give a range"),
        ),
        (
            *({"beta": BETA, "model.width": WIDTH}, {"sampler": "cmaes", "batch": 4}),
            *("batch", "one population of 6", "popsize"),
        ),
        ({"beta": BETA}, {"pruner": "medium"}, "pruner.name", "unknown pruner", "'median'"),
        ({"beta": BETA}, {"pruner": "wilcoxon"}, "pruner.name", "unknown pruner", "known"),
        ({"beta": BETA}, {"pruner": "patient"}, "pruner", "needs patience", "patience"),
        ({"beta": BETA}, {"pruner": "threshold"}, "pruner", "lower or upper", "lower"),
        (
            *({"beta": BETA}, {"pruner": {"name": "hyperband", "reduction_factor": 1}}),
            *("pruner.reduction_factor", "2 or more", "reduction_factor"),
        ),
        ({"beta": BETA}, {"replicates": 0}, "replicates", "0 should be", "1 or more"),
        ({"beta": BETA}, {"batch": 0}, "batch", "0 should be", "1 or more"),
        ({"beta": BETA}, {"trials": 2.5}, "trials", "2.5 should be", "1 or more"),
    ],
)
def test_a_wrong_search(searching, refused, space, search, key, what, remedy):
    balancer = {"name": "fixed_beta"} if "beta" in space else {"name": "fixed_beta", "beta": 1}
    error = refused(searching(space, balancer, **search))
    assert error.where.endswith(f": arms.a.search.{key}")
    assert what in error.what
    assert remedy in error.remedy


def test_a_setting_both_fixed_and_searched(searching, refused):
    error = refused(searching({"beta": BETA}, {"name": "fixed_beta", "beta": 1}))
    assert error.where.endswith(": arms.a.search.space.beta")
    assert error.what == "'beta' is searched, and fixed in the arm's balancer too"


def test_a_dict_s_error_names_the_key_alone(base):
    with pytest.raises(SpecError) as caught:
        StudySpec.from_dict(base(training={"epochs": 2, "lr": 0}))
    assert caught.value.where == "training.lr"


def test_a_setting_that_no_json_holds(base):
    data = base()
    data["model"]["width"] = float("inf")
    with pytest.raises(SpecError, match=r"model.width: inf cannot be a setting"):
        StudySpec.from_dict(data)

"""The study files shipped: they load, are fair, hold what they should, and cost what they say."""

import re
from pathlib import Path

import pytest

from study.spec import StudySpec, load_spec

FOLDER = Path(__file__).parents[1] / "search_spaces"
FILES = sorted(FOLDER.glob("*.yaml"))
# Training images the sources hold, before the validation split.
TRAIN = {"digits": 1500, "fashion_mnist": 60_000, "cifar10": 50_000, "celeba": 162_770}
FAMILIES = {"learned_sigma", "optimal_sigma", "running_average", "asperti_trentin"}


def trials_of(spec: StudySpec) -> int:
    """Search and confirm trials of a whole study."""
    total = 0
    for arm in spec.arms.values():
        replicates = arm.search.replicates if arm.search else 1
        total += replicates * ((arm.search.trials if arm.search else 0) + len(spec.seeds))
    return total


def images_of_a_trial(spec: StudySpec) -> int:
    images = TRAIN[spec.data.name] - spec.data.validation
    assert images % spec.training.batch_size == 0, "an epoch should be a whole number of batches"
    return round(images * spec.training.epochs)


def test_the_four_files_are_there():
    assert [f.stem for f in FILES] == ["celeba", "cifar10", "fashion_mnist", "quickstart"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
class TestShipped:
    def test_it_holds_two_searches_of_beta_and_the_four_balancers(self, file):
        spec = load_spec(file)
        assert spec.name == file.stem
        hand = [arm for arm in spec.arms.values() if not arm.automatic]
        assert sorted(arm.search.sampler.name for arm in hand) == ["random", "tpe"]
        assert [[*arm.search.space] for arm in hand] == [["beta"], ["beta"]]
        assert {arm.balancer.name for arm in spec.arms.values() if arm.automatic} == FAMILIES

    def test_its_first_lines_say_what_to_expect_and_the_exact_cost(self, file):
        spec = load_spec(file)
        comment = " ".join(file.read_text().split("\nname:")[0].replace("#", " ").split())
        assert comment.startswith("Does it pay to search for beta")
        assert " Expect: " in comment
        cost = re.search(r"([\d,]+) trials of ([\d,]+) images, ([\d,]+) images in total", comment)
        trials, images, total = (int(text.replace(",", "")) for text in cost.groups())
        assert trials == trials_of(spec)
        assert images == images_of_a_trial(spec)
        assert total == trials * images
        assert "stimate" in comment

    def test_it_warns_of_nothing_but_the_quickstart_s_single_search(self, file):
        warnings = load_spec(file).warnings()
        if file.stem == "quickstart":
            assert len(warnings) == 1
            assert "'tpe' once" in warnings[0]
        else:
            assert warnings == []


def test_the_reduced_fashion_mnist_command_in_its_comment_loads():
    text = (FOLDER / "fashion_mnist.yaml").read_text().split("\nname:")[0]
    given = re.findall(r"--set (\S+)", text)
    assert len(given) == 4
    spec = load_spec(FOLDER / "fashion_mnist.yaml", given)
    assert spec.training.epochs == 1
    assert spec.seeds == [0, 1, 2]
    assert spec.arms["tpe-beta"].search.trials == 8


def test_the_digits_hold_the_images_the_quickstart_counts_on(tmp_path):
    from vae_core.data import Dataset, prepare

    spec = load_spec(FOLDER / "quickstart.yaml")
    prepared = prepare(spec.data.settings, tmp_path, None)
    dataset = Dataset.open(prepared, spec.data.validation)
    assert len(dataset.train) == TRAIN["digits"] - spec.data.validation

"""What the command makes of bad input: names, files, images."""

from __future__ import annotations

import numpy as np
import pytest
from commands import BY_LAUNCH, LAUNCH, STUDY, WITH_ANOTHER_NAME, made, refusal, study
from PIL import Image


class TestSpec:
    @pytest.mark.parametrize("verb", [["launch"], ["launch", "--dry-run"], ["data", "prepare"]])
    @pytest.mark.parametrize(
        ("old", "new", "line", "parts"),
        [
            ("latent: 8,", "latent: 8, latent: 9,", 3, ["'latent' is given twice"]),
            ("  epochs: 1", "\tepochs: 1", 5, ["not valid YAML"]),
            ("reports: 2", "report: 2", 6, ["training", "'report'", "did you mean 'reports'?"]),
            ("epochs: 1", "epochs: soon", 5, ["training.epochs", "'soon'", "passes over"]),
            ("low: 1e-3", "low: 0", 12, ["arms.random.search.space.beta", "0"]),
            ("low: 1e-3", "low: 100", 12, ["arms.random.search.space.beta", "100", "10"]),
            ("trials: 8", "trials: 8\n      sampler: tpee", 14, ["'tpee'", "did you mean 'tpe'?"]),
            ("fixed_beta", "fixed_bete", 9, ["'fixed_bete'", "did you mean 'fixed_beta'?"]),
            ("data: digits", "data: digit", 2, ["data.name", "'digit'", "did you mean 'digits'?"]),
            ("name: mlp", "name: mpl", 3, ["model.name", "'mpl'", "did you mean 'mlp'?"]),
            ("name: small", "name: small\nobjective: elbo", 2, ["depends on beta", "bits_per_dim"]),
            ("name: small", "name: a/b", 1, ["'a/b' cannot be a study's name", "use letters"]),
            ("name: small", "name: ..", 1, ["'..' cannot be a study's name"]),
            ("name: small", "name: data", 1, ["'data' is a folder beside", "another name"]),
            ("name: small", "name: mlartifacts", 1, ["'mlartifacts' is a folder beside"]),
        ],
    )
    def test_a_wrong_file(self, place, verb, old, new, line, parts):
        assert old in STUDY
        (place / "study.yaml").write_text(STUDY.replace(old, new))
        text = refusal(*verb, "study.yaml")
        assert text.startswith(f"study.yaml:{line}: ")
        for part in parts:
            assert part in text
        assert not (place / "home").exists()

    def test_a_missing_file(self, place):
        text = refusal("launch", "studi.yaml")
        assert (
            text
            == "studi.yaml: no such file\n  in .: did you mean 'study.yaml'? known: study.yaml\n"
        )
        assert not (place / "home").exists()

    def test_no_arm(self, place):
        (place / "study.yaml").write_text(STUDY.partition("arms:")[0] + "arms: {}\n")
        assert refusal("launch", "study.yaml").startswith("study.yaml:7: arms: no arm is given\n")

    @pytest.mark.parametrize(
        ("change", "parts"),
        [
            ("training.epochs=-1", ["training.epochs", "-1"]),
            ("training.epoch=1", ["'epoch'", "did you mean 'epochs'?"]),
            ("training", ["training"]),
            ("name=mlartifacts", ["'mlartifacts' is a folder"]),
            ("arms.learned.balancer={name: learned_sigma, k: 0}", ["k = 0", "between 0 and inf"]),
            ("model.name=nowhere.at_all:Model", ["cannot be imported", "No module named"]),
        ],
    )
    def test_a_wrong_override(self, place, change, parts):
        text = refusal("launch", "study.yaml", "--set", change)
        assert change.partition("=")[0] in text.partition("\n")[0]
        for part in parts:
            assert part in text
        assert not (place / "home").exists()

    @pytest.mark.parametrize(
        ("change", "key"),
        [
            ("data.validation=1500", "data.validation"),
            ("training.batch_size=5000", "training.batch_size"),
            ("training.reports=99", "training.reports"),
            ("model={name: conv, latent: 4}", "model"),
        ],
    )
    @pytest.mark.parametrize("dry", [BY_LAUNCH, ["--dry-run"]])
    def test_what_only_the_images_show(self, place, change, key, dry):
        assert refusal("launch", "study.yaml", "--set", change, *dry).startswith(f"{key}: ")
        assert not (place / "home" / "small").exists()

    @pytest.mark.parametrize(
        "arguments",
        [
            *(["lunch"], ["launch"], ["report", "x", "--format", "xml"], ["data", "x"]),
            *([verb, "x"] for verb in WITH_ANOTHER_NAME),
        ],
    )
    def test_wrong_use_of_the_command(self, arguments):
        result = study(*arguments)
        assert result.exit_code == 2
        assert "Usage: " in result.stderr


@pytest.mark.parametrize("verb", [LAUNCH, ["launch", "--dry-run"], ["data", "prepare"]])
class TestData:
    def refused(self, place, verb, data, *options):
        text = refusal(*verb, "study.yaml", "--set", f"data={data}", *options)
        assert [name for name in made(place) if name != "data"] == []
        return text

    def test_a_missing_root(self, place, verb):
        text = self.refused(place, verb, "fashion_mnist", "--data-root", "nowhere")
        assert text.startswith(f"{place / 'nowhere'}: no such folder\n")
        assert "data root" in text

    def test_a_truncated_file(self, place, verb):
        raw = place / "root" / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / "train-images-idx3-ubyte").write_bytes(b"\0" * 100)
        text = self.refused(place, verb, "mnist", "--data-root", "root")
        assert text.startswith(f"{raw / 'train-images-idx3-ubyte'}: truncated: 100 bytes")
        assert "fetch the file again" in text

    def test_a_wrong_checksum(self, place, verb, own):
        text = self.refused(place, verb, f"{own}:Wrong")
        assert "wrong checksum" in text
        assert "0" * 64 in text

    def test_an_image_of_another_shape(self, place, verb):
        (place / "pictures").mkdir()
        for number in range(20):
            side = 6 if number == 13 else 5
            Image.fromarray(np.zeros((side, side), np.uint8)).save(place / f"pictures/{number}.png")
        text = self.refused(place, verb, "{name: folder, path: pictures}")
        assert text.startswith(f"{place / 'pictures/13.png'}: ")
        assert "remove it, or set data.resize" in text

    @pytest.mark.parametrize("kind", ["alike", "shades"])
    def test_pictures_with_nothing_in_them(self, place, verb, kind):
        (place / "pictures").mkdir()
        for number in range(20):
            shade = np.full((8, 8), number * 9 * (kind == "shades"), np.uint8)
            Image.fromarray(shade).save(place / f"pictures/{number}.png")
        text = self.refused(place, verb, "{name: folder, path: pictures}")
        reason = {"alike": "are the same", "shades": "are of a single colour each"}[kind]
        assert f"all 18 train images {reason}\n" in text

    def test_a_classifier_without_labels(self, place, verb, own):
        features = ["--set", "evaluation.features=[classifier]"]
        text = refusal(*verb, "study.yaml", "--set", f"data={own}:Noise", *features)
        assert not (place / "home" / "small").exists()
        what = "200 training images of 1 class teach a classifier nothing"
        assert text.startswith(f"evaluation.features: {what}\n")

    def test_an_empty_folder(self, place, verb):
        (place / "pictures").mkdir()
        text = self.refused(place, verb, "{name: folder, path: pictures}")
        assert text.startswith(f"{place / 'pictures'}: no images for the train split\n")

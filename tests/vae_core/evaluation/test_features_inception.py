"""FID's network: the same numbers as torch-fidelity's, and weights that can run no code."""

import hashlib
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch_fidelity
from torch.utils.data import Dataset as TorchDataset
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.utils import (
    create_feature_extractor,
    extract_featuresdict_from_input_id_cached,
)

from vae_core.data import Dataset, prepare
from vae_core.errors import ContractError, DataError
from vae_core.evaluation.distances import Reference, Statistics, distances, neighbourhoods
from vae_core.evaluation.features import inception

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"


class Untrained(FeatureExtractorInceptionV3):
    def load_state_dict(self, *args, **kwargs):
        """It keeps the values it was made with."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights, scaled to carry the images' variance to the last layer."""
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({}, path)
    network = Untrained("untrained", ["2048"], feature_extractor_weights_path=str(path))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if name.endswith("conv.weight"):
            scale = (2 / parameter[0].numel()) ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def features(weights):
    return inception(weights, "cpu")


class Bytes(TorchDataset):
    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]


def theirs(fake, real, weights, n, cache):
    """torch-fidelity's own numbers for bytes [n, 3, H, W].

    It takes the eigenvalues of a product of two 2048 x 2048 covariances, which lasts longer than
    all else here. The features of so few images span few dimensions: their Frechet distance is that
    of their coordinates in an orthonormal basis of the span.
    """
    settings = {
        "input1": Bytes(fake),
        "input2": Bytes(real),
        "cuda": False,
        "kid_subset_size": n,
        "kid_subsets": 1,
        "batch_size": 8,
        "cache_root": str(cache),
        "input1_cache_name": "fake",  # features are computed once for all the numbers
        "input2_cache_name": "real",
        "save_cpu_ram": True,
        "verbose": False,
        "feature_extractor_weights_path": str(weights),
    }
    extractor = "inception-v3-compat"
    found = torch_fidelity.calculate_metrics(
        feature_extractor=extractor, kid=True, prc=True, **settings
    )
    network = create_feature_extractor(extractor, ["2048"], **settings)
    features = [
        extract_featuresdict_from_input_id_cached(side, network, **settings)["2048"].double()
        for side in (1, 2)
    ]
    basis, _ = torch.linalg.qr(torch.cat(features).T)
    statistics = [fid_features_to_statistics(side @ basis) for side in features]
    return found | fid_statistics_to_metric(*statistics, verbose=False)


def ours(features, fake, real):
    """Our numbers for dequantised images [n, C, H, W]."""
    found = features(real)
    return distances(features, Reference(found, Statistics.of(found)), fake)


def dequantised(values):
    return (values + torch.rand(values.shape) * 0.99) / 256


def agree(ours, theirs):
    assert ours["frechet"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    kernel = theirs["kernel_inception_distance_mean"]
    assert ours["kid"] == pytest.approx(kernel, rel=1e-3, abs=1e-6)  # theirs is in float32
    assert ours["precision"] == pytest.approx(theirs["precision"], abs=1e-6)
    assert ours["recall"] == pytest.approx(theirs["recall"], abs=1e-6)


@pytest.mark.studies
def test_fid_kid_precision_and_recall_are_torch_fidelitys(features, weights, tmp_path):
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(256, (6, 3, 32, 32), generator=generator, dtype=torch.uint8)
    fake = (real.flip(0).float() * 0.8 + 30).byte()
    fake[3:] = torch.randint(256, (3, 3, 32, 32), generator=generator, dtype=torch.uint8)
    found = ours(features, dequantised(fake), dequantised(real))
    assert found["frechet"] > 0
    agree(found, theirs(fake, real, weights, 6, tmp_path))


@pytest.mark.data
def test_fid_of_real_images_and_weights_is_torch_fidelitys(tmp_path):
    if "STUDY_DATA_ROOT" not in os.environ:
        pytest.skip("STUDY_DATA_ROOT does not name the folder of the real datasets")
    root = Path(os.environ["STUDY_DATA_ROOT"]).expanduser()
    (file,) = (root / "weights").glob("*inception*.pth")
    prepared = prepare({"name": "parquet", "path": "cifar10"}, tmp_path, root)
    data = Dataset.open(prepared, validation=1000, verify=False)
    train, test = (
        torch.from_numpy(np.array(part.pixels[part.index[:60]])).view(-1, 3, 32, 32)
        for part in (data.train, data.test)
    )
    network = inception(file, "cpu")
    found = ours(network, dequantised(train), dequantised(test))
    agree(found, theirs(train, test, file, 60, tmp_path / "features"))
    # Trained features tell noise from pictures, and pictures from pictures hardly.
    noise = network(torch.rand(60, 3, 32, 32))
    assert neighbourhoods(network(test / 256), noise).precision < 0.01
    assert found["precision"] > 0.5


def test_grey_images_are_colour_images_with_equal_channels(features):
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(features(x), features(x.expand(-1, 3, -1, -1)), rtol=0, atol=0)
    with pytest.raises(ContractError, match="2 channels"):
        features(torch.rand(2, 2, 28, 28))


def test_images_are_seen_as_bytes(features):
    values = torch.randint(256, (2, 3, 8, 8))
    expected = features(values / 256)
    torch.testing.assert_close(features(dequantised(values)), expected, rtol=0, atol=0)
    beyond = (values / 256).where(values > 40, -0.5).where(values < 200, 1.5)
    clipped = values.where(values > 40, 0).where(values < 200, 255)
    torch.testing.assert_close(features(beyond), features(clipped / 256), rtol=0, atol=0)


def test_what_is_recorded_beside_a_number(features, weights):
    about = features.describe()
    assert features.name == "inception"
    assert about["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert about["dims"] == 2048 == features(torch.rand(1, 3, 8, 8)).shape[1]
    assert "299" in about["preprocessing"]


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_weights_file_is_never_run(tmp_path):
    harmed = tmp_path / "harmed"
    for name, write in {
        "torch": torch.save,
        "plain": lambda o, p: p.write_bytes(pickle.dumps(o, protocol=2)),
    }.items():
        file = tmp_path / name
        write({"fc.weight": Touch(harmed)}, file)
        with pytest.raises(DataError, match="damaged, or not a file of weights"):
            inception(file, "cpu")
    assert not harmed.exists()
    torch.load(tmp_path / "torch", weights_only=False)
    assert harmed.exists(), "the test's own file does no harm"


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
def test_files_that_are_no_weights_are_refused(tmp_path, content):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(DataError, match="damaged, or not a file of weights") as caught:
        inception(file, "cpu")
    assert str(file) == caught.value.where


def test_weights_of_another_network_are_refused(tmp_path):
    for state in ({"weight": torch.zeros(3)}, [1, 2]):
        file = tmp_path / "weights.pth"
        torch.save(state, file)
        with pytest.raises(DataError, match="not the weights of the Inception"):
            inception(file, "cpu")


def test_without_a_file_and_a_network_both_ways_are_named(tmp_path, monkeypatch):
    def unreachable(url, path, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(DataError, match=r"could not be downloaded.*no route to host") as caught:
        inception(None, "cpu")
    for word in ("STUDY_INCEPTION_WEIGHTS", WEIGHTS, "https://", "classifier"):
        assert word in caught.value.remedy
    with pytest.raises(DataError, match="cannot be read: No such file") as caught:
        inception(tmp_path / "absent.pth", "cpu")
    assert "STUDY_INCEPTION_WEIGHTS" in caught.value.remedy


def test_the_download_is_checked_and_used_again(tmp_path, monkeypatch, weights):
    calls = []

    def download(url, path, hash_prefix, progress):
        calls.append(hash_prefix)
        Path(path).write_bytes(weights.read_bytes())

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    first, second = inception(None, "cpu"), inception(None, "cpu")
    assert calls == ["6726825d"]
    assert first.describe() == second.describe()

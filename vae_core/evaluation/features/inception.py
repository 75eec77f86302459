"""Features of the network that FID is defined by, with torch-fidelity's weights and resizing."""

from __future__ import annotations

import hashlib
from http.client import HTTPException
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from vae_core.errors import ContractError, DataError
from vae_core.evaluation.features.contract import in_blocks
from vae_core.evaluation.kept import UNREADABLE
from vae_core.models.initialise import private_randomness

WEIGHTS_VARIABLE = "STUDY_INCEPTION_WEIGHTS"
"""The environment variable by which programs let people name a file of weights."""

DIMS = 2048
BLOCK = 64
"""Images of one pass through the network, at 299 x 299 pixels each."""


class Inception:
    """The pool3 features of FID's Inception network (Szegedy et al. 2015; Heusel et al. 2017).

    Args:
        network: torch-fidelity's network with its weights.
        sha256: of the file the weights came from.
        device: where the network is to run.
    """

    name = "inception"

    def __init__(self, network: nn.Module, sha256: str, device: torch.device | str) -> None:
        self._network, self._device = network.to(device), torch.device(device)
        self._sha256 = sha256

    def describe(self) -> dict[str, str | int | float]:
        return {
            "network": "inception-v3-compat of torch-fidelity, features 2048 (pool3)",
            "sha256": self._sha256,
            "preprocessing": "bytes floor(256 x), grey as three channels, bilinear to 299x299 as "
            "in TensorFlow 1, (v - 128)/128",
            "dims": DIMS,
        }

    def __call__(self, x: Tensor) -> Tensor:
        """Features [n, 2048] of images x [n, C, H, W] in [0, 1], C 1 or 3, on the device of x.

        Raises:
            ContractError: images of another number of channels.
        """
        if x.shape[1] not in (1, 3):
            raise ContractError(
                f"images of {x.shape[1]} channels",
                where="Inception features",
                remedy="the network was made for colour images, and for grey ones taken as such",
            )
        return in_blocks(
            lambda values: self._network(values.expand(-1, 3, -1, -1))[0], x, BLOCK, self._device
        )


def inception(weights: Path | None, device: torch.device | str) -> Inception:
    """Features of FID's network, with the weights of a file.

    Args:
        weights: a file of torch-fidelity's weights; None has torch-fidelity's release downloaded,
            once, to torch's own cache.
        device: where the network is to run.

    No code in the file is ever run.

    Raises:
        DataError: the file is missing or is not one of these weights, or it cannot be downloaded;
            or torch-fidelity is not installed.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise DataError(
            f"torch-fidelity cannot be imported: {error}",
            where="Inception features",
            remedy="pip install torch-fidelity, or use the features of the classifier",
        ) from error
    path = weights_file(weights)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror or error}", where=str(path), remedy=_remedy()
        ) from error
    # torch-fidelity unpickles what it is given, code and all: it is given a copy that was read
    # without code and written here.
    checked = BytesIO()
    try:
        torch.save(torch.load(BytesIO(content), map_location="cpu", weights_only=True), checked)
    except UNREADABLE as error:
        raise DataError(
            "damaged, or not a file of weights and nothing else", where=str(path), remedy=_remedy()
        ) from error
    checked.seek(0)
    try:
        with private_randomness():
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", [str(DIMS)], feature_extractor_weights_path=checked
            )
    except (RuntimeError, TypeError) as error:
        raise DataError(
            "not the weights of the Inception network that FID is defined by",
            where=str(path),
            remedy=_remedy(),
        ) from error
    return Inception(network, hashlib.sha256(content).hexdigest(), device)


def weights_file(given: Path | None) -> Path:
    """The file ``given``, else that of torch-fidelity's release, downloaded if need be.

    Raises:
        DataError: it is not in torch's cache, and cannot be downloaded.
    """
    if given is not None:
        return given.expanduser()
    url = _url()
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # As torch's own downloads have it, the file's name ends in the start of its SHA-256.
        start = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=start, progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        raise DataError(
            f"the weights of the Inception network could not be downloaded: {error}",
            where=url,
            remedy=_remedy(),
        ) from error
    return path


def _url() -> str:
    """Where torch-fidelity's release has the weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return str(URL_INCEPTION_V3)


def _remedy() -> str:
    url = _url()
    return (
        f"either name a copy of {url.rpartition('/')[2]} in {WEIGHTS_VARIABLE}, or name none where "
        f"{url} can be downloaded; the features of the classifier need neither"
    )

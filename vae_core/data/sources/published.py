"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision, checked against known content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vae_core.data.source import Chunk, DataRoot, Source
from vae_core.data.sources.parquet import Parquet
from vae_core.errors import DataError


def load(kind: str, root: DataRoot, **options: Any) -> Any:
    """``torchvision.datasets.<kind>(root, **options)``, its failures turned into a DataError."""
    from torchvision import datasets

    if root.download:
        root.path.mkdir(parents=True, exist_ok=True)
    try:
        return getattr(datasets, kind)(root.path, download=root.download, **options)
    except Exception as e:  # torchvision's readers may raise anything on damaged bytes
        if root.download:
            raise DataError(
                f"{kind} cannot be downloaded: {e}",
                where=str(root.path),
                remedy="check the network, delete what is incomplete there and try again; or "
                "fetch the files yourself and name their folder as the data root",
            ) from e
        raise DataError(
            f"{kind} cannot be read: {e}",
            where=str(root.path),
            remedy=f"it must hold {kind} as torchvision.datasets.{kind} lays it out, complete",
        ) from e


class MNIST(Source):
    """MNIST: 60,000 and 10,000 grey images of 28x28, idx files under ``MNIST/raw``."""

    kind: ClassVar[str] = "MNIST"
    sha256: ClassVar[dict[str, str]] = {
        "train": "d18cfd466eb143ac1097fde604dba9eec4116885869d04cc648b510949f9e88c",
        "test": "a0863a96c44e5666edbb30c4071ee79ca0514c621e6349c5967fc78e7305c891",
    }

    def describe(self, root: DataRoot) -> str:
        return f"torchvision.datasets.{self.kind}"

    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        if not root.download:
            self._check_files(root.path / self.kind / "raw", split)
        data = load(self.kind, root, train=split == "train")
        yield data.data.numpy()[:, None], data.targets.numpy()

    def _check_files(self, folder: Path, split: str) -> None:
        """Name the file that is missing or cut short, which torchvision's errors do not."""
        prefix, count = ("train", 60_000) if split == "train" else ("t10k", 10_000)
        sizes = {"images-idx3-ubyte": 16 + count * 784, "labels-idx1-ubyte": 8 + count}
        for name, size in sizes.items():
            path = folder / f"{prefix}-{name}"
            if not path.is_file():
                raise DataError(
                    f"{self.kind}'s file is missing",
                    where=str(path),
                    remedy=f"put {self.kind}'s four unpacked idx files into {folder}, or name no "
                    "data root to have them downloaded",
                )
            if (found := path.stat().st_size) != size:
                fault = "truncated" if found < size else "too long"
                raise DataError(
                    f"{fault}: {found:,} bytes instead of {size:,}",
                    where=str(path),
                    remedy="fetch the file again",
                )


class FashionMNIST(MNIST):
    """Fashion-MNIST (Xiao et al. 2017): laid out as MNIST, under ``FashionMNIST/raw``."""

    kind = "FashionMNIST"
    sha256: ClassVar[dict[str, str]] = {
        "train": "1f243a60b4b748a44c48b9a6f6907be2a08bee3e4e226f0e86fbde8e147b745a",
        "test": "9a494dc49efeb996f4076c469b31cd058152067b1594ba6ab85dd739fce3775e",
    }


class Cifar10(Source):
    """CIFAR-10: 50,000 and 10,000 colour images of 32x32.

    A data root may hold ``cifar-10-batches-py``, as torchvision reads it, or
    ``cifar10/{train,test}-*.parquet`` in the Hugging Face image layout.
    """

    sha256: ClassVar[dict[str, str]] = {
        "train": "973ef2abb5897efc795681a4d79a6f5f642fa2bcb1a828f7476017c89db53a57",
        "test": "2c33b053d1cd726af8d86e174a96dd89d7000ba1412add026d68142375b89d51",
    }

    def describe(self, root: DataRoot) -> str:
        return "CIFAR-10"

    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        batches, parquet = root.path / "cifar-10-batches-py", root.path / "cifar10"
        if root.download or batches.is_dir():
            data = load("CIFAR10", root, train=split == "train")
            yield data.data.transpose(0, 3, 1, 2), np.array(data.targets, np.int64)
        elif parquet.is_dir():
            yield from Parquet(path="cifar10").read(split, root)
        else:
            raise DataError(
                "CIFAR-10 is not there",
                where=str(root.path),
                remedy="it must hold cifar-10-batches-py/ or cifar10/{train,test}-*.parquet; or "
                "name no data root to have it downloaded",
            )

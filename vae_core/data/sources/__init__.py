"""The built-in data sources, each under its name in a study file."""

from __future__ import annotations

from vae_core.data.source import SOURCES
from vae_core.data.sources.celeba import CelebA
from vae_core.data.sources.digits import Digits
from vae_core.data.sources.folder import Folder
from vae_core.data.sources.parquet import Parquet
from vae_core.data.sources.published import MNIST, Cifar10, FashionMNIST

SOURCES.register("digits", Digits)
SOURCES.register("mnist", MNIST)
SOURCES.register("fashion_mnist", FashionMNIST)
SOURCES.register("cifar10", Cifar10)
SOURCES.register("celeba", CelebA)
SOURCES.register("folder", Folder)
SOURCES.register("parquet", Parquet)

__all__ = ["MNIST", "CelebA", "Cifar10", "Digits", "FashionMNIST", "Folder", "Parquet"]

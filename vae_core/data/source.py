"""The contract of a data source, and the sources by name."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from vae_core.errors import ContractError
from vae_core.registry import Registry, check_settings

SPLITS = ("train", "test")
VALIDATION = "validation"

Pixels: TypeAlias = npt.NDArray[np.uint8]
Labels: TypeAlias = npt.NDArray[np.int64]
Chunk: TypeAlias = tuple[Pixels, Labels]


@dataclass(frozen=True)
class DataRoot:
    """The folder of a source's files, and whether it may download into it."""

    path: Path
    download: bool

    def resolve(self, path: str) -> Path:
        """A path from the settings, relative to the data root if one was given."""
        given = Path(str(path)).expanduser()  # YAML may give a number
        return given.resolve() if self.download else (self.path / given).resolve()


class Source(ABC):
    """Images to train on: subclass this for your own, named ``package.module:Class``.

    The study file's other ``data`` settings are the keyword arguments of ``__init__``. A whole
    source::

        class Stripes(Source):
            def __init__(self, count: int = 1000) -> None:
                self.count = count

            def describe(self, root):
                return f"{self.count} random stripes"

            def read(self, split, root):
                rng = np.random.default_rng(split == "test")
                rows = rng.integers(0, 256, (self.count, 1, 16, 1), dtype=np.uint8)
                yield np.repeat(rows, 16, axis=3), np.zeros(self.count, np.int64)
    """

    #: SHA-256 each split's content must have (see :func:`vae_core.data.store.write`), if known.
    sha256: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def describe(self, root: DataRoot) -> str:
        """One line: where the images come from and what is done to them.

        Prepared images are used again only while settings and description stay the same, so it
        must differ where the images would.
        """

    def split_names(self, root: DataRoot) -> tuple[str, ...]:
        """The names train and test, and validation where the data bring validation images."""
        return SPLITS

    def image_count(self, split: str, root: DataRoot) -> int | None:
        """How many images ``split`` has, for showing progress; None: not known beforehand."""
        return None

    def reading_notes(self) -> Mapping[str, int]:
        """What a person should know of the split read last, and of how many images it is true."""
        return {}

    @abstractmethod
    def read(self, split: str, root: DataRoot) -> Iterator[Chunk]:
        """The images of ``split``, of :meth:`split_names`, in order, in chunks that fit in memory.

        Yields:
            uint8 images [n, C, H, W], the same C, H, W throughout, and int64 labels [n].

        Raises:
            DataError: files are missing or damaged.
        """


def _check(name: str, entry: Any) -> Callable[..., Source]:
    if not (inspect.isclass(entry) and issubclass(entry, Source)):
        raise ContractError(
            f"dataset '{name}' is not a data source: {entry!r}",
            remedy="make it a subclass of vae_core.data.Source",
        )
    return entry


SOURCES: Registry[Callable[..., Source]] = Registry(
    "dataset",
    group="vae_core.data",
    check=_check,
    built_in={
        "digits": "vae_core.data.sources.digits:Digits",
        "mnist": "vae_core.data.sources.published:MNIST",
        "fashion_mnist": "vae_core.data.sources.published:FashionMNIST",
        "cifar10": "vae_core.data.sources.published:Cifar10",
        "celeba": "vae_core.data.sources.celeba:CelebA",
        "folder": "vae_core.data.sources.folder:Folder",
        "parquet": "vae_core.data.sources.parquet:Parquet",
    },
)


def build_source(settings: Mapping[str, Any]) -> Source:
    """Make the source that ``settings`` describe: ``name`` and the source's own settings.

    Raises:
        ContractError: an unknown name or setting, one that is missing, or an abstract source.
        DataError: a setting has a value the source cannot use.
    """
    own = dict(settings)
    name = own.pop("name")
    entry = SOURCES.get(name)
    check_settings("dataset", name, entry, own, skip=0)
    try:
        inspect.signature(entry).bind(**own)
    except TypeError as error:
        raise ContractError(
            f"dataset '{name}': {error}", remedy="add it to the data section"
        ) from None
    if inspect.isabstract(entry):
        missing = ", ".join(sorted(getattr(entry, "__abstractmethods__", ())))
        raise ContractError(
            f"dataset '{name}' lacks {missing}", remedy="see vae_core.data.Source for what to write"
        )
    return entry(**own)

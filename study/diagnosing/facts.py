"""What is found on one machine, by a process there: the driver, or a Ray task on a node."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from typing import NamedTuple

from joblib import cpu_count

from study.diagnosing.limits import ray_folder, socket_path, usable_memory
from study.engine.parts import ENGINE, Part
from study.package import code_digest, version
from vae_core.precision import has_bfloat16

_SEE = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
_GPUS = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_PATIENCE = 15.0  # seconds a program has to answer


class Gpu(NamedTuple):
    """A GPU as its driver lists it."""

    name: str
    memory: int
    """Bytes."""


@dataclass(frozen=True)
class Facts:
    """What is found on one machine."""

    versions: Mapping[str, str]
    """Of Python, Ray, torch and this package, with a digest of its code."""
    broken: Mapping[str, str]
    """Parts that cannot be imported, each with the error."""
    code: Mapping[str, str]
    """The user's own parts that can, each with the digest of its code."""
    cores: int
    """That affinity and a container's quota leave."""
    memory: int
    """Bytes that a container's limit leaves."""
    open_files: tuple[int, int]
    """Files that a process may have open, and to which number it may raise that itself."""
    shared_memory: int | None
    """Bytes of /dev/shm; None where there is none."""
    socket: int
    """Bytes of the longest path of a socket that a Ray started here would make."""
    gpus: tuple[Gpu, ...]
    torch_gpus: int
    """GPUs that torch can use."""
    bfloat16: bool = True
    """Whether its processor multiplies bfloat16."""


def gather(parts: Iterable[Part] = (), *, gpus: bool = True) -> Facts:
    """The facts of this machine; ``parts`` are imported, GPUs are asked for if ``gpus``."""
    there = _listed_gpus() if gpus else ()
    broken, code = _tried(parts)
    return Facts(
        versions={
            "Python": platform.python_version(),
            "Ray": _installed("ray"),
            "torch": _installed("torch"),
            "study": f"{version()}, code {code_digest()}",
        },
        broken=broken,
        code=code,
        cores=cpu_count(),
        memory=usable_memory(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE),
        shared_memory=_size("/dev/shm"),
        socket=socket_path(ray_folder()),
        gpus=there,
        torch_gpus=_usable_gpus() if there else 0,
        bfloat16=has_bfloat16(),
    )


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def _tried(parts: Iterable[Part]) -> tuple[dict[str, str], dict[str, str]]:
    """By path: the errors of parts that cannot be imported, the digests of the user's own."""
    broken, code = dict[str, str](), dict[str, str]()
    for part in parts:
        try:
            if part == ENGINE:  # its digest is in the version, and imports nothing
                part.load()
            else:
                code[part.path] = part.digest()
        except Exception as error:  # a user's module may raise anything
            broken[part.path] = " ".join(f"{type(error).__name__}: {error}".split())
    return broken, code


def _size(folder: str) -> int | None:
    try:
        return shutil.disk_usage(folder).total
    except OSError:
        return None


def _listed_gpus() -> tuple[Gpu, ...]:
    """The GPUs that NVIDIA's driver lists; none without one."""
    found = []
    for line in _said(_GPUS).splitlines():
        name, _, mebibytes = line.rpartition(", ")
        with suppress(ValueError):  # some say "[N/A]"
            found.append(Gpu(name, int(mebibytes) * 2**20))
    return tuple(found)


def _usable_gpus() -> int:
    """How many GPUs torch can use, in a process of its own: Ray hides them from a task."""
    said = _said((sys.executable, "-c", _SEE)).strip()
    return int(said) if said.isdigit() else 0


def _said(command: Iterable[str]) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    try:
        return subprocess.run(
            [*command],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
            env=environment,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""

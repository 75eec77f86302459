"""What an engine imports, and whether that is the same code on two machines. Light, as config."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from study.package import code_digest, digest
from vae_core.registry import imported

if TYPE_CHECKING:
    from study.spec import StudySpec


class Part(NamedTuple):
    """What an engine imports."""

    path: str
    """``module:Name``; or a name in a registry."""
    registry: str = ""
    """``module:NAME`` of that registry."""

    def load(self) -> Any:
        """Import it; raises whatever that raises."""
        return imported(self.registry).get(self.path) if self.registry else imported(self.path)

    def digest(self) -> str:
        """Digits that differ where its code does, eight for each folder that it is in.

        An engine's code is all of this package and the core; a user's is the whole package that
        its module is in, or the module where that is in none, and is imported.
        """
        if self == ENGINE:
            return code_digest()
        module = sys.modules[self.load().__module__]
        package = sys.modules[module.__name__.partition(".")[0]]
        folders = [Path(folder) for folder in getattr(package, "__path__", ())]
        if not folders and module.__file__ is not None:
            return digest(Path(module.__file__).parent, Path(module.__file__))
        return "-".join(digest(folder, *folder.rglob("*.py")) for folder in folders)


ENGINE = Part("study.engine.engine:Engine")
_MODELS, _BALANCERS = "vae_core.models:MODELS", "vae_core.balancers:BALANCERS"


def parts_of(spec: StudySpec | None) -> tuple[Part, ...]:
    """What an engine imports: itself, and the models and balancers of ``spec`` not built in."""
    if spec is None:
        return (ENGINE,)
    balancers = dict.fromkeys(arm.balancer.name for arm in spec.arms.values())
    named = (Part(spec.model.name, _MODELS), *(Part(name, _BALANCERS) for name in balancers))
    own = (part for part in named if not imported(part.registry).built_in(part.path))
    return (ENGINE, *own)


def code_of(spec: StudySpec) -> dict[Part, str]:
    """What an engine imports, each with the digest of its code. Imports the core, and them."""
    return {part: part.digest() for part in parts_of(spec)}


def check_parts(wanted: Mapping[Part, str]) -> None:
    """Check that every part is here, with the code that has its digest.

    Raises:
        RuntimeError: one has other code here; numbers could be others.
        Exception: whatever importing one raises.
    """
    for part, there in wanted.items():
        if (here := part.digest()) != there:
            raise RuntimeError(f"the code of {part.path} is not the driver's: {here}, not {there}")

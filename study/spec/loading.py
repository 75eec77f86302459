"""A study file, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study.spec.errors import Source, SpecError, shown
from study.spec.models import StudySpec
from study.spec.names import check_names
from study.spec.overrides import ASIDE, apply_overrides
from study.spec.reading import read_yaml
from study.spec.shipped import is_name, shipped_studies, study_file
from vae_core.errors import nearest


def load_spec(path: Path | str, overrides: Sequence[str] = ()) -> StudySpec:
    """The study that the YAML file ``path`` describes, checked, names included.

    Args:
        path: the study file, or the name of one (:func:`study.spec.shipped.study_file`).
        overrides: changes to it, each ``key.path=value`` with the value as YAML.

    Raises:
        SpecError: with the file and line (or the override), the key, the value and the remedy.
    """
    found = study_file(path)
    file = str(found)
    data, lines = read_yaml(_text(found), file)
    if data is None:
        raise SpecError("the file is empty", where=file, remedy="begin with name: and data:")
    if not isinstance(data, dict):
        remedy = "give a mapping of keys to values: name: ..., data: ..., arms: ..."
        raise SpecError(f"{shown(data)} is not a study", where=file, remedy=remedy)
    data = {key: value for key, value in data.items() if not key.startswith(ASIDE)}
    changed, given = apply_overrides(data, overrides)
    source = Source(file, lines, given)
    spec = StudySpec.from_dict(changed, source)
    if spec.data.validation == 1:
        what = "1 is one image, which then chooses every winner, or all of them as a share"
        remedy = "give a share below 1, e.g. 0.1, or 2 images or more"
        raise source.error(("data", "validation"), what, remedy)
    for name, arm in spec.arms.items():
        search = arm.search
        if search and search.replicates > 1 and search.sampler.extras.get("scramble") is False:
            what = f"without scrambling all {search.replicates} replicates search the same points"
            key = ("arms", name, "search", "sampler", "scramble")
            raise source.error(key, what, "leave scramble out, or set replicates: 1")
    check_names(spec, source)
    return spec


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        files = (
            [file.name for file in path.parent.glob("[!.]*.yaml")] if path.parent.is_dir() else []
        )
        remedy = f"in {path.parent}: {nearest(path.name, files)}"
        if is_name(path):
            remedy += f"; shipped studies: {nearest(path.name, shipped_studies())}"
        raise SpecError("no such file", where=str(path), remedy=remedy) from None
    except UnicodeDecodeError as error:
        what = f"not a text file: byte {error.start} is not UTF-8"
        raise SpecError(what, where=str(path), remedy="give a study file in YAML") from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise SpecError(what, where=str(path), remedy="give a study file in YAML") from None

"""The specs of studies that have begun: as they were last launched, and changed."""

from __future__ import annotations

from collections.abc import Sequence

from study.journal import StudyHome
from study.spec import SAMPLERS, Begun, StudySpec
from study.spec.arms import grid_size
from study.spec.begun import open_again
from study.spec.errors import Source
from study.spec.names import check_names
from study.spec.overrides import apply_overrides
from study.spec.roles import kept_roles
from study.spec.seeds import own_seeds


def frozen_spec(home: StudyHome) -> StudySpec:
    """The spec a study was last launched with."""
    return _begun(home).spec


def _begun(home: StudyHome) -> Begun:
    found = Begun.of(home)
    assert found is not None
    return found


def changed_spec(
    home: StudyHome, overrides: Sequence[str] = (), name: str | None = None
) -> StudySpec:
    """The spec a study was last launched with, with ``overrides`` applied, under ``name``.

    Under another name, what the study left open when other defaults held is left open again, and
    the study's own seeds become those of the new name: whoever forks has seen the results of the
    former.

    Raises:
        SpecError: an override cannot be applied, or makes the spec invalid.
    """
    name, past = name or home.name, _begun(home)
    frozen = past.spec.to_dict()
    if name != home.name:  # a new study has today's defaults
        frozen = open_again(frozen, past.assumed)
        if past.spec.seeds == own_seeds(home.name, count := len(past.spec.seeds)):
            frozen["seeds"] = own_seeds(name, count)
        for arm, search in ((name, arm.search) for name, arm in past.spec.arms.items()):
            if search is None or not SAMPLERS[search.sampler.name].grid:
                continue
            if search.trials == grid_size(search.space):  # all of it, and so of another space
                frozen["arms"][arm]["search"].pop("trials", None)
    changed, given = apply_overrides({**frozen, "name": name}, overrides)
    source, paths = Source(str(home.spec), overrides=given), {path[0] for path in given}
    designs = {"primary", "choosing_seeds"}
    if len(found := designs & paths) == 1:
        (key,), (other,) = found, designs - found
        if name == home.name and changed.get(other) is not None:
            how = {"primary": "with a named pair", "choosing_seeds": "by choosing its pair"}[other]
            remedy = f"leave {key} out, or begin another: `{home.command('fork')} NEW --set ...`"
            raise source.error((key,), f"the study has begun {how} of arms", remedy)
        changed[other] = None  # a new study may have the other design
    if "seeds" in paths and "until" not in paths:  # seeds by themselves are a plain list of them
        changed["until"] = changed["seeds_batch"] = None
    if changed["name"] != name:
        raise source.error(("name",), f"the study's name is '{name}'", "leave the name out")
    spec = StudySpec.from_dict(changed, source)
    if overrides or name != home.name:  # else its names were checked at the launch
        known = past.roles if name == home.name else {}
        check_names(spec, source, kept_roles(spec, known))
    return spec

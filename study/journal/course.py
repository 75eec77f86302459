"""A training whose settings change on the way: what population based training finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from study.formatting import setting

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Course:
    """The stages of a trial's training, all of one length, each with settings of its own.

    A member of a generation trains one stage, and goes on from the end of its ``parent``. Its
    ``earlier`` stages make it reproducible without that: trained from the beginning under its seed,
    it is equal to the last bit. So a confirm run trains all stages under another seed.
    """

    generations: int
    """Stages of a whole training."""
    epochs: float
    """Of one stage."""
    earlier: Sequence[Data] = ()
    """By stage before the last: what was searched, ``params``, and the ``settings`` (training and
    balancer) that it trained with. The last stage's are the trial's own."""
    first: int = 0
    """The first stage that counts as this trial's."""
    parent: str = ""
    """The trial that made the stages before; "" where there is none."""

    @classmethod
    def of(cls, data: Data) -> Self | None:
        """The course that an event's ``data`` describes; None of a training without one."""
        return cls(**data) if data else None

    def to_data(self) -> dict[str, Any]:
        """The inverse of :meth:`of`."""
        return {**asdict(self), "earlier": [dict(stage) for stage in self.earlier]}

    @property
    def stages(self) -> int:
        """How many of them are the trial's."""
        return len(self.earlier) + 1 - self.first

    def share(self, training: Data) -> dict[str, Any]:
        """Of the settings of a whole ``training``, those of the trial's stages."""
        reports = training["reports"] // self.generations * self.stages
        return {**training, "epochs": self.epochs * self.stages, "reports": reports}


def in_words(params: Data, course: Course | None) -> dict[str, str]:
    """By what was searched, its value; of a course its values by stage, as in ``1 -> 0.8``."""
    stages = [*(stage["params"] for stage in course.earlier), params] if course else [params]
    return {key: " -> ".join(setting(stage[key]) for stage in stages) for key in params}

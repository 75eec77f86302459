"""A trial's stages: which member of a bank it is from which optimiser step on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from study.journal.course import Course
from study.spec import training_steps
from vae_core.members import Member


@dataclass(frozen=True)
class Stages:
    """Members that a trial is, one after another; a trial without a course is one."""

    members: Sequence[Member]
    steps: int
    """Optimiser steps of each."""
    first: int = 0
    """The first that counts as this trial's: those before were its parent's."""

    @classmethod
    def of(cls, request: Mapping[str, Any], images: int) -> Self:
        """The stages of a request (:class:`study.search.Request`), with so many training images."""
        settings, course = request["settings"], Course.of(request["course"])
        training = settings["training"]
        epochs = training["epochs"] if course is None else course.epochs
        steps = training_steps(epochs, training["batch_size"], images)
        every = [settings]
        if course is not None:
            every = [*(stage["settings"] for stage in course.earlier), settings]
        whole = steps * (1 if course is None else course.generations)
        members = [
            Member(
                seed=request["seed"],
                lr=stage["training"]["lr"],
                balancer=stage["balancer"]["name"],
                hyper={k: v for k, v in stage["balancer"].items() if k != "name"},
                steps=whole,
                halve_every=training.get("halve_every"),
            )
            for stage in every
        ]
        return cls(members, steps, 0 if course is None else course.first)

    @property
    def begin(self) -> int:
        """Steps made before the trial's own stages."""
        return self.first * self.steps

    @property
    def end(self) -> int:
        """Steps made at its end."""
        return len(self.members) * self.steps

    def at(self, step: int) -> Member:
        """The member that makes the step after ``step`` steps, at the end the last one."""
        return self.members[min(step // self.steps, len(self.members) - 1)]

    def begins(self, step: int) -> bool:
        """Whether a stage begins after ``step`` steps."""
        return step % self.steps == 0 and step < self.end

    def left(self, step: int) -> int:
        """Steps until the next stage begins, or the last one ends."""
        return self.steps - step % self.steps

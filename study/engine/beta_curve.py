"""The betas of a gated model: which one a trial's model is at, and the curve of all.

One training gives a model for every beta of a range (:mod:`vae_core.models.gated`). At each report
the one of lowest calibrated negative ELBO on validation is chosen. So it is where the objective is
a distance, too: samples of all of them at every report would take longer than the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from study.engine.evaluation import Evaluation, checked, no_check
from vae_core.bank import Bank
from vae_core.evaluation import EvaluationSet, calibrated, measure
from vae_core.models import VAE

ELBO = "calibrated_negative_elbo"


@dataclass(frozen=True)
class BetaCurve:
    """A trained model at each of its betas.

    Attributes:
        betas: ascending, one at least.
        model: the model at one of them; a module that the next call changes.
        evaluation: which images it is measured on.
    """

    betas: Sequence[float]
    model: Callable[[float], VAE]
    evaluation: Evaluation

    @classmethod
    def of(cls, bank: Bank, row: int, evaluation: Evaluation) -> BetaCurve | None:
        """Of the member in ``row`` of ``bank``; None where its model is not gated."""
        betas = bank.betas(row)
        return cls(betas, lambda beta: bank.model(row, beta), evaluation) if betas else None

    def best(self) -> float:
        """The beta whose model has the lowest calibrated negative ELBO on validation."""
        if len(self.betas) == 1:
            return self.betas[0]
        measured = self._measured([("", self.evaluation.validation)], no_check)
        nats = {row["beta"]: row[ELBO] for row in measured}
        return min(nats, key=lambda beta: nats[beta] if isfinite(nats[beta]) else inf)

    def table(self, check: Callable[[], None]) -> list[dict[str, float]]:
        """By beta, S, R and calibrated negative ELBO on validation and on some test images."""
        parts = [
            ("validation_", self.evaluation.validation),
            ("test_", self.evaluation.test_subset),
        ]
        return [*self._measured(parts, check)]

    def _measured(
        self, parts: Sequence[tuple[str, EvaluationSet]], check: Callable[[], None]
    ) -> Iterator[dict[str, float]]:
        for beta in checked(self.betas, check):
            model = self.model(beta)
            fitted = measure(model, self.evaluation.train.batches(model.latent))
            row = {"beta": beta}
            for prefix, images in parts:
                measured = measure(model, images.batches(model.latent))
                found = calibrated(fitted, measured, model.shape.dims)
                row |= {prefix + name: found[name] for name in ("S", "R", ELBO)}
            yield row

"""Every metric, once: its name, label and unit, and where it is recorded and shown.

The tables, the figures, the page, MLflow, the model card, ``study show`` and the list of objectives
read it here; ``docs/metrics.md`` explains each, and a test compares the two. To add one, compute it
(in :mod:`vae_core.evaluation`, called from :mod:`study.engine.evaluation` at every report or from
:mod:`study.engine.final_evaluation` at a trial's end), add its row here, and explain it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from study.formatting import NONE

Network = Literal["classifier", "inception"]
Direction = Literal["lower", "higher", ""]

ELBO = "nats per image"
BITS = "bits per dimension"


class Bounds(Protocol):
    """A value with an interval (:class:`study.statistics.intervals.Interval`)."""

    @property
    def mean(self) -> float | None: ...
    @property
    def lower(self) -> float | None: ...
    @property
    def upper(self) -> float | None: ...


_MORE = 6
"""Digits that an interval may take beyond a metric's, to show that it excludes 0."""


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: Without the split it is recorded for: ``S`` of ``validation/S``.
        label: Its name in sentences.
        short: The heading of its columns.
        unit: "" for what has none.
        digits: After the decimal point.
        better: Which direction is, "" where neither.
        splits: What it is recorded for: "train", "validation", "test"; "" for a quantity of
            training that belongs to none of them.
        depends_on_beta: Whether beta weighs it in the training loss, so that choosing by it
            chooses beta: it cannot be an objective.
        objective: Whether a study may choose and compare by it.
        network: Whose features it is measured in, if it is a distance of images.
        always: Whether every study records it at every report, and so has its column.
        curve: The splits of it that ``study show`` lists.
        table: Which of the report's tables of test metrics it is in, "" for none.
        column: Its heading there, where that is not ``short``.
    """

    name: str
    label: str
    short: str
    unit: str = ""
    digits: int = 3
    better: Direction = ""
    splits: Sequence[str] = ("test",)
    depends_on_beta: bool = False
    objective: bool = False
    network: Network | None = None
    always: bool = False
    curve: Sequence[str] = ()
    table: str = ""
    column: str = ""

    @property
    def heading(self) -> str:
        """Label, unit and direction, as verdicts and tables name it."""
        unit = f"{self.unit}, " if self.unit not in ("", self.label) else ""
        better = f"{unit}{self.better} is better" if self.better else unit.rstrip(", ")
        return f"{self.label} ({better})" if better else self.label

    def number(self, value: float | None, sign: str = "") -> str:
        """``value`` to this metric's digits, or a dash; ``sign`` as in a format."""
        return NONE if value is None else f"{value:{sign}z.{self.digits}f}"

    def given(self, value: float) -> str:
        """A ``value`` that a person gave: to this metric's digits, or more where it has more."""
        text = self.number(value)
        return text if float(text) == value else f"{value:.10g}"

    def difference(self, interval: Bounds, *, unit: bool = True) -> str:
        """An interval as "0.40 nats per image [0.21, 0.59]", with or without the unit.

        Where it excludes 0 it shows so: with more digits, if it takes them.
        """
        shown = [v for v in (interval.lower, interval.mean, interval.upper) if v is not None]
        digits, most = self.digits, self.digits + _MORE
        if len(shown) == 3 and (min(shown) > 0 or max(shown) < 0):
            while digits < most and any(abs(value) < 0.5 * 10.0**-digits for value in shown):
                digits += 1
        mean, lower, upper = (
            NONE if value is None else f"{value:z.{digits}f}"
            for value in (interval.mean, interval.lower, interval.upper)
        )
        text = f"{mean} {self.unit}" if unit and self.unit else mean
        if interval.lower is None or interval.upper is None:
            return text
        return f"{text} [{lower}, {upper}]"


_EVALUATED = ("validation", "test")
_LIKELIHOOD, _AGGREGATE = "likelihood", "aggregate"

GENERATED = {"prior": "gen1", "second_stage": "gen2", "mixture": "mixture"}
"""Generators, and what metrics of their samples end in: GEN-1 and GEN-2 are the papers' words."""
_COMPARED = {
    "rec": ("REC", "reconstructions"),
    "gen1": ("GEN-1", "prior samples"),
    "gen2": ("GEN-2", "second-stage samples"),
    "mixture": ("mixture", "samples of the mixture"),
    "interpolation": ("interp.", "mid-points of test images"),
}
"""What is compared with test images: by the end of a metric's name, its column and what it is."""
_SPACES: Mapping[Network, str] = {
    "classifier": "a local classifier's features",
    "inception": "Inception's features",
}
_DISTANCES: Mapping[str, tuple[str, Direction]] = {
    "frechet": ("Frechet distance", "lower"),
    "kid": ("kernel distance", "lower"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
    "density": ("density", "higher"),
    "coverage": ("coverage", "higher"),
}


def distance_name(network: Network, distance: str, compared: str) -> str:
    """The name of a distance of what is ``compared``; FID and KID are Inception's alone."""
    if network == "inception":
        named = {"frechet": "fid", "kid": "kid"}.get(distance, f"{distance}_inception")
    else:
        named = f"{distance}_{network}"
    return f"{named}_{compared}"


def _distance(network: Network, distance: str, compared: str) -> Metric:
    name = distance_name(network, distance, compared)
    column, images = _COMPARED[compared]
    words, better = _DISTANCES[distance]
    frechet, objective = distance == "frechet", distance == "frechet" and compared == "gen1"
    acronym = {"fid": "FID", "kid": "KID"}.get(name.partition("_")[0])
    label = f"{words} of {images} in {_SPACES[network]}"
    return Metric(
        name,
        label=f"{acronym} of {images}" if acronym else label,
        short=(acronym or "Frechet") if objective else column,
        column=column,
        digits=2 if frechet else 3,
        better=better,
        splits=_EVALUATED if objective else ("test",),
        objective=objective,
        network=network,
        table=("fid" if acronym else "frechet_classifier") if frechet else "",
    )


_ALL = (
    Metric("S", "squared error per image, x in [0, 1]", "S", digits=3, better="lower",
           splits=("train", *_EVALUATED), depends_on_beta=True, always=True, curve=("train",)),
    Metric("MSE", "squared error per pixel, x in [0, 1]", "MSE", digits=5, better="lower",
           splits=("train", *_EVALUATED), depends_on_beta=True, always=True,
           curve=("validation",), table="beside"),
    Metric("R", "KL divergence from the prior", "R (nats)", ELBO, digits=2,
           splits=("train", *_EVALUATED), depends_on_beta=True, always=True,
           curve=("train", "validation"), table="beside"),
    Metric("loss", "training loss", "loss", ELBO, splits=("train",), depends_on_beta=True,
           always=True),
    Metric("sigma", "standard deviation of the noise that the balancer set", "sigma", splits=("",),
           depends_on_beta=True, always=True),
    Metric("beta", "k sigma^2, the weight of R in S/2 + beta R", "beta", splits=("",),
           depends_on_beta=True, always=True, curve=("",)),
    Metric("k", "weight of the KL divergence", "k", splits=("",), depends_on_beta=True,
           always=True),
    Metric("calibrated_negative_elbo", "calibrated negative ELBO", "nats", ELBO, digits=2,
           better="lower", splits=_EVALUATED, objective=True, always=True, curve=("validation",)),
    Metric("bits_per_dim", "bits per dimension", "bits/dim", BITS, digits=4, better="lower",
           splits=_EVALUATED, objective=True, always=True, curve=("validation",)),
    Metric("active_units", "latents in use", "active", "latents", digits=1, splits=_EVALUATED,
           always=True, table="beside"),
    Metric("own_negative_elbo", "negative ELBO under the decoder's own likelihood", "own nats",
           ELBO, digits=2, better="lower", splits=_EVALUATED),
    Metric("own_bits_per_dim", "the same in bits per dimension", "own", BITS, digits=4,
           better="lower", splits=_EVALUATED, table=_LIKELIHOOD),
    Metric("discretised_bits_per_dim", "bits per dimension of bytes, a mass", "mass", BITS,
           digits=4, better="lower", table=_LIKELIHOOD),
    Metric("iwae", "importance-weighted bound, negative", "IWAE", ELBO, digits=2, better="lower",
           table=_LIKELIHOOD),
    Metric("nll", "-ln p(x|z) of the predicted noise", "nll", ELBO, digits=2, better="lower"),
    Metric("variance_law", "Var(mu) + E[tau^2], 1 at an optimum", "variance law",
           splits=_EVALUATED, table=_LIKELIHOOD),
    *(Metric(f"coverage_{level}", f"share of pixels in their central {level} % interval",
             f"{level} %", table=_LIKELIHOOD) for level in (50, 90, 95)),
    Metric("calibration_error", "mean distance of observed from expected quantiles", "calibration",
           better="lower"),
    Metric("smoothness", "energy of decoded straight lines, 1 at constant speed", "path", digits=2,
           table=_LIKELIHOOD),
    Metric("mutual_information", "mutual information of image and latents, at most ln N", "MI",
           "nats", digits=2, depends_on_beta=True, table=_AGGREGATE),
    Metric("marginal_kl", "KL divergence of the aggregate posterior from the prior", "marginal KL",
           "nats", digits=2, depends_on_beta=True, table=_AGGREGATE),
    Metric("total_correlation", "total correlation of the latents", "TC", "nats", digits=2,
           depends_on_beta=True, table=_AGGREGATE),
    Metric("dimension_kl", "KL divergence of each latent's aggregate from the prior, summed",
           "latents' KL", "nats", digits=2, depends_on_beta=True, table=_AGGREGATE),
    Metric("mmd", "squared MMD of the aggregate posterior and the prior", "MMD", digits=5,
           table=_AGGREGATE),
    Metric("effective_latents", "perplexity of the latents' shares of R", "effective", "latents",
           digits=1, table=_AGGREGATE),
    *(_distance(network, distance, compared) for network in _SPACES for distance in _DISTANCES
      for compared in _COMPARED),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by name, in the order in which they are shown."""

OBJECTIVES: Mapping[str, Metric] = {m.name: m for m in _ALL if m.objective}
"""The metrics that a study may choose and compare by; none depends on beta."""

CALIBRATED_NEGATIVE_ELBO = METRICS["calibrated_negative_elbo"]
BITS_PER_DIM = METRICS["bits_per_dim"]

FORMER_NAMES: Mapping[str, str] = {
    "calibrated_elbo": "calibrated_negative_elbo",
    "own_elbo": "own_negative_elbo",
}
"""Former names of metrics, in journals of format 3 and before and in their checkpoints. They named
a negative ELBO an ELBO, which people sort the other way."""

_BETA_TERMS = {
    *("s1", "elbo", "nelbo", "negative_elbo", "sse", "mae", "rmse", "kl"),
    *("reconstruction", "recon", "sigma2", "gamma", "nll"),
}
"""Other common names of terms of the training loss."""


def metric(name: str) -> Metric:
    """The metric of that name; a user's own, which is not listed here, is labelled by its name."""
    return METRICS.get(name) or Metric(name, name, name, better="lower")


def present_names(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """``metrics``, with or without a split before their names, under the names they have now."""
    found = {}
    for name, value in metrics.items():
        split, slash, term = name.rpartition("/")
        found[split + slash + FORMER_NAMES.get(term, term)] = value
    return found


def depends_on_beta(name: str) -> bool:
    """Whether ``name``, with or without a split before it, is a term of the training loss."""
    term = name.rpartition("/")[2]
    known = {m.name.lower() for m in _ALL if m.depends_on_beta}
    return term.lower() in known | _BETA_TERMS


def recorded(splits: Sequence[str]) -> list[str]:
    """Names under which every study records something for ``splits``, in the tables' order."""
    return [
        f"{split}/{m.name}" if split else m.name
        for split in splits
        for m in _ALL
        if m.always and split in m.splits
    ]


def in_table(table: str) -> list[Metric]:
    """The metrics of one of the report's tables of test metrics."""
    return [m for m in _ALL if m.table == table]


def second_objective(first: str, features: Sequence[str]) -> Metric:
    """The objective shown beside the one called ``first``: another kind of quality, if measured.

    Likelihoods favour the balancers that maximise them; distances of samples do not.

    Args:
        first: the study's objective.
        features: the networks whose features the study's distances are measured in.
    """
    likelihoods = (CALIBRATED_NEGATIVE_ELBO, BITS_PER_DIM)
    if first not in {m.name for m in likelihoods}:
        return CALIBRATED_NEGATIVE_ELBO
    for network in ("inception", "classifier"):
        if network in features:
            return next(m for m in OBJECTIVES.values() if m.network == network)
    return next(m for m in reversed(likelihoods) if m.name != first)

"""The metrics of the confirm runs on test, by the tables that their rows in `metrics` name."""

from __future__ import annotations

from study.analysis.answers.report import Report
from study.analysis.rendering.tables.table import TextTable, mean
from study.formatting import images
from study.metrics import BITS_PER_DIM, CALIBRATED_NEGATIVE_ELBO, Metric, in_table


def beside(report: Report) -> TextTable:
    """The metrics that every study has besides its objective."""
    shown = {report.objective, report.second}
    likelihoods = [
        other for other in (CALIBRATED_NEGATIVE_ELBO, BITS_PER_DIM) if other not in shown
    ]
    found = [*likelihoods, *in_table("beside")]
    return TextTable(
        "Other metrics on test",
        "means over the confirm runs; active: latents in use; to 1 %: "
        "images until the objective on validation stayed within 1 % of its final value, to the "
        "nearest report",
        ["arm", f"{report.second.short}, 95 %", *map(_heading, found), "to 1 %"],
        [
            [
                arm.arm,
                mean(report.second, arm.second),
                *(metric.number(arm.means.get(metric.name)) for metric in found),
                images(arm.images_to_final),
            ]
            for arm in report.arms
        ],
    )


def likelihood(report: Report) -> TextTable:
    """Other likelihoods, and the calibration of predicted variances."""
    return _measured(
        report,
        "likelihood",
        "Likelihood and uncertainty on test",
        "means over the confirm runs. Bits per dimension by "
        "the decoder's own likelihood (own; a density) and of bytes by a discretised one (mass; "
        "not comparable with densities); IWAE in nats; variance law: 1 at the optimum; shares of "
        "pixels in intervals of 50, 90, 95 %; path: energy of decoded straight lines, 1 at "
        "constant speed",
    )


def aggregate(report: Report) -> TextTable:
    """How much the latents tell of an image, and how their distribution differs from the prior."""
    return _measured(
        report,
        "aggregate",
        "Aggregate posterior on test",
        "means over the confirm runs, nats per image, of N test images: 1,024, or all if there are "
        "fewer. R of these is MI + marginal KL, and marginal KL is TC + latents' KL; MI is at most "
        "ln N, and where it is near that the others grow with R. MMD: squared, 0 where the "
        "aggregate posterior is the prior; effective: latents that would share R evenly",
    )


def fid(report: Report) -> TextTable:
    """Distances of images in Inception's features."""
    return _measured(report, "fid", "FID", "means over the confirm runs")


def frechet_classifier(report: Report) -> TextTable:
    """Distances of images in the features of a classifier of the dataset."""
    return _measured(
        report,
        "frechet_classifier",
        "Frechet distance in a local classifier's features",
        "means over the confirm runs",
    )


def _measured(report: Report, name: str, title: str, about: str) -> TextTable:
    """A column for each metric of the table that any arm has; no rows where none has any."""
    known = [m for m in in_table(name) if any(m.name in arm.means for arm in report.arms)]
    rows = [[arm.arm, *(m.number(arm.means.get(m.name)) for m in known)] for arm in report.arms]
    return TextTable(title, about, ["arm", *map(_heading, known)], rows if known else [])


def _heading(metric: Metric) -> str:
    return metric.column or metric.short

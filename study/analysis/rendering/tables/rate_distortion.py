"""The arms on the rate-distortion plane."""

from __future__ import annotations

from study.analysis.answers.report import Report
from study.analysis.rendering.tables.table import TextTable
from study.formatting import NONE, short


def rate_distortion(report: Report) -> TextTable:
    """Each arm's rate and distortion, and its distance from the frontier of the beta sweep."""
    return TextTable(
        "Rate and distortion on test",
        "means over the confirm runs. Above: squared error beyond the "
        "frontier of the fixed betas at the same rate, as a share and in nats per image (negative: "
        "better than any fixed beta tried); sweep's beta: the frontier's beta at this rate",
        ["arm", "R (nats)", "S", "end beta", "above", "nats", "sweep's beta"],
        [
            [
                landing.arm,
                f"{landing.rate:.2f}",
                f"{landing.distortion:.3f}",
                short(landing.beta),
                NONE if landing.excess is None else f"{100 * landing.excess:+.1f} %",
                NONE if landing.nats is None else f"{landing.nats:+.2f}",
                short(landing.frontier_beta),
            ]
            for landing in report.plane.landings
        ],
    )

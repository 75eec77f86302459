"""Durations and counts that the documents promise, in their own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.engine import heartbeat
from study.journal import lease
from study.scheduling import nodes, outages
from study.search import conductor

DOCS = Path(__file__).parents[2] / "docs"
PROMISED = [
    (lease.BEAT, 2, "architecture.md", "touches its file every 2 s"),
    (lease.LAPSE, 30, "architecture.md", "is replaced after 30 s without a touch"),
    (lease.LAPSE, 30, "troubleshooting.md", "died on another machine is replaced after 30 s"),
    (heartbeat.BEAT, 5, "reliability.md", "heartbeat files (every 5 s)"),
    (outages.OUTAGE, 15, "reliability.md", "silent for less than 15 s ends nothing"),
    (outages.OUTAGE, 15, "troubleshooting.md", "goes on for 15 s; then the study ends"),
    (outages.IDLE, 120, "reliability.md", "Without an engine a study ends after 2 minutes"),
    (outages.GROWING, 1800, "reliability.md", "or half an hour where it waits for a cluster"),
    (nodes.CHECK, 2, "cluster.md", "next look at the cluster, which is every 2 s"),
    (nodes.TRIES, 3, "troubleshooting.md", "After three tries in a row the node gets no more"),
    (conductor.FATAL, 5, "decisions.md", "after five it is failed as crashed"),
]


@pytest.mark.parametrize(
    ("used", "promised", "document", "words"), PROMISED, ids=[row[3] for row in PROMISED]
)
def test_what_a_document_promises_is_what_is_used(
    used: float, promised: float, document: str, words: str
) -> None:
    assert used == promised
    assert words in " ".join((DOCS / document).read_text().split())


def test_a_holder_may_miss_many_heartbeats_before_it_is_taken_over() -> None:
    assert lease.LAPSE >= 10 * lease.BEAT

"""The description of a study's run in MLflow's pages."""

from __future__ import annotations

from study.metrics import METRICS

_GUIDE = """\
**How to read these runs**

- This run is the study. Its child runs are the arms, each "(hand-tuned)" or "(automatic)"; theirs
  are the trials: "#3 ..." is trial 3 of a search, "seed 101 ..." the chosen setting trained anew.
- **The report** is under *Artifacts*: `report/report.html` and `report/report.txt`, every figure
  with its numbers in `report/figures`, all records as Parquet.
- **To compare the arms**, open this run in the list of runs with its **+**, tick its arms and press
  *Compare*; or look at the section *answer* of the list's charts.
- `answer/test_..._mean` of an arm is what its models score on test (lower is better), `_lower` and
  `_upper` the 95 % interval over seeds. `answer/cost_images` is what one model takes with the
  search before it; `answer/cost_ratio` the same as a multiple of the automatic side's, with the
  choice of its arm.
- `answer/break_even_trials`: from this trial on a search is as good as what the automatic side
  deploys. Where it has no number it never was, and the tag `study.break_even` says so.
- While the study runs, an arm's `search/best_r0` and `confirm/mean` are validation objectives.

**Metrics of every report**, under `train/`, `validation/` or `test/` where they belong to a split:

"""


def study_note(question: str, text: str = "") -> str:
    """The description of a study's run, in Markdown: its question, ``text``, and a guide."""
    rows = (f"- `{metric.name}`: {metric.heading}" for metric in METRICS.values() if metric.always)
    return "\n\n".join(filter(None, (question, text, _GUIDE + "\n".join(rows))))

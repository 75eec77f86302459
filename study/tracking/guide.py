"""The description of a study's run in MLflow's pages."""

from __future__ import annotations

import re

from study.metrics import METRICS

_GUIDE = """\
**How to read these runs**

- This run is the study. Its child runs are the arms, each "(hand-tuned)" or "(automatic)"; theirs
  are the trials: "#3 ..." is trial 3 of a search, "seed 101 ..." the chosen setting trained anew.
- **The report** is under *Artifacts*: `report/report.html` and `report/report.txt`, every figure
  with its numbers in `report/figures`, all records as Parquet.
- **Views**, at the top right of the list of runs (MLflow 3.17): *Arms* has a row an arm, the best
  score on test first; *Trials* the searched settings against the objective; *Confirm runs* the
  arms' chosen settings over seeds; *Live* what is trained now. For an arm beside another, tick
  both in *Arms* and press *Compare*.
- `answer/test_..._mean` of an arm is what its models score on test (lower is better), `_lower` and
  `_upper` the 95 % interval over seeds. `answer/cost_images` is what one model takes with the
  search before it; `answer/cost_ratio` the same as a multiple of the automatic arm's.
- `answer/break_even_trials`: from this trial on a search is as good as what the automatic side
  deploys. Where it has no number it never was, and the tag `break_even` says so.

**Metrics of every report**, under `train/`, `validation/` or `test/` where they belong to a split:

"""


def study_note(question: str, text: str = "") -> str:
    """The description of a study's run, in Markdown: its question, ``text``, and a guide."""
    rows = (f"- `{metric.name}`: {metric.heading}" for metric in METRICS.values() if metric.always)
    return "\n\n".join(filter(None, (literal(question), text, _GUIDE + "\n".join(rows))))


def literal(text: str) -> str:
    """A user's own ``text`` as Markdown that shows it: no emphasis, headings or tags of its own."""
    return re.sub(r"([\\`*_\[\]<>#|~&])", r"\\\1", " ".join(text.split()))

"""What a study's run says to whoever opens it in MLflow's pages."""

from __future__ import annotations

_GUIDE = """\
**How to read these runs**

- This run is the study. Its child runs are the arms, each "(hand-tuned)" or "(automatic)"; theirs
  are the trials: "#3 ..." is trial 3 of a search, "seed 101 ..." the chosen setting trained anew.
- **The report** is under *Artifacts*: `report/report.html` (download it for charts that answer to
  the mouse), `report/report.txt`, every figure with its numbers in `report/figures`, and all
  records as Parquet.
- **To compare the arms**, list the experiment's runs with the filter `tags."study.kind" = 'arm'`,
  select them all and press *Compare*. `answer/test_..._mean` is what an arm's models score on test
  (lower is better), `_lower` and `_upper` its 95 % interval over seeds;
  `answer/cost_to_one_model_images` what one of them takes with the search before it, and
  `answer/cost_ratio` that as a multiple of the cheapest automatic arm's;
  `answer/break_even_trials` from which trial on searching is as good as the automatic arm best on
  validation. Where it has no number it never was, and the tag `study.break_even` says so.
- While the study runs, `search/best_r0` and `confirm/mean` of an arm are its validation objective.
"""


def study_note(question: str, text: str = "") -> str:
    """The description of a study's run, in Markdown: its question, ``text``, and a guide."""
    return "\n\n".join(filter(None, (question, text, _GUIDE)))

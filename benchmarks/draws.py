"""The error that draws of latents leave in the differences of a study's arms, beside the seeds'.

    python -m benchmarks.draws NAME [--home STUDIES]

Of every hand-tuned arm against every automatic one, from the confirm runs' ``image_scores``. *Draws
needed* are images times draws at which the draws' error is a tenth of the seeds':
:data:`study.spec.evaluation.SCORES` is to suffice for most pairs.
"""

from __future__ import annotations

import argparse
from math import sqrt

import numpy as np

from benchmarks.paired import table_head, table_line
from study import api
from study.analysis.records.image_scores import draw_error, image_scores
from study.analysis.records.tables import recorded_roles


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--home")
    options = parser.parse_args()
    trials = api.load(options.name, home=options.home, arrow=True)["trials"]
    home = api.find(options.name, options.home).path
    arms = image_scores(trials, home, "calibrated_negative_elbo")
    roles = recorded_roles(trials)
    head = ["pair", "seeds", "images", "draws", "difference", "seeds' error", "draws' error"]
    print(table_head([*head, "of one draw", "draws needed"]))
    for hand in (arm for arm in arms if roles[arm].hand_tuned):
        for automatic in (arm for arm in arms if not roles[arm].hand_tuned):
            one, other = arms[hand], arms[automatic]
            seeds = sorted(one.keys() & other.keys())
            differences = [one[s].draws.mean() - other[s].draws.mean() for s in seeds]
            n, images = len(seeds), len(one[seeds[0]].values)
            draws = len(one[seeds[0]].draws)
            error = draw_error(one, other)
            if n < 2 or error is None:
                continue
            both = np.std(differences, ddof=1) / sqrt(n)
            alone = sqrt(max(both**2 - error**2, 0.0))  # net of the draws
            print(
                table_line(
                    f"{hand} - {automatic}",
                    f"{n}",
                    f"{images:,}",
                    f"{draws}",
                    f"{np.mean(differences):.3f}",
                    f"{alone:.3f}",
                    f"{error:.4f}",
                    f"{error * sqrt(draws):.3f}",
                    f"{100 * images * draws * (error / alone) ** 2:,.0f}" if alone else "-",
                )
            )


if __name__ == "__main__":
    main()

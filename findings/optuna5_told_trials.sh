#!/usr/bin/env bash
# Optuna 5.0.0: what trials of an earlier search, added with Study.add_trial, do to each sampler.
#
# Expected: a sampler that leaves its start-up phase because of added trials also learns from them,
# and one that learns from pruned trials in one class does so in the others. Seen: CMA-ES counts
# added trials towards its start-up and then ignores them (its first points are those of an empty
# search), and GP is random as long as every trial was pruned, while TPE chooses.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  optuna==5.0.0 cmaes==0.13.1 scipy torch 2>/dev/null
"$work/venv/bin/python" -W ignore - <<'PY'
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def first(sampler, told, state=TrialState.COMPLETE):
    """The point asked after ``told`` points were added, the last of which are the best."""
    study = optuna.create_study(sampler=sampler)
    for number, x in enumerate(told):
        value = {"value": -float(number)} if state is TrialState.COMPLETE else {}
        pruned = {"intermediate_values": {1: -float(number)}} if not value else {}
        study.add_trial(create_trial(
            state=state, params={"x": x, "y": x}, distributions=SPACE, **value, **pruned))
    return study.ask(SPACE).params


up, down = [i / 100 for i in range(100)], [1 - i / 100 for i in range(100)]
cma = [first(CmaEsSampler(seed=1), told) for told in (up, down)]
tpe = [first(TPESampler(seed=1), told) for told in (up, down)]
print("optuna", optuna.__version__)
print("CMA-ES, best told trials high:", cma[0], "low:", cma[1])
print("TPE,    best told trials high:", tpe[0], "low:", tpe[1])
assert cma[0] == cma[1]
assert cma[0] != first(RandomSampler(seed=1), up)
assert tpe[0]["x"] > 0.5 > tpe[1]["x"]

random = first(RandomSampler(seed=1), up, TrialState.PRUNED)
gp = first(GPSampler(seed=1), up, TrialState.PRUNED)
chosen = first(TPESampler(seed=1), up, TrialState.PRUNED)
print("100 pruned trials: GP", gp, "random", random, "TPE", chosen)
assert gp == random != chosen
PY

#!/usr/bin/env bash
# opda 0.8.0: the tuning curve of a confidence band (Lourie et al. 2023) at every number of trials.
#
# Expected: a quantile of N sorted values is found by bisection, so the curve at n = 1..N takes memory
# like N, and time like N log N; the band itself does.
# Seen: `quantile_tuning_curve` (and `ppf`) compares every n with every value at once, in an array of
# truth values of N x N bytes: twice the trials take four times the memory, 0.4 GB for 20,000 and 10 GB
# for 100,000. `numpy.searchsorted` over the same cumulative weights gives the same curve.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  opda==0.8.0 numpy==2.4.6 scipy==1.17.1 2>/dev/null
cat > "$work/one.py" <<'PY'
import sys
import tracemalloc

import numpy as np
from opda.nonparametric import EmpiricalDistribution
from scipy.stats import kstwo

count = int(sys.argv[1])
values, n = np.arange(1.0, count + 1), np.arange(1, count + 1)
tracemalloc.start()
below, _, above = EmpiricalDistribution.confidence_bands(
    values, 0.95, a=0.0, b=count + 1.0, method="ks", n_jobs=1
)
band = tracemalloc.get_traced_memory()[1] / 2**20
tracemalloc.reset_peak()
curve = above.quantile_tuning_curve(n, minimize=True)
peak = tracemalloc.get_traced_memory()[1] / 2**20
print(f"{count:7,} values: band {band:6.1f} MiB, its curve {peak:7.1f} MiB")
upper = np.arange(count + 1) / count + kstwo(count).ppf(0.95)
found = np.searchsorted(upper, 1 - 0.5 ** (1 / n))
assert (found == curve).all()
assert band < 20 and 0.9 < peak / (count**2 / 2**20) < 1.2
PY
for count in 5000 10000 20000; do
  "$work/venv/bin/python" "$work/one.py" "$count"
done

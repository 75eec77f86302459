#!/usr/bin/env bash
# pytest-xdist 3.8.0 under pytest 9.2.0: tests of one `xdist_group` run in several workers.
#
# Expected: with `--dist loadgroup` all tests of a group run in one worker, so that they may share a
# session fixture that takes minutes. Seen: under pytest 8.4.2 they do; under pytest 9.2.0 the mark is
# ignored without a warning, and the group is spread over all workers. xdist appends the group to the
# item's private `_nodeid`; pytest 9.2 does not read the node's id from there any more.
# A scheduler of one's own (hook `pytest_xdist_make_scheduler`) works under both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/test_group.py" <<'PY'
import os
import time

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("i", range(12))
def test_group(i):
    time.sleep(0.05)
    print("worker", os.environ["PYTEST_XDIST_WORKER"])
PY

workers() { # how many workers ran the group under pytest $1
  python3 -m venv "$work/$1"
  "$work/$1/bin/python" -m pip install --quiet --disable-pip-version-check \
    "pytest==$1" pytest-xdist==3.8.0 2>/dev/null
  (cd "$work" && "$work/$1/bin/python" -m pytest -q -rP -n 2 --dist loadgroup -p no:cacheprovider) |
    grep -o '^worker gw[0-9]*' | sort -u | wc -l
}

before=$(workers 8.4.2)
now=$(workers 9.2.0)
echo "workers that ran one group: pytest 8.4.2: $before, pytest 9.2.0: $now"
[ "$before" = 1 ] && [ "$now" = 2 ]

#!/usr/bin/env bash
# torch 2.14.1, CPU: what a Python number in `x * 0.5` costs a small float32 tensor.
#
# Expected: the number is passed to the kernel as it is, and costs nothing beside the operation.
# Seen: it becomes a float64 tensor of no dimension, which is converted to float32 by operations of
# its own (to, _to_copy, empty_strided, copy_), each time. On 16 elements `x * 0.5` took 2.2 times as
# long as `x * half` with half = torch.tensor(0.5), for bits that are the same; likewise +, / and
# `1 - x`, in place, and by torch._foreach_mul. Numbers given as `value=` or `alpha=` (addcmul, add)
# are passed as they are. A step of a small model is made of such operations.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy 2>/dev/null
"$work/venv/bin/python" - 2> "$work/errors" <<'PY' || { cat "$work/errors"; exit 1; }
from timeit import repeat

import torch
from torch.profiler import profile

torch.set_num_threads(1)
x, y, half = torch.randn(16), torch.randn(16), torch.tensor(0.5)
CONVERSION = {"aten::to", "aten::_to_copy", "aten::empty_strided", "aten::copy_"}


def operations(run):
    run()
    with profile() as seen:
        run()
    return {event.key for event in seen.key_averages()}


def microseconds(run):
    return min(repeat(run, number=20_000, repeat=7)) / 20_000 * 1e6


print(f"torch {torch.__version__}, float32, 16 elements")
assert torch.equal(x * 0.5, x * half)
converted = {
    "x * 0.5": lambda: x * 0.5,
    "x + 0.5": lambda: x + 0.5,
    "x / 0.5": lambda: x / 0.5,
    "1 - x": lambda: 1 - x,
    "y.mul_(0.5)": lambda: y.mul_(0.5),
    "torch._foreach_mul([x], 0.5)": lambda: torch._foreach_mul([x], 0.5),
}
passed = {
    "x * half": lambda: x * half,
    "x.add(y, alpha=0.5)": lambda: x.add(y, alpha=0.5),
    "torch.addcmul(x, y, y, value=0.5)": lambda: torch.addcmul(x, y, y, value=0.5),
}
for group, copies in ((converted, True), (passed, False)):
    for name, run in group.items():
        found = operations(run)
        what = "converts the number" if found >= CONVERSION else "passes it"
        print(f"{name:36} {what:20} {microseconds(run):5.2f} microseconds")
        assert (found >= CONVERSION) is copies, found
PY

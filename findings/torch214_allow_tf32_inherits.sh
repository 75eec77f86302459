#!/usr/bin/env bash
# torch 2.14.1: `torch.backends.cudnn.allow_tf32 = False` leaves convolutions in TensorFloat-32.
#
# Expected: False turns it off, as the documentation of that flag says.
# Seen: the flag sets convolutions and recurrent layers to "none", which means "as cuDNN, else as all of
# torch". Where anything has set `torch.backends.fp32_precision = "tf32"` (or that of
# `torch.backends.cudnn`) both are TensorFloat-32 before and after, without a word; the flag for
# products, `torch.backends.cuda.matmul.allow_tf32 = False`, sets those to "ieee" and holds. Settings are
# read back; no GPU is needed. `cudnn.conv.fp32_precision = "ieee"` holds, too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy 2>/dev/null
for asked in torch.backends torch.backends.cudnn; do
  "$work/venv/bin/python" -W ignore - "$asked" <<'PY'
import sys

import torch

backends = torch.backends
parts = {"products": backends.cuda.matmul, "conv": backends.cudnn.conv, "rnn": backends.cudnn.rnn}
of = backends if sys.argv[1] == "torch.backends" else backends.cudnn


def read():
    return {name: part.fp32_precision for name, part in parts.items()}


of.fp32_precision = "tf32"
asked = read()
backends.cudnn.allow_tf32 = False
backends.cuda.matmul.allow_tf32 = False
refused = read()
print(f"torch {torch.__version__}, {sys.argv[1]}.fp32_precision = 'tf32': {asked}")
print(f"    then both allow_tf32 = False: {refused}")
assert asked["conv"] == asked["rnn"] == "tf32"
assert refused == {"products": "ieee", "conv": "tf32", "rnn": "tf32"}, refused
backends.cudnn.conv.fp32_precision = "ieee"
assert read()["conv"] == "ieee"
PY
done

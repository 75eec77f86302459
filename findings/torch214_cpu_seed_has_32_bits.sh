#!/usr/bin/env bash
# torch 2.14.1: a CPU generator keeps the low 32 bits of its seed, and says that it has all 64.
#
# Expected: `Generator.manual_seed` documents a seed from -2^63 to 2^64 - 1, so seeds derived by a 64-bit
# hash (one a run, a worker or a step) give streams of their own.
# Seen: seeds that are alike in their low 32 bits give the same numbers, on the CPU, from every
# distribution and from `randperm`; -1 is 2^32 - 1. `initial_seed()` returns the whole seed, so nothing
# shows it. Of 93,000 hashed seeds one pair is expected to be one stream; with 64 bits none would be.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy 2>/dev/null
"$work/venv/bin/python" -W ignore - <<'PY'
import torch


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(1000, generator=generator)
    return generator.initial_seed(), first, torch.randperm(1000, generator=generator)


print(f"torch {torch.__version__}")
for seed, other in ((5, 5 + 2**32), (5, 5 + 2**40), (2**32 - 1, -1), (123456789, 2**63 + 123456789)):
    (one, *numbers), (two, *others) = drawn(seed), drawn(other)
    same = all(map(torch.equal, numbers, others))
    print(f"seeds {seed} and {other}: initial_seed() {one} and {two}, the same numbers: {same}")
    assert one != two
    assert same
assert not torch.equal(drawn(5)[1], drawn(6)[1])
PY

#!/usr/bin/env bash
# torch 2.14.1: Adam's steps while a loss changes its scale, as a Gaussian VAE's does.
#
# Expected: Adam is invariant to the scale of the loss, so a loss S / (2 sigma^2) + R trains with the
# same steps as S / 2 + sigma^2 R. Seen: it is, to a constant scale only. While sigma^2 falls 90-fold
# in 500 steps, as where sigma is learned or computed from the error, a constant gradient's steps are
# up to 2.5 times the learning rate at the beginning of a training and 4.0 times later on, and above
# it for thousands of steps; where the scale falls 90-fold instead, they shrink to 0.04 and 0.014 of it.
# AdamW and NAdam do the same.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy 2>/dev/null
"$work/venv/bin/python" - <<'PY'
import torch

LR, MOVING, AFTER, FACTOR = 1e-3, 500, 6000, 90.0


def steps_of(kind, factor, before):
    """Steps as multiples of the rate, from when the loss's scale begins to move."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = kind([weight], lr=LR, weight_decay=0.0)
    found = []
    for step in range(before + MOVING + AFTER):
        moved = min(max(step - before, 0), MOVING) / MOVING
        was = weight.item()
        optimizer.zero_grad()
        (factor**moved * weight).sum().backward()
        optimizer.step()
        found.append((was - weight.item()) / LR)
    return found[before:]


print(f"torch {torch.__version__}: steps, as multiples of the learning rate, of a constant gradient")
print(f"whose loss becomes {FACTOR:g} times as large, or as small, within {MOVING} steps")
for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam):
    for before in (0, 5000):
        grows, shrinks = (steps_of(kind, factor, before) for factor in (FACTOR, 1 / FACTOR))
        above = sum(step > 1.01 for step in grows)
        print(
            f"{kind.__name__} after {before} steps: {grows[0]:.2f} at first; growing: at most "
            f"{max(grows):.2f}, above 1.01 for {above} steps; shrinking: at least {min(shrinks):.3f}"
        )
        assert abs(max(grows) - (4.0 if before else 2.5)) < 0.25
        assert above > 2 * MOVING
        assert min(shrinks) < (0.02 if before else 0.05)
PY

from __future__ import annotations

import torch

from vae_core.optim import RowAdam

WIDTH = 4
RATES = [1e-3, 3e-3, 1e-3, 1e-2]


def stacks() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"weight": (7, 5), "bias": (7,), "scale": ()}
    return {n: torch.randn(WIDTH, *s, generator=generator) for n, s in shapes.items()}


def gradients(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1 + step)
    return {n: torch.randn(v.shape, generator=generator) for n, v in stacks().items()}


def test_each_row_equals_torchs_fused_adam_bit_for_bit() -> None:
    ours = stacks()
    adam = RowAdam(ours)
    adam.schedule(dict(enumerate(RATES)))
    theirs = [
        {n: v[row].clone().requires_grad_() for n, v in stacks().items()} for row in range(WIDTH)
    ]
    torchs = [
        torch.optim.Adam(p.values(), lr=RATES[row], fused=True) for row, p in enumerate(theirs)
    ]
    for step in range(20):
        found = gradients(step)
        adam.step({n: dict(enumerate(g.unbind(0))) for n, g in found.items()})
        for row, optimiser in enumerate(torchs):
            for name, parameter in theirs[row].items():
                parameter.grad = found[name][row].clone()
            optimiser.step()
    for row in range(WIDTH):
        for name, stack in ours.items():
            assert torch.equal(stack[row], theirs[row][name].detach())


def test_rows_that_are_not_scheduled_do_not_move_and_a_reset_row_starts_over() -> None:
    ours = stacks()
    adam = RowAdam(ours)
    adam.schedule({1: 1e-3})
    adam.step({n: dict(enumerate(g.unbind(0))) for n, g in gradients(0).items()})
    first = stacks()
    for name, stack in ours.items():
        assert torch.equal(stack[[0, 2, 3]], first[name][[0, 2, 3]])
        assert not torch.equal(stack[1], first[name][1])
    moved = {n: (stack[1] - first[n][1]) for n, stack in ours.items()}
    for name, stack in ours.items():
        stack[1] = first[name][1]
    adam.reset(1)
    adam.step({n: dict(enumerate(g.unbind(0))) for n, g in gradients(0).items()})
    for name, stack in ours.items():
        assert torch.equal(stack[1] - first[name][1], moved[name])

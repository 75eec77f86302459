"""Adam over the rows of stacked tensors, each with its own step count and learning rates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class RowAdam:
    """Adam (Kingma & Ba 2015) on K rows at once, equal bit for bit to ``torch.optim.Adam``'s.

    It drives the kernel behind ``Adam(fused=True)`` on row views: the kernel takes one learning
    rate a call and one step count a tensor, so rows are grouped by learning rate and most banks
    need a single call. A row's arithmetic is elementwise, so no row can reach another.

    Attributes:
        exp_avg, exp_avg_sq: first and second moments, shaped like the parameters [K, ...].
    """

    def __init__(self, stacks: Mapping[str, Tensor]) -> None:
        self.exp_avg = {name: torch.zeros_like(stack) for name, stack in stacks.items()}
        self.exp_avg_sq = {name: torch.zeros_like(stack) for name, stack in stacks.items()}
        self._views = {
            name: tuple(
                list(stack.detach().unbind(0))
                for stack in (stacks[name], self.exp_avg[name], self.exp_avg_sq[name])
            )
            for name in stacks
        }
        any_stack = next(iter(stacks.values()))
        self._counts = torch.zeros(any_stack.shape[0], device=any_stack.device)
        self._count_views = list(self._counts.unbind(0))
        self._moving = torch.zeros_like(self._counts)
        self._plan: list[tuple[float, list[tuple[str, int]], list[list[Tensor]]]] = []

    def reset(self, row: int, step: int = 0) -> None:
        """Zero the moments of ``row``, which has made ``step`` steps."""
        self._counts[row] = step
        for moments in (self.exp_avg, self.exp_avg_sq):
            for stack in moments.values():
                stack[row].zero_()

    def schedule(self, rates: Mapping[int, Mapping[str, float]]) -> None:
        """Set which parameters move: learning rates by row and parameter name."""
        groups: dict[float, list[tuple[str, int]]] = defaultdict(list)
        for row, by_name in rates.items():
            for name, lr in by_name.items():
                groups[lr].append((name, row))
        self._plan = [(lr, moving, self._operands(moving)) for lr, moving in groups.items()]
        self._moving = torch.zeros_like(self._counts)
        self._moving[list(rates)] = 1

    def _operands(self, moving: list[tuple[str, int]]) -> list[list[Tensor]]:
        """Row views the kernel works on: parameters, both moments, step counts."""
        stacks = [[self._views[name][i][row] for name, row in moving] for i in range(3)]
        return [*stacks, [self._count_views[row] for _, row in moving]]

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Mapping[int, Tensor]]) -> None:
        """Move every scheduled parameter; ``gradients[name][row]`` is shaped like one row."""
        self._counts += self._moving
        for lr, moving, (parameters, exp_avg, exp_avg_sq, counts) in self._plan:
            torch._fused_adam_(
                parameters,
                [gradients[name][row] for name, row in moving],
                exp_avg,
                exp_avg_sq,
                [],
                counts,
                lr=lr,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )

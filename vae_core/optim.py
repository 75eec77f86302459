"""Adam over the rows of stacked tensors, each with its own step count and learning rate."""

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

    Args:
        stacks: the parameters, [K, ...] each.
        replayed: steps are recorded once and replayed while members and rates change. Then every
            row moves, with a member or without, and rates are read from a tensor.

    Attributes:
        exp_avg, exp_avg_sq: first and second moments, shaped like the parameters [K, ...].
        together: whether one call moves all rows; with ``replayed`` nothing else may change about
            the calls that a step makes.
    """

    def __init__(self, stacks: Mapping[str, Tensor], *, replayed: bool = False) -> None:
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
        self._rates = torch.zeros_like(self._counts) if replayed else None
        self.together = False
        self._plan: list[tuple[float | Tensor, list[tuple[str, int]], list[list[Tensor]]]] = []

    def reset(self, row: int, step: int = 0) -> None:
        """Zero the moments of ``row``, which has made ``step`` steps."""
        self._counts[row] = step
        for moments in (self.exp_avg, self.exp_avg_sq):
            for stack in moments.values():
                stack[row].zero_()

    def schedule(self, rates: Mapping[int, float]) -> None:
        """Set which rows move, and their learning rates."""
        if self._rates is not None and rates:
            spare = next(iter(rates.values()))
            rates = {row: rates.get(row, spare) for row in range(len(self._counts))}
            self._rates.copy_(torch.tensor(list(rates.values())))
        groups: dict[float, list[int]] = defaultdict(list)
        for row, rate in rates.items():
            groups[rate].append(row)
        self.together = len(groups) == 1
        self._moving.copy_(torch.tensor([float(row in rates) for row in range(len(self._counts))]))
        if self._rates is None:
            self._plan = [self._call(rate, rows) for rate, rows in groups.items()]
        elif self.together:
            self._plan = [self._call(self._rates[0], list(rates))]
        else:
            self._plan = [self._call(self._rates[row], [row]) for row in rates]

    def _call(
        self, rate: float | Tensor, rows: list[int]
    ) -> tuple[float | Tensor, list[tuple[str, int]], list[list[Tensor]]]:
        """Arguments of the kernel: parameters, both moments, step counts."""
        moving = [(name, row) for row in rows for name in self._views]
        stacks = [[self._views[name][i][row] for name, row in moving] for i in range(3)]
        return rate, moving, [*stacks, [self._count_views[row] for _, row in moving]]

    def moving(self) -> list[Tensor]:
        """All tensors that a step changes, except the parameters."""
        return [*self.exp_avg.values(), *self.exp_avg_sq.values(), self._counts]

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Mapping[int, Tensor]]) -> None:
        """Move every scheduled row; ``gradients[name][row]`` is shaped like one row."""
        self._counts += self._moving
        for rate, moving, (parameters, exp_avg, exp_avg_sq, counts) in self._plan:
            torch._fused_adam_(
                parameters,
                [gradients[name][row] for name, row in moving],
                exp_avg,
                exp_avg_sq,
                [],
                counts,
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=0.0,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )

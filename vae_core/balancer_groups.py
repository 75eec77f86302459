"""The members of a bank that share a balancer: their hyperparameters, state and learned scalars.

A bank computes one loss per family over just that family's rows, so a family's NaN has no path
into another's gradients. Where steps are recorded and replayed while members come and go, a
family's tensors keep one size: unused places repeat its first row with weight 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from vae_core.balancers import Balancer, Terms, check_hyperparameters
from vae_core.balancers.contract import ALWAYS
from vae_core.errors import ContractError
from vae_core.members import Member
from vae_core.optim import RowAdam


class Family:
    """One balancer over the rows of a bank of ``width`` K.

    Args:
        balancer: the rule.
        width: K.
        device: the bank's.
        replayed: steps are recorded once and replayed.

    Attributes:
        balancer: the rule.
        rows: rows of the bank that use it, ascending.
        index: the same as a tensor [n], padded to n = K where steps are replayed.
    """

    def __init__(
        self, balancer: Balancer, width: int, device: torch.device, *, replayed: bool = False
    ) -> None:
        self.balancer = balancer
        self.rows: list[int] = []
        self._width, self._device, self._replayed = width, device, replayed
        self.index = torch.zeros(width, dtype=torch.int64, device=device)
        self._weights = torch.zeros(width, device=device)  # 0 for padding
        self._hyper = {n: torch.zeros(width, device=device) for n in balancer.hyperparameters}
        self._own_hyper: dict[str, Tensor] = {}
        self._state: dict[str, Tensor] = {}
        self._learned = {n: torch.zeros(width, device=device) for n in balancer.learned}
        self._adams = {
            name: RowAdam({name: stack}, replayed=replayed) for name, stack in self._learned.items()
        }
        self._leaves: dict[str, Tensor] = {}
        self._seen: tuple[Terms, dict[str, Tensor]] | None = None

    def admit(self, row: int, member: Member, step: int = 0) -> None:
        """Set the hyperparameters and initial state of ``row`` for ``member``, ``step`` steps old.

        Raises:
            ContractError: a hyperparameter that is unknown, out of bounds or missing.
        """
        check_hyperparameters(type(self.balancer), member.hyper)
        values = self.balancer.complete(member.hyper, member.steps)
        missing = self._hyper.keys() - values.keys()
        if missing:
            raise ContractError(
                f"balancer '{self.balancer.name}' needs {', '.join(sorted(missing))}",
                remedy="give a value, or search it",
            )
        for name, stack in self._hyper.items():
            stack[row] = values[name]
        fresh = self.balancer.initial_state({n: h[row : row + 1] for n, h in self._hyper.items()})
        for name, value in fresh.items():
            stack = self._state.setdefault(
                name,
                torch.zeros(self._width, *value.shape[1:], dtype=value.dtype, device=self._device),
            )
            stack[row] = value[0]
        for name, spec in self.balancer.learned.items():
            self._learned[name][row] = values[spec.init]
        for adam in self._adams.values():
            adam.reset(row, step)
        self._set_rows(sorted([*self.rows, row]))

    def release(self, row: int) -> None:
        """Take ``row`` out of the family."""
        self._set_rows([r for r in self.rows if r != row])

    def schedule(self, shares: Mapping[int, float]) -> None:
        """Set the learning rates of the learned scalars to a share, by row, of the given ones."""
        for name, adam in self._adams.items():
            asked = self._hyper[self.balancer.learned[name].lr].tolist()
            adam.schedule({row: asked[row] * shares[row] for row in self.rows})

    def tensors(self) -> dict[str, Tensor]:
        """Every stack [K, ...] that holds a part of a member, by checkpoint name."""
        found = {f"state/{n}": stack for n, stack in self._state.items()}
        for name, stack in self._learned.items():
            found[f"learned/{name}"] = stack
            found[f"exp_avg/{name}"] = self._adams[name].exp_avg[name]
            found[f"exp_avg_sq/{name}"] = self._adams[name].exp_avg_sq[name]
        return found

    def moving(self) -> list[Tensor]:
        """All tensors that a step changes."""
        adams = [tensor for adam in self._adams.values() for tensor in adam.moving()]
        return [*self._state.values(), *self._learned.values(), *adams]

    def plan(self) -> tuple[str, ...]:
        """What a recorded step of the family depends on, beside tensors."""
        return (self.balancer.name, *(n for n, adam in self._adams.items() if adam.together))

    def leaves(self) -> dict[str, Tensor]:
        """Learned scalars as leaves of the last loss's graph, [n], by unique name."""
        return {f"{self.balancer.name}.{n}": leaf for n, leaf in self._leaves.items()}

    def drawn(self, draws: Tensor) -> Tensor:
        """The u of each row's images, [n, B], of draws of all rows, [K, B]."""
        return self.balancer.drawn(self._pick(draws), self._hypers())

    def betas(self, member: Member) -> list[float]:
        """The betas among which that of ``member``, trained, is chosen, ascending."""
        return self.balancer.betas(self.balancer.complete(member.hyper, member.steps))

    def u_of(self, row: int, beta: float) -> Tensor:
        """The u [] at which the model of ``row`` is that of ``beta``."""
        hyper = {name: stack[row : row + 1].clone() for name, stack in self._hyper.items()}
        return self.balancer.u_of(torch.tensor([beta], device=self._device), hyper)[0]

    def loss(self, terms: Terms) -> Tensor:
        """Loss of each row of ``index``, [n], nats per image, of their :func:`shares` of terms."""
        self._leaves = {
            n: self._pick(stack).detach().clone().requires_grad_()
            for n, stack in self._learned.items()
        }
        state = self._picked(self._state)
        self._seen = terms, state
        return self.balancer.loss(terms, state, self._leaves, self._hypers())

    def weighted(self, loss: Tensor) -> Tensor:
        """A loss of ``index``'s rows, 0 for those that only fill it up."""
        return loss * self._weights if self._replayed else loss

    def advance(self, gradients: Mapping[str, Tensor]) -> None:
        """Move the state and the learned scalars past the step of the last loss."""
        assert self._seen is not None
        terms, state = self._seen
        self._seen = None
        if self._state:
            moved = self.balancer.next_state(
                terms.map(Tensor.detach), state, self._leaves, self._hypers()
            )
            for name, value in moved.items():
                self._state[name].index_copy_(0, self.index, value)
        for name, adam in self._adams.items():
            found = gradients[f"{self.balancer.name}.{name}"]
            # Added, not copied: where a row is repeated, the gradients of the copies are zero.
            whole = found.new_zeros(self._width).index_add_(0, self.index, found)
            adam.step({name: dict(enumerate(whole.unbind(0)))})

    def balance_of(self, row: int, terms: Terms) -> tuple[float, float]:
        """Compute ln sigma^2 and k of ``row`` for ``terms``, with the state it has now.

        For several variances, the mean of their logarithms.
        """
        one = torch.tensor([row], device=self._device)

        def pick(stacks: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {n: stack[one] for n, stack in stacks.items()}

        at = self.balancer.balance(
            terms.rows(one), pick(self._state), pick(self._learned), pick(self._hyper)
        )
        return float(at.log_sigma2.mean()), float(at.k)

    def _set_rows(self, rows: list[int]) -> None:
        self.rows = rows
        if not self._replayed:
            self.index = torch.tensor(rows, dtype=torch.int64, device=self._device)
            self._own_hyper = self._picked(self._hyper)
        elif rows:
            padding = self._width - len(rows)
            self.index.copy_(torch.tensor([*rows, *rows[:1] * padding]))
            self._weights.copy_(torch.tensor([1.0] * len(rows) + [0.0] * padding))

    def _pick(self, stack: Tensor) -> Tensor:
        whole = len(self.rows) == self._width and not self._replayed
        return stack if whole else stack.index_select(0, self.index)

    def _picked(self, stacks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._pick(stack) for name, stack in stacks.items()}

    def _hypers(self) -> dict[str, Tensor]:
        """The hyperparameters of ``index``; a step that is replayed reads them anew each time."""
        return self._picked(self._hyper) if self._replayed else self._own_hyper


def shares(families: Sequence[Family], terms: Terms) -> list[Terms]:
    """The terms of each family's rows: only what it declares, since some are as large as images.

    They are selected even if all rows are one family's: otherwise gradients would have another
    layout in memory, on which the rounding of convolutions depends.
    """
    own = [terms.only(family.balancer.terms) for family in families]
    if len(terms.kl) == 1:
        return own
    # What all declare is selected once for all: small models' steps are made of such operations.
    counts = [len(family.index) for family in families]
    order = torch.cat([family.index for family in families])
    common = {n: getattr(terms, n).index_select(0, order).split(counts) for n in ALWAYS}
    return [
        Terms(
            **{
                n: common[n][i] if n in common else term.index_select(0, family.index)
                for n, term in part.given().items()
            }
        )
        for i, (family, part) in enumerate(zip(families, own, strict=True))
    ]


def drawn(families: Iterable[Family], draws: Tensor) -> Tensor:
    """The u of all members' images, [K, B], of their draws; 0 in rows without a member."""
    u = torch.zeros_like(draws)
    for family in families:
        u.index_copy_(0, family.index, family.drawn(draws))
    return u

"""The members of a bank that share a balancer: their hyperparameters, state and learned scalars.

What a family does, it does over just its own rows, and what families have in common is computed
row by row, so a member's NaN has no path into another family's gradients. Where steps are recorded
and replayed while members come and go, a family's tensors keep one size: unused places repeat its
first row with weight 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vae_core.balancers import Balancer, Terms, check_hyperparameters
from vae_core.balancers.contract import ALWAYS, Balance, State, gaussian
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
        usual: whether its loss is the usual one.
        declared: terms that it reads beside those that are always measured.
        rows: rows of the bank that use it, ascending.
        index: the same as a tensor [n], padded to n = K where steps are replayed.
    """

    def __init__(
        self, balancer: Balancer, width: int, device: torch.device, *, replayed: bool = False
    ) -> None:
        self.balancer = balancer
        self.usual = balancer.usual
        self.declared = [name for name in balancer.terms if name not in ALWAYS]
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
        self._before: tuple[dict[str, Tensor], dict[str, Tensor]] = {}, {}
        """State and learned scalars that the step which was remembered began with."""

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
        """Loss of each row of ``index``, [n], nats per image, of the terms of those rows."""
        return self.balancer.loss(terms, self._begun(terms), self._leaves, self._hypers())

    def parts(self, terms: Terms) -> tuple[Balance, Tensor | None]:
        """What :meth:`loss` is made of where it is the usual one: balance, and a penalty not R."""
        state, hyper = self._begun(terms), self._hypers()
        balance = self.balancer.balance(terms, state, self._leaves, hyper)
        if self.balancer.penalises_rate:
            return balance, None
        return balance, self.balancer.penalty(terms, state, hyper)

    @property
    def weights(self) -> Tensor | None:
        """0 for rows of ``index`` that only fill it up, else 1; None: there are no such."""
        return self._weights if self._replayed else None

    def advance(self, gradients: Mapping[str, Tensor]) -> None:
        """Move the state and the learned scalars past the step of the last loss."""
        assert self._seen is not None
        terms, state = self._seen
        self._seen = None
        if self._state:
            moved = self.balancer.next_state(terms, state, self._leaves, self._hypers())
            for name, value in moved.items():
                self._state[name].index_copy_(0, self.index, value)
        for name, adam in self._adams.items():
            found = gradients[f"{self.balancer.name}.{name}"]
            rows: Iterable[int] = self.rows
            if self._replayed:
                # Added, not copied: where a row is repeated, the gradients of the copies are zero.
                rows = range(self._width)
                found = found.new_zeros(self._width).index_add_(0, self.index, found)
            adam.step({name: dict(zip(rows, found.unbind(0), strict=True))})

    def _begun(self, terms: Terms) -> State:
        """Make the learned scalars leaves of a new graph; return the state before the step."""
        self._leaves = {
            n: self._pick(stack).detach().clone().requires_grad_()
            for n, stack in self._learned.items()
        }
        state = self._picked(self._state)
        self._seen = terms, state
        return state

    def remember(self) -> None:
        """Keep what the next step begins with: it changes the tensors in place."""
        self._before = _cloned(self._state), _cloned(self._learned)

    def balance_of(self, row: int, terms: Terms) -> tuple[float, float]:
        """Compute ln sigma^2 and k of ``row`` for ``terms``, in the step that was remembered.

        For several variances, the mean of their logarithms.
        """
        one = torch.tensor([row], device=self._device)

        def pick(stacks: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {n: stack[one] for n, stack in stacks.items()}

        state, learned = map(pick, self._before)
        at = self.balancer.balance(terms.rows(one), state, learned, pick(self._hyper))
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


def _cloned(stacks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: stack.clone() for name, stack in stacks.items()}


def numbered(steps: int, families: Sequence[Family]) -> Iterator[int]:
    """Numbers of ``steps`` steps; ``families`` remember what the last of them begins with.

    Only of the last is the balance asked, so the others cost nothing for it.
    """
    for step in range(steps):
        if step == steps - 1:
            for family in families:
                family.remember()
        yield step


class Losses(NamedTuple):
    """The losses of a step."""

    rows: Tensor
    """Whose they are, [n]: rows of the bank."""
    values: Tensor
    """[n], nats per image."""
    weighted: Tensor
    """The same, 0 for those that only fill a family up."""


def losses(families: Sequence[Family], terms: Terms) -> Losses:
    """The losses of all members, from the ``terms`` of all rows.

    A family reads its own rows only, and of the terms that may be as large as images only what it
    declares. What families have in common is computed row by row for all of them at once: small
    models' steps are made of the overhead of such operations.
    """
    ordered = sorted(families, key=lambda family: not family.usual)
    rows = torch.cat([family.index for family in ordered])
    counts = [len(family.index) for family in ordered]
    # Selected even if all rows are one family's: otherwise gradients would have another layout in
    # memory, on which the rounding of convolutions depends.
    all_of_them = len(terms.kl) == 1
    always = {n: getattr(terms, n) for n in ALWAYS}
    if not all_of_them:
        always = {n: term.index_select(0, rows) for n, term in always.items()}
    own, begin = [], 0
    for family, count in zip(ordered, counts, strict=True):
        # Not split, whose gradient is filled up with zeros for each family.
        part = {n: term.narrow(0, begin, count) for n, term in always.items()}
        for name in family.declared:
            term = getattr(terms, name)
            part[name] = term if all_of_them else term.index_select(0, family.index)
        own.append(Terms(**part))
        begin += count
    usual = sum(family.usual for family in ordered)
    if usual > 1:
        shared = {n: term.narrow(0, 0, sum(counts[:usual])) for n, term in always.items()}
        found = [_jointly(ordered[:usual], own[:usual], **shared)]
    else:
        usual, found = 0, []
    found += [family.loss(part) for family, part in zip(ordered[usual:], own[usual:], strict=True)]
    values = torch.cat(found) if len(found) > 1 else found[0]
    weights = [family.weights for family in ordered if family.weights is not None]
    return Losses(rows, values, values * torch.cat(weights) if weights else values)


def _jointly(
    families: Sequence[Family], own: Sequence[Terms], squared_error: Tensor, kl: Tensor
) -> Tensor:
    """Losses of families that have the usual one, each row's by the operations it has alone."""
    parts = [family.parts(terms) for family, terms in zip(families, own, strict=True)]
    rate = kl.sum(dim=(1, 2))
    if any(penalty is not None for _, penalty in parts):
        rates = torch.split(rate, [len(family.index) for family in families])
        given = zip(parts, rates, strict=True)
        rate = torch.cat([each if penalty is None else penalty for (_, penalty), each in given])
    log_sigma2 = torch.cat([balance.log_sigma2 for balance, _ in parts])
    k, images = torch.cat([balance.k for balance, _ in parts]), kl.shape[1]
    dims = families[0].balancer.shape.dims
    error = gaussian(squared_error.sum(dim=1), log_sigma2, dims, images)
    return torch.addcmul(error, k, rate, value=1 / images)


def drawn(families: Iterable[Family], draws: Tensor) -> Tensor:
    """The u of all members' images, [K, B], of their draws; 0 in rows without a member."""
    u = torch.zeros_like(draws)
    for family in families:
        u.index_copy_(0, family.index, family.drawn(draws))
    return u

"""What device time costs, in money."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

from vae_core.errors import UserError

_PRICE = re.compile(r"\s*([^\d\s.,+-]*)\s*(\d+(?:\.\d*)?|\.\d+)\s*([^\d\s/]*)\s*/\s*(h|hour)\s*")


@dataclass(frozen=True)
class Price:
    """Money an hour of one device costs; ``currency`` as it was written, "" if it was not."""

    amount: float
    currency: str

    @classmethod
    def read(cls, text: str) -> Price:
        """The price that ``text`` says, as in "2.5/h", "$2.5/h" or "2.5 EUR/h".

        Raises:
            UserError: it says none.
        """
        match = _PRICE.fullmatch(text)
        if match is None or not isfinite(float(match[2])):
            raise UserError(
                f"'{text}' is not a price",
                where="--price",
                remedy='give money for an hour of one device, as in "2.5/h" or "2.5 EUR/h"',
            )
        return cls(float(match[2]), match[1] or match[3])

    def of(self, seconds: float) -> float:
        """What ``seconds`` of one device cost."""
        return self.amount * seconds / 3600

    def text(self, seconds: float | None) -> str:
        """The same in words, a dash for what is not known."""
        if seconds is None:
            return "-"
        money = self.of(seconds)
        return (
            f"{money:,.2f} {self.currency}".rstrip()
            if money >= 0.1
            else f"{money:.2g} {self.currency}".rstrip()
        )

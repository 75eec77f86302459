from __future__ import annotations

import pytest

from study.analysis.answers.prices import Price
from study.analysis.answers.report import build_report
from study.analysis.records.tables import build_tables
from study.analysis.rendering.text import as_text
from vae_core.errors import UserError


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("2.5/h", 2.5, ""),
        ("$2.5/h", 2.5, "$"),
        ("2.5 EUR/h", 2.5, "EUR"),
        (" .9EUR / hour", 0.9, "EUR"),
    ],
)
def test_prices_as_people_write_them(text: str, amount: float, currency: str) -> None:
    assert Price.read(text) == Price(amount, currency)


@pytest.mark.parametrize("text", ["", "2.5", "/h", "-1/h", "2.5/day", "nan/h", "1e400/h", "2,5/h"])
def test_what_is_no_price_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UserError, match=r"2\.5/h"):
        Price.read(text)


def test_money_is_device_hours_times_the_price(whole: object) -> None:
    price = Price.read("$3600/h")  # a dollar a second
    report = build_report(build_tables(whole.entries), price=price)  # type: ignore[attr-defined]
    text = as_text(report)
    assert "in money at 3,600.00 $ a device hour" in " ".join(text.split())
    assert "36.25 $" in text, "all engines"
    assert price.text(None) == "-"
    assert price.text(0.01) == "0.01 $"

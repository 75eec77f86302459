"""Orders to a study from another terminal: one small file each, taken by the study's driver.

Whoever gives an order needs no lease, and the driver takes it whenever it runs: within seconds, or
at its next launch. An order is plain data. A file that is none (torn, or from elsewhere) is passed
over.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

ORDERS = "orders"
"""The folder of orders in a study's home."""

Order = dict[str, str]
"""``order``: "stop" (the study; with ``arm`` or ``trial``, that) or "retry" (with ``trial``)."""

_NAME = re.compile(r"\d{19}-\d+\.json")
_FORMS = {
    "stop": ({"order"}, {"order", "arm"}, {"order", "trial"}),
    "retry": ({"order", "trial"},),
}


def give(home: Path, order: Order) -> Path:
    """Leave ``order`` for the driver of the study in ``home``; return its file, gone once taken.

    Raises:
        ValueError: it is no order.
    """
    if not _is_order(order):
        raise ValueError(f"{order} is no order")
    folder = home / ORDERS
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.time_ns()}-{os.getpid()}.json"
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("w") as file:
        json.dump(order, file)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    return path


def waiting(home: Path) -> list[tuple[Path, Order]]:
    """Orders that nobody has taken yet, the earliest first, each with its file.

    Taking one is to act on it and then remove its file.
    """
    found = []
    for path in sorted((home / ORDERS).glob("*.json")):
        order = _read(path) if _NAME.fullmatch(path.name) else None
        if order is not None:
            found.append((path, order))
    return found


def given(path: Path) -> float:
    """When the order in ``path`` was given: seconds since the Unix epoch."""
    return int(path.name.partition("-")[0]) / 1e9


def described(order: Order) -> str:
    """An order in words: ``stop trial random.search.r0.0001``."""
    of = [f"{kind} {order[kind]}" for kind in ("arm", "trial") if kind in order]
    return " ".join([order["order"], *(of or ["the study"])])


def _read(path: Path) -> Order | None:
    if path.is_symlink() or not path.is_file():
        return None
    try:
        order = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # taken meanwhile; or no JSON
        return None
    return order if _is_order(order) else None


def _is_order(found: object) -> bool:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return False
    return set(found) in _FORMS.get(found.get("order", ""), ())

"""What several verbs print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.analysis import Report


def shown(make: Callable[[], Report]) -> Report:
    """The report that ``make`` returns; one that could not be saved is printed at least."""
    from study.analysis import render
    from study.managing.report import ReportNotSavedError

    try:
        return make()
    except ReportNotSavedError as error:
        render(error.report, sys.stdout)
        raise

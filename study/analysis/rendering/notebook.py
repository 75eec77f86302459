"""A report in a notebook: its first screen, its charts, and its tables as frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from study.analysis.answers.report import Report

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


class ShownReport(Report):
    """A report that shows itself in a notebook.

    In place of the value of a cell there is its first screen; :meth:`figures` are its charts,
    :meth:`table` its tables.
    """

    def __init__(
        self,
        report: Report,
        records: Mapping[str, pa.Table],
        home: Path,
        picture: str = "",
    ) -> None:
        """Wrap ``report``.

        Args:
            report: What it says.
            records: The tables that it was made of.
            home: The study's folder.
            picture: The arms' chart as SVG, if it could be drawn.
        """
        self.__dict__.update(vars(report), _records=records, _home=home, _picture=picture)

    def figures(self) -> dict[str, alt.TopLevelMixin]:
        """Its figures as Altair charts, by name; those with nothing to show are left out."""
        import altair as alt

        from study.analysis.rendering.figures.catalogue import figures

        found = figures(self, self.__dict__["_records"], self.__dict__["_home"])
        return {
            figure.name: alt.LayerChart.from_dict(figure.picture(), validate=False)
            for figure in found
            if figure.chart is not None
        }

    def table(self, name: str) -> pd.DataFrame:
        """A table of the report as a frame: numbers where a whole column is numbers.

        Args:
            name: One of :meth:`tables`, such as "arms".

        Raises:
            UserError: there is no such table.
        """
        from study.analysis.rendering.tables.catalogue import tables_by_name
        from study.analysis.rendering.tables.frames import frame
        from vae_core.errors import UserError, nearest

        found = tables_by_name(self)
        if name not in found:
            raise UserError(
                f"the report has no table '{name}'", where=self.name, remedy=nearest(name, found)
            )
        return frame(found[name])

    def tables(self) -> list[str]:
        """The names of its tables."""
        from study.analysis.rendering.tables.catalogue import tables_by_name

        return list(tables_by_name(self))

    def _repr_html_(self) -> str:
        from study.analysis.rendering.page.html import first_screen

        return first_screen(self, self.__dict__["_picture"])

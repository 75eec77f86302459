"""From a study's journal to its report: records < answers < rendering.

Nothing here runs a study.
"""

from study.analysis.answers.multi_study import SeveralReport, combine, several_summary
from study.analysis.answers.report import Report, build_report, summary
from study.analysis.records.tables import TABLE_FILES, build_tables, load, write_records
from study.analysis.rendering.first_screen import draw_first_screen, draw_joint_first_screen
from study.analysis.rendering.text import as_text, render

__all__ = [
    "TABLE_FILES",
    "Report",
    "SeveralReport",
    "as_text",
    "build_report",
    "build_tables",
    "combine",
    "draw_first_screen",
    "draw_joint_first_screen",
    "load",
    "render",
    "several_summary",
    "summary",
    "write_records",
]

"""What a study's records say: tables, statistics, verdict and report. Runs nothing."""

from study.analysis.answers.multi_study import SeveralReport, combine, several_summary
from study.analysis.answers.report import Report, build_report, summary
from study.analysis.records.tables import build_tables, load, write_records
from study.analysis.rendering.text import as_text, render

__all__ = [
    "Report",
    "SeveralReport",
    "as_text",
    "build_report",
    "build_tables",
    "combine",
    "load",
    "render",
    "several_summary",
    "summary",
    "write_records",
]

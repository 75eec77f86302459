"""What a study's records say: tables, statistics, verdict and report. Runs nothing."""

from study.analysis.records import build_tables, load, write_records
from study.analysis.render import as_text, render
from study.analysis.report import Report, build_report, summary
from study.analysis.several import SeveralReport, combine, several_summary

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

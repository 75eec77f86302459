"""What a study's records say: tables, statistics, verdict and report. Runs nothing."""

from study.analysis.records import build_tables, load, write_records
from study.analysis.render import as_text, render
from study.analysis.report import Report, build_report, summary

__all__ = [
    "Report",
    "as_text",
    "build_report",
    "build_tables",
    "load",
    "render",
    "summary",
    "write_records",
]

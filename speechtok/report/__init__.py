"""Pages people look at: statistics, plots and listening."""

from speechtok.report.page import write_report

__all__ = ["write_report"]

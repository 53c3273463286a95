"""Plans in words, for people."""

from splitter.report.plan_report import plan_report, plan_text

__all__ = ["plan_report", "plan_text"]

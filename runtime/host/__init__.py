"""Starts, feeds, watches and stops the nodes of a bundle, and reports how it went."""

from runtime.host.bundle import Bundle
from runtime.host.deployment import Deployment
from runtime.host.report import RunReport, run_report
from runtime.host.report_view import run_text, run_view
from runtime.host.requests import RequestTime

__all__ = [
    "Bundle",
    "Deployment",
    "RequestTime",
    "RunReport",
    "run_report",
    "run_text",
    "run_view",
]

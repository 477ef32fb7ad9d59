"""Reports: one model, and HTML, JSON, JUnit XML, Markdown and terminal text made from it and nothing else."""

from headgate.evals.report.build import Gated, Side, answer_of, build
from headgate.evals.report.console import plain, terminal
from headgate.evals.report.html_page import html
from headgate.evals.report.junit_xml import junit
from headgate.evals.report.model import Report
from headgate.evals.report.plain_json import json_bytes, read_report
from headgate.evals.report.pull_request import markdown

__all__ = [
    "Gated",
    "Report",
    "Side",
    "answer_of",
    "build",
    "html",
    "json_bytes",
    "junit",
    "markdown",
    "plain",
    "read_report",
    "terminal",
]

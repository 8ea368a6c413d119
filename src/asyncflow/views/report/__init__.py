"""The report of a run: one HTML file that needs nothing else, made of the run directory alone."""

from asyncflow.views.report.page import report

__all__ = ["report"]

"""Run directories: who drives a run, what it is, what happened in it, and which there are."""

from asyncflow.runs.directory import Run
from asyncflow.runs.entries import Entry, read_journal
from asyncflow.runs.journal import Journal
from asyncflow.runs.listing import Listed, list_runs
from asyncflow.runs.owner import driven_here

__all__ = ["Entry", "Journal", "Listed", "Run", "driven_here", "list_runs", "read_journal"]

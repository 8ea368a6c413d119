"""asyncflow with a run directory in which each result is kept."""

from contestants import asyncflow_journal


def opened():
    return asyncflow_journal.opened(checkpoint=True)

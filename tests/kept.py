"""Runs that keep results, for the tests of checkpoints: what is looked at, and damaged."""

from collections import Counter
from pathlib import Path

from asyncflow import TaskState
from asyncflow.runs import read_journal
from gates import until

#: The engines that keep results.
KINDS = ["dask", "threads", "processes"]


def counted(notes):
    """How often each thing was said, and forget it."""
    lines = Counter(notes.lines)
    Path(notes.path).unlink(missing_ok=True)
    return lines


async def is_done(future):
    """Wait until the call is done, without asking for its value."""
    await until(lambda: future.state is TaskState.DONE)


def damage(results, name="*"):
    """Cut the last byte off the result files that match."""
    found = list(results.glob(f"{name}-*"))
    assert found
    for path in found:
        path.write_bytes(path.read_bytes()[:-1])


def keys(results):
    """What is kept."""
    return [path.name for path in results.iterdir() if path.name != "OWNER"]


def told(tmp_path, session):
    """How often each state stands in the journal of one session."""
    journal = read_journal(tmp_path / "runs" / "campaign" / "journal.jsonl")
    return Counter(entry.state for entry in journal if entry.session == session)

"""What tests do with jobs of a stand-in: submit them, look at them, wait for what becomes of them."""

import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from asyncflow.testing import fake_queue
from conftest import eventually

#: A command that nobody waits for.
GONE = "sleep 30"

#: What each system calls a job's states, and a shell command that submits standard input.
WORDS = {
    "pbs": {"wait": "Q", "run": "R", "done": "F", "failed": "F", "submit": "qsub", "delete": "qdel", "ask": "qstat"},
    "lsf": {
        "wait": "PEND",
        "run": "RUN",
        "done": "DONE",
        "failed": "EXIT",
        "submit": "bsub",
        "delete": "bkill",
        "ask": "bjobs",
    },
}


@contextmanager
def home_in(directory, system, **options):
    """A stand-in whose jobs, submitted from `directory`, are at home there too: their files belong to the test."""
    with pytest.MonkeyPatch.context() as patch, fake_queue(system, directory / system, **options) as queue:
        patch.chdir(directory)
        patch.setenv("HOME", str(directory))
        yield queue


def run(*command, status=0, text=None, **options):
    """What a command of the stand-in prints on both streams, when it exits as expected."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, **options)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def submit(queue, script, *options, **more):
    """Submit a script from standard input, and say its job's id."""
    said = run(WORDS[queue.system]["submit"], *options, text=f"#!/bin/bash\n{script}\n", **more)
    return said.strip() if queue.system == "pbs" else re.match(r"Job <(\d+)>", said)[1]


def job(queue, number):
    return next(one for one in queue.jobs() if one.id == number)


def becomes(queue, number, state):
    """Wait until the job is in a state given by our own word for it."""
    word = WORDS[queue.system][state]
    assert eventually(lambda: job(queue, number).state == word), job(queue, number)
    return job(queue, number)


def reads(path, text):
    """Wait until a file has a text."""
    assert eventually(lambda: Path(path).exists() and text in Path(path).read_text()), Path(path)

"""The one door to dask-jobqueue: its keys are known, its configuration stays outside, and so do its signal handlers."""

import signal
import subprocess
import sys
import threading

import dask
import pytest

from asyncflow import clusters
from asyncflow.queues import jobqueue
from test_queue_config import COMPLETE, KINDS, problems, script


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_of_the_installed_job_classes_is_known(kind):
    """A parameter that a new version of dask-jobqueue brings becomes a key, or has an entry in ``instead``."""
    config = clusters.load(kind).Config
    parameters = jobqueue.known_keys(config.job_class)
    assert parameters - set(config.model_fields) - set(config.instead) == set()
    assert not set(config.model_fields) & set(config.instead)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_that_has_no_other_use_is_a_parameter(kind):
    """A key that the installed version would not take is none of the file's faults; all of ours are taken now."""
    config = clusters.load(kind).Config
    from asyncflow.queues.poolkeys import QueueSettings

    rest = set(config.model_fields) - set(QueueSettings.model_fields) - jobqueue.OURS - {"pools"}
    assert rest <= jobqueue.known_keys(config.job_class)


def test_a_key_that_the_installed_dask_jobqueue_lacks_is_refused(write, monkeypatch):
    """An older version would have dropped it without a word, or failed far from the file."""
    lacking = jobqueue.known_keys("SLURMJob") - {"job_cpu"}
    monkeypatch.setattr(jobqueue, "known_keys", lambda name: lacking)
    file = write(COMPLETE.format(kind="slurm") + "  job_cpu: 3")
    version = jobqueue.version()
    assert problems(file) == (
        f"{file}:5: cluster.job_cpu: is not a key of the installed dask-jobqueue ({version}); leave it out, or upgrade it"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_dasks_own_configuration_does_not_leak_into_scripts(tmp_path, kind):
    """One file decides: what ``jobqueue.yaml`` of the user, or of the site, says is not asked."""
    plain = script(kind, tmp_path)
    theirs = {"queue": "theirs", "account": "x", "project": "x", "interface": "ib7", "job-extra-directives": ["-x"]}
    theirs |= {"job-script-prologue": ["theirs"], "python": "python9", "env-extra": ["a"], "walltime": "09:09:09"}
    with dask.config.set({f"jobqueue.{kind}": theirs, "jobqueue.asyncflow.queue": "theirs"}):
        before = dask.config.get("jobqueue")
        assert script(kind, tmp_path) == plain
        assert dask.config.get("jobqueue") == before


# Imports and signals


def _fresh(program):
    """What a new interpreter prints."""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_importing_the_kinds_imports_no_dask():
    """``asyncflow kinds``, and checking a file of another kind, cost nothing of it."""
    program = "import asyncflow.clusters.slurm, asyncflow.clusters.pbs, asyncflow.clusters.lsf, sys\n"
    program += "print({'dask', 'distributed', 'dask_jobqueue'} & set(sys.modules))"
    assert _fresh(program) == "set()\n"


_MAKE_A_JOB = """
import signal, sys, threading
sys.path.insert(0, {tests!r})
def make():
    import pathlib
    from test_queue_config import script
    return script("slurm", pathlib.Path({directory!r}))
"""


def test_loading_and_making_a_job_leaves_the_signals_alone(request, tmp_path):
    """Importing dask_jobqueue would make Ctrl-C end the process with status 0."""
    program = _MAKE_A_JOB.format(tests=str(request.path.parent), directory=str(tmp_path))
    program += "before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]\nmake()\n"
    program += "assert 'dask_jobqueue' in sys.modules\n"
    program += "assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before\nprint('same')"
    assert _fresh(program) == "same\n"


def test_a_job_can_be_made_off_the_main_thread(request, tmp_path):
    """Where dask_jobqueue by itself cannot even be imported."""
    program = _MAKE_A_JOB.format(tests=str(request.path.parent), directory=str(tmp_path))
    program += (
        "made = []\nthread = threading.Thread(target=lambda: made.append(make()))\nthread.start()\nthread.join()\n"
    )
    program += "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\nprint(len(made))"
    assert _fresh(program) == "1\n"


def test_handlers_that_others_set_meanwhile_stay(monkeypatch):
    """Only the import's own call is held back; the main thread's goes through at the same time."""
    within, done = threading.Event(), threading.Event()

    def importing():
        with jobqueue._signals_held_back():
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # as runner.py does; off the main thread it would raise
            within.set()
            done.wait(10)

    thread, before = threading.Thread(target=importing), signal.getsignal(signal.SIGUSR1)
    real = signal.signal
    thread.start()
    try:
        assert within.wait(10)
        assert signal.getsignal(signal.SIGUSR1) == before
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert signal.signal is real

"""What is logged, how much of it, in which form, and of which body lines on workers are."""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from textwrap import dedent

import pytest

from asyncflow import WorkflowEngine
from asyncflow.logs import Fields, JsonFormatter, StderrHandler, TextFormatter, configure, configure_worker, job_of
from conftest import open_engine

CONFIG = "cluster: {kind: local, n_workers: 1, threads_per_worker: 1, dashboard_address: null}"

SCRIPT = """
import asyncio, logging
from asyncflow import WorkflowEngine

async def main():
    async with WorkflowEngine.create() as flow:
        @flow.function_task
        def simulate():
            logging.getLogger("mine").warning("no convergence")
            logging.getLogger("mine").info("unseen")
            logging.getLogger("asyncflow.body").debug("deep inside")

        @flow.function_task
        async def relax():
            await asyncio.sleep(0)
            logging.getLogger("mine").warning("slow")

        @flow.function_task(timeout=20)
        def timed():
            logging.getLogger().warning("on another thread")

        await asyncio.gather(simulate(), relax(), timed())

asyncio.run(main())
"""


@pytest.fixture
def run(tmp_path):
    """Run the script by the command line with `words`; what came on standard error."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    (tmp_path / "script.py").write_text(dedent(SCRIPT))

    def _run(*words, status=0, **environ):
        done = subprocess.run(
            [sys.executable, "-m", "asyncflow", "run", "--config", "c.yaml", "--resume", "r", *words, "script.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | environ,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        return done.stderr

    return _run


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Handlers and levels that a test sets are set back."""
    logger, last = logging.getLogger("asyncflow"), logging.lastResort
    level, handlers = logger.level, logger.handlers[:]
    filters, formatter = last.filters[:], last.formatter
    yield
    logger.setLevel(level)
    logger.handlers[:], last.filters[:] = handlers, filters
    last.setFormatter(formatter)


# On workers


def test_a_line_of_a_body_tells_run_task_and_job(run):
    """Warnings of bodies, on any thread and by any logger, name run, call and batch job; less is not shown."""
    err = run(SLURM_JOB_ID="4711")
    for name, text in (("simulate", "no convergence"), ("relax", "slow"), ("timed", "on another thread")):
        assert re.search(rf"^\S+ WARNING run r, task {name}-\w+, job 4711: {text}$", err, re.MULTILINE), err
    assert "unseen" not in err
    assert "deep inside" not in err


def test_verbose_shows_what_our_loggers_say_on_workers_too(run):
    """``--verbose`` reaches the workers; loggers of others are left alone."""
    err = run("--verbose")
    assert re.search(r"DEBUG   run r, task simulate-\w+: deep inside$", err, re.MULTILINE), err
    assert "unseen" not in err


def test_json_lines_can_be_read_by_programs(run):
    """On request each line of driver and workers is one JSON object, with run, task and job where there are any."""
    lines = run("--log-format", "json", "--no-progress", PBS_JOBID="17.server").splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    (told,) = [record for record in records if record["message"] == "no convergence"]
    assert (told["run"], told["task"], told["job"], told["logger"]) == ("r", "simulate", "17.server", "mine")
    assert told["task_id"].startswith("simulate-")
    drivers = [record for record in records if record["message"].startswith("Shutdown")]
    assert [(record["run"], record["level"]) for record in drivers] == [("r", "info")]


# How much


def test_the_environment_says_how_much_unless_an_option_does(run):
    """``ASYNCFLOW_LOG_LEVEL`` is what ``--log-level`` is, which wins; nonsense is refused before the script begins."""
    assert "Shutdown" not in run(ASYNCFLOW_LOG_LEVEL="warning")
    assert "Shutdown" in run("--log-level", "info", ASYNCFLOW_LOG_LEVEL="warning")
    assert "ASYNCFLOW_LOG_LEVEL is 'loud'; set it to debug" in run(ASYNCFLOW_LOG_LEVEL="loud", status=2)
    assert "contradict" in run("--quiet", "--verbose", status=2)


async def test_an_engine_of_any_script_heeds_the_environment(monkeypatch, capsys):
    """Without ``asyncflow run`` the library is silent beyond warnings, unless the environment asks for more."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
    async with open_engine("threads"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("ASYNCFLOW_LOG_LEVEL", "info")
    async with open_engine("threads"):
        pass
    assert "INFO    Shutdown is triggered" in capsys.readouterr().err
    monkeypatch.setenv("ASYNCFLOW_LOG_LEVEL", "loud")
    with pytest.raises(ValueError, match="ASYNCFLOW_LOG_LEVEL is 'loud'"):
        await WorkflowEngine.create(dry_run=True)


def test_handlers_are_added_once(capsys):
    """However often it is asked for, and by however many engines, a line is told once."""
    configure("info")
    configure("debug")
    configure_worker({"ASYNCFLOW_LOG_LEVEL": "debug"})
    logging.getLogger("asyncflow").debug("told")
    assert len([each for each in logging.getLogger("asyncflow").handlers if isinstance(each, StderrHandler)]) == 1


# A handler of one's own


async def test_any_handler_can_tell_whose_line_it_is():
    """`Fields` gives records their run, task and id, in bodies of functions and of blocks, and not elsewhere."""
    seen = []

    class Kept(logging.Handler):
        def emit(self, record):
            seen.append((record.getMessage(), record.run, record.task, record.task_id))

    logger, handler = logging.getLogger("mine"), Kept()
    handler.addFilter(Fields())
    logger.addHandler(handler)
    try:
        async with open_engine("dask", uid="campaign") as flow:

            @flow.function_task
            def inner():
                logging.getLogger("mine").warning("inside a task that was called as a function")

            @flow.function_task
            def outer():
                inner()

            @flow.block
            async def block():
                logging.getLogger("mine").warning("in a block")

            calls = outer(), block()
            await asyncio.gather(*calls)
            logger.warning("outside")
    finally:
        logger.removeHandler(handler)
    assert sorted(seen) == [
        ("in a block", "campaign", "block", calls[1].id),
        ("inside a task that was called as a function", "campaign", "outer", calls[0].id),
        ("outside", "", "", ""),
    ]


def test_forms_of_a_line():
    """Text says what is known and nothing else; JSON has an error's traceback in one field."""
    record = logging.LogRecord("mine", logging.WARNING, "", 1, "%s of %s", ("1", "2"), None)
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING 1 of 2", TextFormatter().format(record))
    try:
        raise ValueError("no")
    except ValueError:
        record.exc_info = sys.exc_info()
    told = json.loads(JsonFormatter().format(record))
    assert (told["level"], told["message"]) == ("warning", "1 of 2")
    assert told["error"].endswith("ValueError: no")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["time"])
    assert not {"run", "task", "job"} & told.keys()


@pytest.mark.parametrize(("name", "value"), [("SLURM_JOB_ID", "1"), ("PBS_JOBID", "2.s"), ("LSB_JOBID", "3")])
def test_a_job_is_known_by_its_environment(name, value):
    """Each batch system says in a variable of its own which job it is."""
    assert job_of({name: value}) == value
    assert job_of({}) == ""

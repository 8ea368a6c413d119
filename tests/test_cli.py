"""The command line: what it prints, how it exits, and how little it loads to answer."""

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

import pytest
from click import BadOptionUsage

from asyncflow import clusters
from asyncflow.cli._either_side import own_first
from asyncflow.cli.run import command as run

CONFIGS = Path(__file__).parent.parent / "configs"

# A shell that starts the suite in its background has SIGINT ignored, and children inherit that.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def asyncflow(*words, python=(), cwd=None, **environ):
    """Run the command line in a process of its own."""
    env = {key: value for key, value in os.environ.items() if key != "ASYNCFLOW_CONFIG"} | environ
    command = [sys.executable, *python, "-m", "asyncflow", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=60, check=False)


@pytest.fixture
def script(tmp_path):
    """Write a script, and say where it is."""

    def _script(text, name="script.py"):
        file = tmp_path / name
        file.write_text(dedent(text))
        return file

    return _script


@pytest.fixture
def started():
    """Start a script that says "ready", and hand over its process when it did."""
    processes = []

    def _started(file):
        process = subprocess.Popen(
            [sys.executable, "-m", "asyncflow", "run", file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield _started
    for process in processes:
        process.kill()
        process.communicate()


def loaded(*words, cwd=None):
    """The top-level packages that the command line imports to answer."""
    lines = asyncflow(*words, python=["-X", "importtime"], cwd=cwd).stderr.splitlines()
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}


# The group


def test_help_lists_every_command():
    """Each command is named with one line about it."""
    done = asyncflow("--help")
    assert done.returncode == 0
    for name in ("check", "clean", "kinds", "run", "script", "submit"):
        assert f"\n  {name} " in done.stdout


def test_help_loads_nothing_heavy():
    """``asyncflow --help`` answers at once: without dask, pydantic, yaml or rich."""
    assert not loaded("--help") & {"dask", "distributed", "pydantic", "yaml", "rich"}


def test_the_version_is_that_of_the_installed_package():
    """``--version`` says what pip knows."""
    assert asyncflow("--version").stdout.strip().endswith(version("asyncflow"))


def test_an_unknown_command_is_a_usage_error():
    """A misspelt command exits with 2."""
    assert asyncflow("rnu").returncode == 2


# check and kinds


def test_check_says_what_is_ok():
    """A good file is named with its kind and the names of its keys, and the exit status is 0."""
    done = asyncflow("check", CONFIGS / "local.yaml")
    expected = "ok (kind local, memory_limit, n_workers, threads_per_worker, defaults retries)"
    assert (done.returncode, done.stdout) == (0, f"{CONFIGS / 'local.yaml'}: {expected}\n")


def test_check_tells_every_problem_of_every_file(tmp_path):
    """All files are checked, whatever was wrong before, and the exit status is 1."""
    (tmp_path / "a.yaml").write_text("cluster: {kind: local, n_workers: two}\ndefaults: {retries: -1}")
    (tmp_path / "b.yaml").write_text("defaults: {retries: 1}")
    done = asyncflow("check", "a.yaml", "missing.yaml", "b.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "a.yaml:1: cluster.n_workers: must be a whole number, not 'two'",
        "a.yaml:2: defaults.retries: must be at least 0, not -1",
        (
            f"missing.yaml: there is no such file ({tmp_path / 'missing.yaml'}); "
            "give the path of a YAML file to config= or --config"
        ),
        "b.yaml: ok (kind local, defaults retries)",
    ]


def test_check_without_a_file_is_a_usage_error():
    """There is nothing to check without a file."""
    assert asyncflow("check").returncode == 2


def test_check_and_kinds_load_no_dask():
    """A configuration is checked, and kinds are listed, without dask."""
    for words in (["check", str(CONFIGS / "local.yaml")], ["kinds"]):
        assert not loaded(*words) & {"dask", "distributed", "dask_jobqueue", "tornado"}


def test_kinds_lists_every_kind_with_its_keys():
    """Each kind has its name, what it is, and its keys."""
    done = asyncflow("kinds", COLUMNS="200")
    assert done.returncode == 0
    for kind in clusters.kinds():
        assert kind in done.stdout
        for key in clusters.load(kind).Config.model_fields:
            assert key in done.stdout


# run: whose words are whose


@pytest.mark.parametrize(
    ("words", "sorted_out"),
    [
        ("s.py", "-- s.py"),
        ("-c f s.py a", "-c f -- s.py a"),
        ("s.py a --config f b", "--config=f -- s.py a b"),
        ("s.py --config=f --log-level debug", "--config=f --log-level=debug -- s.py"),
        ("s.py -c f --help --conf x", "-- s.py -c f --help --conf x"),
        ("--config f s.py -- --config theirs -- x", "--config f -- s.py --config theirs -- x"),
        ("--config f -- s.py a", "--config f -- s.py a"),
        ("--log-level info s.py s.py", "--log-level info -- s.py s.py"),
        ("--help", "--help"),
        ("", ""),
    ],
)
def test_words_after_the_script_are_its_own_except_two_long_options(words, sorted_out):
    """--config and --log-level belong to asyncflow on either side of the script, up to a ``--``."""
    assert own_first(words.split(), run.params) == sorted_out.split()


def test_an_option_at_the_end_needs_its_value():
    """``--config`` as the last word is a usage error, not an argument of the script."""
    with pytest.raises(BadOptionUsage, match="requires an argument"):
        own_first(["s.py", "--config"], run.params)


# run: as python would


def test_the_script_sees_what_python_would_show_it(script, tmp_path):
    """Arguments, ``__main__``, the module path and the configuration are as for a script that python runs."""
    script("WORD = 'beside'", name="neighbour_of_script.py")
    file = script("""
        import os, sys
        from neighbour_of_script import WORD
        assert __name__ == "__main__" and sys.modules["__main__"].WORD == "beside"
        print(sys.argv[1:], WORD, sys.path[0], os.environ["ASYNCFLOW_CONFIG"])
    """)
    (tmp_path / "c.yaml").touch()
    done = asyncflow("run", file.name, "a", "--steps", "5", "--config", "c.yaml", "-v", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"['a', '--steps', '5', '-v'] beside {tmp_path} {tmp_path / 'c.yaml'}\n"


def test_without_config_the_environment_is_left_alone(script):
    """A script without ``--config`` sees the ASYNCFLOW_CONFIG that is there."""
    file = script("import os; print(os.environ['ASYNCFLOW_CONFIG'])")
    assert asyncflow("run", file, ASYNCFLOW_CONFIG="theirs.yaml").stdout == "theirs.yaml\n"


@pytest.mark.parametrize(
    ("text", "status", "stderr"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('no input')", 1, "no input\n"),
    ],
)
def test_the_exit_status_of_the_script_is_passed_on(script, text, status, stderr):
    """``sys.exit`` means under asyncflow what it means under python."""
    done = asyncflow("run", script(text))
    assert (done.returncode, done.stderr) == (status, stderr)


def test_a_traceback_begins_in_the_script(script):
    """An exception prints what python would print, no frame of ours, and exits with 1."""
    file = script("""\
        def fail():
            raise ValueError("seven")
        fail()
    """)
    done = asyncflow("run", file)
    ours, theirs = done, subprocess.run([sys.executable, file], capture_output=True, text=True, check=False)
    assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr)
    assert ours.returncode == 1


def test_a_script_that_does_not_parse_shows_its_line(script):
    """A syntax error is shown as python shows it."""
    file = script("x = = 1")
    done, theirs = asyncflow("run", file), subprocess.run([sys.executable, file], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, theirs.stderr.decode())


def test_a_missing_script_is_a_usage_error(tmp_path):
    """The path is named, and the exit status is 2."""
    done = asyncflow("run", tmp_path / "missing.py")
    assert done.returncode == 2
    assert "missing.py' does not exist" in done.stderr


def test_a_faulty_configuration_is_told_before_the_script_begins(script, tmp_path):
    """Its problems are printed as they are, without a traceback, and the exit status is 2."""
    (tmp_path / "bad.yaml").write_text("cluster: {kind: local, n_workers: two}")
    done = asyncflow("run", script("print('began')"), "--config", "bad.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bad.yaml:1: cluster.n_workers: must be a whole number, not 'two'\n"


def test_a_faulty_configuration_inside_the_script_is_told_as_plainly(script):
    """A ConfigError that the script does not catch is its lines, and exit status 2."""
    file = script("""
        from asyncflow.config import load_settings
        load_settings({"cluster": {"kind": "local", "n_workers": 0}})
    """)
    done = asyncflow("run", file)
    assert (done.returncode, done.stderr) == (2, "cluster.n_workers: must be at least 1, not 0\n")


def test_what_asyncflow_logs_is_shown_from_the_level_asked_for(script):
    """Records of the asyncflow logger go to standard error, and not twice where the script logs itself."""
    log = "import logging; logging.getLogger('asyncflow.x').info('told')\n"
    assert asyncflow("run", script(log)).stderr.endswith("INFO    told\n")
    assert asyncflow("run", script(log), "--log-level", "warning").stderr == ""
    own = "import logging; logging.basicConfig(level='INFO', format='mine: %(message)s')\n"
    assert asyncflow("run", script(own + log)).stderr == "mine: told\n"


# run: signals

WAITING = """
import asyncio
async def main():
    try:
        print("ready")
        await asyncio.Event().wait()
    finally:
        print("closing")
        {closing}
        print("closed")
asyncio.run(main())
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_cancel_the_main_task_and_set_the_exit_status(script, started, number, status):
    """What is open closes in order: the main task is cancelled, as Ctrl-C does under asyncio.run."""
    process = started(script(INTERRUPTIBLE + WAITING.format(closing="await asyncio.to_thread(print, 'still async')")))
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert out == "closing\nstill async\nclosed\n"
    assert process.returncode == status
    assert err == f"asyncflow: {'interrupted' if number == signal.SIGINT else 'terminated'}\n"


def test_sigterm_stops_a_script_without_a_loop(script, started):
    """A plain script ends with KeyboardInterrupt, its ``finally`` clauses included."""
    text = "import threading\ntry:\n    print('ready'); threading.Event().wait()\nfinally:\n    print('closed')"
    process = started(script(INTERRUPTIBLE + text))
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "closed\n"
    assert process.returncode == 143


def test_sigterm_stops_a_script_that_ignores_ctrl_c(script, started):
    """Jobs in the background of a shell have SIGINT ignored; SIGTERM ends them in order all the same."""
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    process = started(script(ignoring + WAITING.format(closing="pass")))
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "closing\nclosed\n"
    assert process.returncode == 143


def test_a_second_sigterm_does_not_break_off_what_the_first_began(script, started):
    """Batch systems send SIGTERM more than once before they kill."""
    closing = "import sys; await asyncio.to_thread(sys.stdin.readline)"
    process = started(script(INTERRUPTIBLE + WAITING.format(closing=closing)))
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "closing\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate("\n", timeout=30)
    assert (out, process.returncode) == ("closed\n", 143)


def test_a_second_ctrl_c_does_not_wait(script, started):
    """Somebody who presses Ctrl-C again wants out now."""
    process = started(script(INTERRUPTIBLE + WAITING.format(closing="await asyncio.Event().wait()")))
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "closing\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert ("closed" in out, process.returncode) == (False, 130)


def test_a_script_that_handles_its_interruption_keeps_its_status(script, started):
    """The exit status is the script's own if it does not let the interruption through."""
    text = "import sys, threading\ntry:\n    print('ready'); threading.Event().wait()\nexcept KeyboardInterrupt:\n    sys.exit(5)"
    process = started(script(INTERRUPTIBLE + text))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 5

"""Run directories: begun once, resumed often, driven by one process at a time, known for what they are."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncflow.config import load_settings
from asyncflow.errors import RunDirectoryError
from asyncflow.runs import Run, list_runs
from asyncflow.runs import owner as owner_module
from asyncflow.runs.journal import Journal
from asyncflow.runs.journal import Line as Event
from asyncflow.runs.owner import LOCK, OWNER, read_owner
from asyncflow.runs.record import RECORD, read_record
from asyncflow.runs.sealed import seal


@pytest.fixture
def begin(tmp_path):
    """Begin a run below the test's directory; those left open are closed."""
    opened = []

    def _begin(name="campaign", **options):
        opened.append(Run.begin(tmp_path, name, **options))
        return opened[-1]

    yield _begin
    for run in opened:
        run.close()


@pytest.fixture
def driver(tmp_path):
    """Another process that drives the run ``campaign``."""
    code = """if True:
        import sys
        from asyncflow.runs import Run
        run = Run.begin(sys.argv[1], "campaign", resume=True)
        print("driving", flush=True)
        sys.stdin.read()
        run.close()
    """
    started = []

    def _driver():
        words = [sys.executable, "-c", dedent(code), str(tmp_path)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "driving\n"
        return process

    yield _driver
    for process in started:
        process.kill()
        process.communicate()


def rewrite(directory, **facts):
    """Say something else of the driver, as another driver would have."""
    owner = read_owner(directory)._replace(**facts)
    (directory / OWNER).write_text(json.dumps(seal(owner._asdict())))


def states(tmp_path):
    return {run.name: str(run.state) for run in list_runs(tmp_path)}


def test_a_run_has_a_directory_of_its_owner_only(begin):
    """Nobody else looks into it; subdirectories come when they are used."""
    run = begin()
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {path.name for path in run.path.iterdir() if path.is_dir()} == {"logs"}
    assert sorted(path.name for path in run.path.iterdir()) == ["journal.jsonl", "logs", OWNER, LOCK, RECORD]
    assert run.make("tasks") == run.tasks == run.make("tasks")
    assert stat.S_IMODE(run.tasks.stat().st_mode) == 0o700
    assert not run.results.exists()


def test_the_record_says_what_the_run_is(begin):
    """Configuration, versions, command line, host, user, and each session."""
    begin(config={"cluster": {"kind": "local"}}, results="s3://bucket/run").close()
    begin(resume=True, config={"cluster": {"kind": "slurm"}}).close()
    record = yaml.safe_load((begin("other").path.parent / "campaign" / RECORD).read_text())
    assert record["config"] == {"cluster": {"kind": "slurm"}}
    assert record["results"] is None
    assert set(record["versions"]) == {"python", "asyncflow", "dask", "distributed"}
    assert (record["command"], record["pid"], record["directory"]) == (sys.argv, os.getpid(), str(Path.cwd()))
    assert [session["session"] for session in record["sessions"]] == [1, 2]
    assert record["created"] == record["sessions"][0]["began"]


def test_values_of_the_environment_are_not_recorded(begin):
    """References to it are kept as they were written."""
    config = {
        "cluster": {"kind": "slurm", "cores": "${N}", "memory": "1GB", "job_extra_directives": ["--comment=${SECRET}"]},
        "defaults": {"env": {"TOKEN": "${SECRET}", "PLAIN": "here"}},
    }
    data = load_settings(config, {"N": "2", "SECRET": "hunter2"}).as_data()
    text = (begin(config=data).path / RECORD).read_text()
    assert "hunter2" not in text
    recorded = yaml.safe_load(text)["config"]
    assert recorded["cluster"]["cores"] == "${N}"
    assert recorded["cluster"]["job_extra_directives"] == ["--comment=${SECRET}"]
    assert recorded["defaults"]["env"] == {"TOKEN": "${SECRET}", "PLAIN": "here"}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)
    )
)
def test_whatever_a_configuration_holds_can_be_recorded(tmp_path_factory, config):
    """The record is whole after it was read back."""
    directory = tmp_path_factory.mktemp("runs")
    run = Run.begin(directory, "one", config=config)
    run.close()
    assert read_record(run.path)["session"] == 1


def test_a_run_is_not_begun_twice(begin):
    """Unless it is to be resumed; the refused attempt leaves it as it was."""
    begin().close()
    with pytest.raises(RunDirectoryError, match=r"exists already.*--resume campaign, resume=True.*another name"):
        begin()
    run = begin(resume=True)
    assert (run.session, run.resumed) == (2, True)


def test_resuming_a_run_that_does_not_exist_begins_it(begin):
    """One command line serves for the first time and for all others."""
    run = begin(resume=True)
    assert (run.session, run.resumed) == (1, False)


def test_each_session_has_a_token_of_its_own(begin):
    """Workers of different sessions can be told apart."""
    first = begin()
    first.close()
    second = begin(resume=True)
    assert first.token != second.token
    assert (second.store_url, second.results.name) == (str(second.results), "results")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/", "new\nline", "x" * 201])
def test_names_are_names_of_directories(begin, name):
    """Nothing outside of the working directory, nothing hidden."""
    with pytest.raises(RunDirectoryError, match="a run cannot be called"):
        begin(name)


def test_a_directory_that_cannot_be_written_is_named(begin, tmp_path):
    """With what to set instead."""
    (tmp_path / "campaign").write_text("a file")
    with pytest.raises(RunDirectoryError, match=r"run campaign cannot be kept in .*File exists.*ASYNCFLOW_WORK_DIR"):
        begin()


def test_a_beginning_that_was_killed_is_begun_again(begin, tmp_path):
    """Neither an empty directory nor half-written files count as a run."""
    (tmp_path / "campaign").mkdir()
    (tmp_path / "campaign" / LOCK).touch()
    (tmp_path / "campaign" / f".{OWNER}.12345678").write_text("{")
    assert begin().session == 1


def test_a_run_has_one_driver(begin, driver):
    """Another is refused with the host and number of the first, until that has ended, and the run goes on after."""
    process = driver()
    for options in ({}, {"resume": True}):
        with pytest.raises(RunDirectoryError, match=rf"is driven by process {process.pid} on \S+ .*another name"):
            begin(**options)
    process.communicate("")
    assert begin(resume=True).session == 2


def test_a_killed_driver_leaves_its_run_to_the_next(begin, driver, tmp_path):
    """Whether it is a zombie by then or gone."""
    process = driver()
    assert states(tmp_path) == {"campaign": "running"}
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert states(tmp_path) == {"campaign": "killed"}
    assert begin(resume=True).session == 2


def test_two_engines_of_one_process_do_not_share_a_run(begin, driver):
    """The refused one takes no lock from the other."""
    run = begin()
    with pytest.raises(RunDirectoryError, match=f"process {os.getpid()} on"):
        begin(resume=True)
    rewrite(run.path, host="elsewhere")
    code = "import sys; from asyncflow.runs import Run; Run.begin(sys.argv[1], 'campaign', resume=True)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path.parent)], capture_output=True, text=True, check=False
    )
    assert "RunDirectoryError: run campaign is driven by" in done.stderr


def test_a_driver_on_another_host_is_known_by_its_lock(begin, driver, tmp_path):
    """While it is held the driver lives; then the run may be had. A machine that is gone is a file to delete."""
    process = driver()
    directory = tmp_path / "campaign"
    rewrite(directory, host="elsewhere")
    assert states(tmp_path) == {"campaign": "running"}
    with pytest.raises(RunDirectoryError, match=r"on elsewhere.*gone for good, delete .*owner.lock"):
        begin(resume=True)
    process.kill()
    process.wait()
    assert states(tmp_path) == {"campaign": "killed"}
    assert begin(resume=True).session == 2


def test_the_lock_of_a_machine_that_is_gone_can_be_deleted(begin, driver, tmp_path):
    """As the message says; whatever holds it holds nothing then."""
    driver()
    rewrite(tmp_path / "campaign", host="elsewhere")
    (tmp_path / "campaign" / LOCK).unlink()
    assert begin(resume=True).session == 2


def test_where_locks_do_not_work_a_run_is_taken_over_with_a_warning(begin, driver, tmp_path, monkeypatch, caplog):
    """Of a driver on another host nothing is known there; its workers are fenced off."""
    driver()
    rewrite(tmp_path / "campaign", host="elsewhere", locked=False)
    assert states(tmp_path) == {"campaign": "unknown"}

    def lockf(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(owner_module.fcntl, "lockf", lockf)
    assert begin(resume=True).session == 2
    assert "whether its driver, process" in caplog.text
    assert "cannot be told from here" in caplog.text


def test_who_was_taken_over_does_not_give_up_the_run_of_the_other(begin):
    """Closing late leaves the new owner's name where it stands."""
    first = begin()
    rewrite(first.path, token="another", pid=1)
    first.close()
    assert (read_owner(first.path).token, read_owner(first.path).ended) == ("another", None)


def test_two_that_resume_at_once_do_not_both_get_the_run(tmp_path):
    """Of ten that begin in one moment, one drives and nine are refused."""
    code = """if True:
        import sys
        from asyncflow.runs import Run
        from asyncflow.errors import RunDirectoryError
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            run = Run.begin(sys.argv[1], "campaign", resume=True)
        except RunDirectoryError:
            print("refused", flush=True)
        else:
            print("mine", flush=True)
            sys.stdin.read()
            run.close()
    """
    words = [sys.executable, "-c", dedent(code), str(tmp_path)]
    racing = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(10)]
    for process in racing:
        assert process.stdout.readline() == "ready\n"
    for process in racing:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.stdout.readline() for process in racing]
    for process in racing:
        process.communicate("")
    assert sorted(told) == ["mine\n", *["refused\n"] * 9]


@pytest.mark.parametrize("name", [OWNER, RECORD])
def test_a_file_that_was_deleted_is_made_again(begin, name):
    """Kept results do not depend on it."""
    run = begin()
    run.close()
    (run.path / name).unlink()
    assert begin(resume=True).session == 2
    assert (run.path / name).exists()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255))
@pytest.mark.parametrize("name", [OWNER, RECORD])
def test_damage_is_refused_by_the_name_of_the_file(tmp_path_factory, name, where, flip):
    """A cut or a flipped byte anywhere: refused with a remedy that works, or it changed nothing that is said."""
    directory = tmp_path_factory.mktemp("runs")
    run = Run.begin(directory, "campaign", config={"cluster": {"kind": "local"}})
    run.close()
    file = run.path / name
    whole = file.read_bytes()
    place = int(where * len(whole))
    damaged = whole[:place] if flip == 0 else whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :]
    before = read_owner(run.path), read_record(run.path)
    file.write_bytes(damaged)
    try:
        now = read_owner(run.path), read_record(run.path)
        again = Run.begin(directory, "campaign", resume=True)
    except RunDirectoryError as error:
        assert str(file) in str(error)
        assert "delete" in str(error)
        assert error.path == str(file)
        assert states(directory) == {"campaign": "damaged"}
        file.unlink()
        again = Run.begin(directory, "campaign", resume=True)
    else:
        assert now == before
    again.close()
    assert again.session == 2


def test_runs_are_listed_with_what_became_of_them(begin, tmp_path):
    """The latest first; ended ones from their last line, killed ones from all lines of their last session."""
    ended = begin("ended")
    for kind in ("called", "called", "done", "failed"):
        ended.journal.take(Event(1.0, kind, "key", "task", {}))
    ended.close()
    killed = begin("killed")
    killed.close()
    rewrite(killed.path, ended=None, pid=1, began=0)
    journal = Journal(killed.path / "journal.jsonl", 2)
    journal.take(Event(1.0, "called", "key", "task", {}))
    journal.close()
    lines = (killed.path / "journal.jsonl").read_text().splitlines(keepends=True)
    (killed.path / "journal.jsonl").write_text("".join(lines[:-1]))
    (tmp_path / "no-run").mkdir()
    found = list_runs(tmp_path)
    assert [(run.name, str(run.state), run.unfinished, run.is_resumable) for run in found] == [
        ("killed", "killed", 1, True),
        ("ended", "ended", 0, True),
    ]
    assert found[1].counts == {"called": 2, "done": 1, "failed": 1}


def test_where_nothing_is_there_are_no_runs(tmp_path):
    """A working directory is made with its first run."""
    assert list_runs(tmp_path / "none") == []

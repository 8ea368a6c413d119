"""The directory of a run: who may read it, which log is a job's, and whose it is."""

import json
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from asyncflow import StartError
from asyncflow.processes import is_alive
from asyncflow.queues import run as run_module
from asyncflow.queues.run import PREFIX, TAIL, Owner, RunDirectory, runs, this_driver
from asyncflow.queues.tls import make_security


@pytest.fixture
def run(tmp_path):
    """A new run."""
    return RunDirectory.make(str(tmp_path / "shared"), "slurm")


@pytest.fixture
def open_to_all():
    """A process that hides nothing by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_may_look_into_a_run(open_to_all, tmp_path):
    """Directories 0700 and files 0600, whatever the umask."""
    run = RunDirectory.make(str(tmp_path / "a" / "shared"), "slurm")
    run.certify(make_security())
    assert run.path.parent == tmp_path / "a" / "shared"
    found = [run.path.parent, run.path, *run.path.rglob("*")]
    assert {path.name for path in found} >= {"logs", "tls", "run.json", "worker-key.pem"}
    for path in found:
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


def test_certificates_are_written_for_workers_and_never_the_schedulers_key(run):
    """Three files, named as `distributed.Security` names them."""
    security = make_security()
    paths = run.certify(security)
    assert set(paths) == {"tls_ca_file", "tls_worker_cert", "tls_worker_key"}
    for field, path in paths.items():
        assert Path(path).read_text() == getattr(security, field)


def test_each_run_has_a_name_of_its_own(tmp_path):
    """Jobs are found by it, so no two are alike; PBS cuts names at 15 characters."""
    made = [RunDirectory.make(str(tmp_path), "pbs") for _ in range(20)]
    assert len({run.name for run in made}) == 20
    assert all(run.name.startswith(PREFIX) and len(run.name) <= 15 for run in made)
    assert [run.name for run in runs(str(tmp_path))] == sorted(run.name for run in made)


def test_the_place_may_be_written_with_variables(tmp_path, monkeypatch):
    """As in a shell: ``$SCRATCH`` and ``~``."""
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDirectory.make("$SCRATCH/x", "slurm").path.parent == tmp_path / "scratch" / "x"
    assert RunDirectory.make("~/y", "slurm").path.parent == tmp_path / "y"
    assert [len(runs(place)) for place in ("$SCRATCH/x", "~/y", "~/z")] == [1, 1, 0]


def test_a_place_that_cannot_be_written_is_named_with_a_remedy(tmp_path):
    """The directory, what the system said, and which key to set."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError) as caught:
        RunDirectory.make(str(tmp_path / "file" / "below"), "slurm")
    assert str(tmp_path / "file" / "below") in str(caught.value)
    assert "Not a directory" in str(caught.value)
    assert "set shared_temp_directory:" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_run_leaves_nothing(run):
    """The shared directory itself stays: another run may just be making its place there."""
    other = RunDirectory.make(str(run.path.parent), "slurm")
    run.certify(make_security())
    (run.logs / "x-1.err").write_text("said\n")
    run.remove()
    assert not run.path.exists()
    assert other.owner is not None
    other.remove()
    assert list(run.path.parent.iterdir()) == []
    other.remove()


def test_removing_a_run_leaves_what_others_have_there(run):
    """The place may be anybody's directory."""
    (run.path.parent / "results.csv").write_text("1,2\n")
    run.remove()
    assert (run.path.parent / "results.csv").exists()


def test_logs_stay_where_somebody_will_want_to_read_them(run, caplog):
    """Without the certificates, and with a word of where they are."""
    run.certify(make_security())
    (run.logs / "x-1.err").write_text("said\n")
    with caplog.at_level(logging.WARNING, "asyncflow"):
        run.remove(keep_logs=True)
    assert [path.name for path in run.path.rglob("*")] == ["logs", "x-1.err"]
    assert str(run.logs) in caplog.text


def test_no_logs_are_not_kept(run, caplog):
    """An empty directory tells nobody anything."""
    run.remove(keep_logs=True)
    assert not run.path.exists()
    assert not caplog.records


LOGS = {
    "slurm": (
        "12",
        ["aflow-0011aabb-12.err"],
        ["aflow-0011aabb-112.err", "aflow-0011aabb-123.err", "aflow-12c1212a-7.err"],
    ),
    "digits of the run's name": ("12", ["aflow-a12b3c12-12.out"], ["aflow-a12b3c12-112.err", "aflow-aabbcc12-112.err"]),
    "numbers of workers": ("12", ["cpu-7-12.err"], ["cpu-12-345.err", "cpu-12-0-345.err"]),
    "pbs": ("12.server", ["12.server.ER"], ["112.server.ER", "12.serverb.ER", "12_server.ER"]),
    "pbs, by number": ("12", ["12.server.OU"], ["112.server.ER", "1.server12.ER"]),
    "torque": ("12", ["aflow-0011aabb.e12"], ["aflow-0011aabb.e112", "aflow-0011aabb.e123"]),
}


@pytest.mark.parametrize(("job", "own", "others"), LOGS.values(), ids=LOGS)
def test_a_job_is_told_by_its_own_log(run, job, own, others):
    """Job 12 is not job 112, and its number may stand in the names of runs and workers."""
    for name in others:
        (run.logs / name).write_text("another's\n")
    assert run.tail(job) == ""
    for name in own:
        (run.logs / name).write_text("its own\n")
    assert run.tail(job) == "its own"


@pytest.mark.parametrize(
    ("error", "output"), [("x-5.err", "x-5.out"), ("5.server.ER", "5.server.OU"), ("x.e5", "x.o5")]
)
def test_standard_error_is_told_first(run, error, output):
    """Where there is some; else what was printed."""
    (run.logs / output).write_text("printed\n")
    (run.logs / error).write_text("\n")
    assert run.tail("5") == "printed"
    (run.logs / error).write_text("failed\n")
    assert run.tail("5") == "failed"


def test_the_end_of_a_log_is_told(run, monkeypatch):
    """Some lines of it; a log of gigabytes is not read for them, and its bytes may be anything."""
    monkeypatch.setattr(run_module, "TAIL_BYTES", 300)
    with (run.logs / "x-5.err").open("wb") as file:
        file.write(b"\xff\xfe" * 1000)
        file.write(b"".join(b"line %d\n" % number for number in range(100)))
    assert run.tail("5") == "\n".join(f"line {number}" for number in range(100 - TAIL, 100))
    (run.logs / "x-6.err").write_bytes(b"\xff\xfe\n")
    assert run.tail("6")


def test_logs_may_lie_elsewhere(run, tmp_path, monkeypatch):
    """Where the pool's log_directory says; a directory that is not there has no logs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x-5.err").write_text("here\n")
    assert run.tail("5", "~/mine") == "here"
    assert run.tail("5", str(tmp_path / "none")) == ""


def test_a_run_knows_its_driver(run):
    """This process, which lives."""
    assert run.owner == this_driver("slurm")
    assert (run.owner.kind, run.owner.pid) == ("slurm", os.getpid())
    assert is_alive(run.owner) is True


def test_a_driver_that_has_ended_is_not_alive(tmp_path):
    """Neither as a zombie, nor when it is gone."""
    code = "import sys; from asyncflow.queues.run import RunDirectory; RunDirectory.make(sys.argv[1], 'pbs')"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as driver:
        os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOWAIT)
        owner = runs(str(tmp_path))[0].owner
        assert owner.pid == driver.pid
        assert is_alive(owner) is False
    assert is_alive(owner) is False


def test_another_process_with_the_same_number_is_not_the_driver(run):
    """Numbers of processes are used again, by the same boot and by the next."""
    here = run.owner
    assert is_alive(here._replace(began=here.began - 1)) is False
    assert is_alive(here._replace(boot="00000000-0000-0000-0000-000000000000")) is False


def test_of_another_host_nothing_can_be_told(run):
    """Login nodes share a file system and no processes."""
    assert is_alive(run.owner._replace(host="elsewhere")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"', json.dumps({"kind": "slurm", "colour": "blue"})])
def test_a_run_whose_driver_cannot_be_told_has_none(run, text):
    """A file cut short, or of another version."""
    (run.path / "run.json").write_text(text)
    assert run.owner is None


def test_runs_are_found_again(run):
    """By whoever looks for what is left."""
    (run.path.parent / "other").mkdir()
    (run.path.parent / f"{PREFIX}file").touch()
    found = runs(str(run.path.parent))
    assert [(each.path, each.owner) for each in found] == [(run.path, run.owner)]
    assert isinstance(found[0].owner, Owner)

"""``asyncflow check --probe``: one tiny job in each pool, and the line that mends what fails."""

import signal
import socket
import subprocess
import sys
import threading

import pytest

from asyncflow.errors import SubmitError
from asyncflow.queues import _probe
from asyncflow.queues.diagnosis import Here, Probe, of_death, of_refusal, of_report
from asyncflow.queues.poolkeys import PoolKeys, SchedulerOptions
from conftest import eventually
from fakes import home_in
from terminal import asyncflow, configured

HERE = Here("3.11.7", {"dask": "2026.8.0"}, {"eth0": "10.0.0.1", "ib0": "10.1.0.1", "lo": "127.0.0.1"}, "10.0.0.1")

REPORT = {
    "node": "n1",
    "python": "3.11.7",
    "executable": "/there/python",
    "has_python": True,
    "packages": {"dask": "2026.8.0"},
    "interfaces": {"ib0": "10.1.0.9", "lo": "127.0.0.1"},
    "sees": True,
    "why": "",
    "shared": [],
    "back": {"10.0.0.1": "", "10.1.0.1": "", "127.0.0.1": "Connection refused"},
}


def mends(report, here=HERE, options=None, **keys):
    """The lines that mend what fails in a report that differs from a good one."""
    probe = Probe("cpu", PoolKeys(**keys), report={**REPORT, **report})
    return [problem.mend for problem in of_report(probe, here, "/shared", options or SchedulerOptions())]


# On real nodes


def test_the_pools_of_both_partitions_tell_what_they_find(slurm, tmp_path):
    """Node, Python, packages, shared directory and the way back; nothing stays in the queue or on disk."""
    pools = {"cpu": {"queue": "debug"}, "gpu": {"queue": "gpu", "job_extra_directives": ["--gres=gpu:1"]}}
    out, _ = asyncflow("check", configured(tmp_path, "slurm", pools=pools, interface="lo"), "--probe")
    cpu, gpu = out.split("\npool ")[1:]
    assert cpu.startswith("cpu: ok\n")
    assert gpu.startswith("gpu: ok\n")
    for text in (cpu, gpu):
        assert "queue wait" in text
        assert f"{sys.executable} (here " in text
        assert "as here: asyncflow " in text
        assert "shared directory  visible" in text
        assert "127.0.0.1 (lo): works, which the scheduler uses" in text
    assert any(f"node              {node} (" in gpu for node in ("node3", "node4"))
    assert not list((tmp_path / "shared").iterdir())


def test_each_failure_prints_the_line_that_mends_it(slurm, tmp_path):
    """A refused partition, a Python that is not there, and a directory that the node does not see; one table each."""
    pools = {
        "refused": {"queue": "nosuch"},
        "python": {"queue": "debug", "python": "/nonexistent/python"},
        "blind": {"queue": "debug", "job_script_prologue": [f"rm {tmp_path}/shared/aflow-*/nonce"]},
    }
    file = configured(tmp_path, "slurm", pools=pools, interface="lo")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    out, _ = asyncflow("check", file, "--probe", status=1, SCRATCH=str(scratch))
    refused, python, blind = out.split("\npool ")[1:]
    assert "invalid partition specified: nosuch" in refused
    assert "\n    queue: debug  # or gpu\n" in refused
    assert "/nonexistent/python: No such file or directory" in python
    assert f"\n    python: {sys.executable}\n" in python
    assert "shared directory  not visible: [Errno 2]" in blind
    assert f"\n    shared_temp_directory: {scratch}\n" in blind
    assert "127.0.0.1 (lo): works" in blind
    assert not list((tmp_path / "shared").iterdir())


def test_a_job_that_never_starts_is_given_up(slurm, tmp_path):
    """After ``--timeout`` it is cancelled, and told with the queue's own word for it."""
    file = configured(tmp_path, "slurm", queue="debug", job_extra_directives=["--hold"])
    out, _ = asyncflow("check", file, "--probe", "--timeout", "3s", status=1)
    assert "nothing came within 3 s" in out
    assert "PENDING JobHeldUser" in out
    assert slurm.is_empty()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_probe_that_is_broken_off_leaves_nothing(number, slurm, tmp_path):
    """Ctrl-C, and every other way to die: the jobs are cancelled, and the directory goes."""
    file = configured(tmp_path, "slurm", queue="debug", job_extra_directives=["--hold"])
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from asyncflow.cli import main; main()"
    with subprocess.Popen([sys.executable, "-c", code, "check", file, "--probe"], stderr=subprocess.DEVNULL) as process:
        assert eventually(slurm.jobs)
        process.send_signal(number)
    assert process.returncode != 0
    assert eventually(slurm.is_empty)
    assert eventually(lambda: not list(tmp_path.glob("shared/aflow-*")), 20)


@pytest.mark.parametrize("system", ["pbs", "lsf"])
def test_other_queues_are_probed_alike(system, tmp_path):
    """PBS and LSF: a good pool is ok, a refused job is told in their words."""
    with home_in(tmp_path, system) as queue:
        file = configured(tmp_path, system)
        out, _ = asyncflow("check", file, "--probe")
        assert f"pool {system}: ok" in out
        assert "shared directory  visible" in out
        queue.fail_submissions("Unknown queue", status=170)
        out, _ = asyncflow("check", file, "--probe", status=1)
        assert "Unknown queue" in out
        assert "\n    queue: NAME\n" in out
        queue.clear_faults()
        assert eventually(lambda: not queue.live_jobs())
    assert not list(tmp_path.glob("shared/aflow-*"))


def test_where_there_is_no_queue_there_is_nothing_to_submit_with(tmp_path):
    """A missing command is told, not a traceback."""
    out, _ = asyncflow("check", configured(tmp_path, "slurm"), "--probe", status=1, PATH=str(tmp_path))
    assert "nothing can be submitted here: no such command on PATH" in out


def test_kinds_without_jobs_are_not_probed(write):
    """There is nothing to probe, which is no failure."""
    out, _ = asyncflow("check", write("cluster: {kind: local}"), "--probe")
    assert "kind local submits no jobs, so there is nothing to probe" in out


def test_a_shared_directory_that_cannot_be_written_here_is_told(tmp_path):
    """Before anything is submitted."""
    (tmp_path / "shared").write_text("a file")
    out, _ = asyncflow("check", configured(tmp_path, "slurm"), "--probe", status=1)
    assert "set shared_temp_directory: to a directory that you may write" in out


# What a report means


def test_a_good_report_has_no_problem():
    """The scheduler's address is reached, and the versions are those here."""
    assert mends({}) == []


def test_an_unreachable_address_is_replaced_by_an_interface_that_works():
    """One that the node has too, as workers listen on it."""
    back = {"10.0.0.1": "timed out", "10.1.0.1": "", "127.0.0.1": "Connection refused"}
    assert mends({"back": back}) == ["interface: ib0"]


def test_an_interface_that_only_this_machine_has_is_the_schedulers_alone():
    """Where the names differ, ``interface:`` would stop the workers."""
    back = {"10.0.0.1": "timed out", "10.1.0.1": "", "127.0.0.1": "Connection refused"}
    found = mends({"back": back, "interfaces": {"hsn0": "10.1.0.9"}})
    assert found == ["scheduler_options: {interface: ib0}"]


def test_an_interface_that_the_node_lacks_is_replaced():
    """It is the workers' as well."""
    assert mends({}, interface="eth0") == ["interface: ib0"]


def test_an_interface_that_this_machine_lacks_is_replaced():
    """The scheduler could not listen on it."""
    assert mends({}, Here("3.11.7", HERE.packages, HERE.interfaces, None), interface="ib7") == ["interface: ib0"]


def test_where_no_address_works_a_port_has_to_be_opened():
    """All are named as unreachable."""
    found = mends({"back": dict.fromkeys(REPORT["back"], "timed out")})
    assert found == ["scheduler_options: {port: 8786}  # opened"]


@pytest.mark.parametrize("change", [{"python": "3.9.1"}, {"packages": {"dask": "2024.1.0"}}, {"packages": {}}])
def test_another_python_is_mended_by_the_one_here(change):
    """Where it runs another release, or other versions of what both ends need."""
    assert mends(change) == [f"python: {sys.executable}"]


def test_a_directory_that_the_node_does_not_see_is_replaced_by_one_that_it_does():
    """One that both know by the same inode."""
    assert mends({"sees": False, "shared": ["/scratch/you"]}) == ["shared_temp_directory: /scratch/you"]


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ("sbatch: error: invalid partition specified: nosuch", "queue: a  # or b"),
        ("sbatch: error: Invalid account or account/partition combination specified", "queue: a  # or b"),
        ("sbatch: error: Unable to allocate resources: Requested time limit is invalid", 'walltime: "00:30:00"'),
        ("sbatch: error: Memory specification can not be satisfied", "memory: 4GB"),
        ("sbatch: error: Invalid generic resource (gres) specification", 'job_extra_directives: ["--..."]'),
        ("sbatch: error: Unknown host", ""),
    ],
)
def test_a_refusal_is_mended_by_the_key_that_it_is_about(said, mend):
    """Nothing is proposed where its words say nothing."""
    assert of_refusal(SubmitError("", ["sbatch"], 1, said), ["a", "b"]).mend == mend


@pytest.mark.parametrize(
    ("keys", "log", "mend"),
    [
        ({}, "", "shared_temp_directory: /a/directory/that/all/nodes/see"),
        ({"log_directory": "/logs"}, "", "log_directory: /a/directory/that/all/nodes/see"),
        ({"python": "/no/python"}, "line 9: /no/python: No such file or directory", f"python: {sys.executable}"),
        ({}, "line 9: python: command not found", "python: /a/python/that/all/nodes/see"),
    ],
)
def test_a_job_that_dies_without_a_word_is_judged_by_its_log(keys, log, mend):
    """And by having none."""
    assert of_death("12 (FAILED)", log, "/shared", PoolKeys(**keys)).mend == mend


@pytest.mark.parametrize("answer", [b"", b"hello\n", _probe.sign("another key", "driver", b"greeting") + b"\n"])
def test_what_listens_at_an_address_must_show_that_it_is_the_driver(answer):
    """On the node the same address may be somebody else's."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def stranger():
            with server.accept()[0] as connection:
                connection.sendall(b"greeting\n")
                connection.recv(200)
                connection.sendall(answer)

        thread = threading.Thread(target=stranger)
        thread.start()
        with pytest.raises(OSError, match="something else listens there"):
            _probe.call({"key": "the key"}, *server.getsockname())
        thread.join()

"""The stand-in for OpenPBS: directives, environments, outputs, statuses and messages of the real one."""

import json
import os

import pytest

from conftest import eventually
from fakes import GONE, becomes, home_in, job, run, submit


@pytest.fixture
def pbs(tmp_path):
    """OpenPBS with four nodes of eight cores."""
    with home_in(tmp_path, "pbs", kill_delay=0.4) as queue:
        yield queue


def facts(number):
    """What `qstat` tells about a job, finished or not."""
    return json.loads(run("qstat", "-f", "-F", "json", "-x", number))["Jobs"][number]


def test_pbs_directives_count_and_options_count_more(pbs, tmp_path):
    """``#PBS`` lines are read up to the first command; the command line has the last word."""
    lines = f"#PBS -N inside -q workq\n#PBS -l select=1:ncpus=2:mem=1GB\n#PBS -l walltime=01:00:00\n#PBS -o {tmp_path}/"
    number = submit(pbs, f"{lines}\nexit 0\n#PBS -N late", "-N", "outside", "-j", "oe")
    told = facts(number)
    assert (told["Job_Name"], told["Join_Path"]) == ("outside", "oe")
    assert told["Output_Path"] == f"server:{tmp_path}/{number}.OU"
    wanted = {"mem": "1048576kb", "ncpus": 2, "walltime": "01:00:00", "select": "1:ncpus=2:mem=1GB"}
    assert wanted.items() <= told["Resource_List"].items()
    assert job(pbs, number).directives[0] == "-N inside -q workq"


def test_pbs_gives_a_job_a_login_and_not_the_submitters_environment(pbs, tmp_path):
    """It starts at home with ``PBS_*``; only ``-v`` and ``-V`` pass variables on."""
    env = {**os.environ, "MINE": "1", "YOURS": "2", "HOME": str(tmp_path)}
    where = tmp_path / "where"
    where.mkdir()
    script = f"#PBS -o {tmp_path}/said\npwd; env; cat $PBS_NODEFILE; test -d $TMPDIR && echo scratch"
    number = submit(pbs, script, "-v", "YOURS", env=env, cwd=where)
    becomes(pbs, number, "done")
    said = (tmp_path / "said").read_text().splitlines()
    assert said[0] == str(tmp_path)
    assert said[-2:] == ["node1", "scratch"]
    for line in (
        f"PBS_JOBID={number}",
        "PBS_ENVIRONMENT=PBS_BATCH",
        f"PBS_O_WORKDIR={where}",
        "PBS_QUEUE=workq",
        "YOURS=2",
        "NCPUS=1",
    ):
        assert line in said
    assert not any(line.startswith("MINE=") for line in said)
    whole = submit(pbs, f"echo $MINE > {tmp_path}/whole", "-V", env=env)
    becomes(pbs, whole, "done")
    assert (tmp_path / "whole").read_text() == "1\n"


def test_pbs_output_lands_in_the_submit_directory_at_the_end(pbs, tmp_path):
    """Spooled until the job is over, then named after it."""
    number = submit(pbs, "echo out; echo wrong >&2; sleep 0.3", "-N", "mine", cwd=tmp_path)
    becomes(pbs, number, "run")
    assert not (tmp_path / "mine.o1").exists()
    becomes(pbs, number, "done")
    assert ((tmp_path / "mine.o1").read_text(), (tmp_path / "mine.e1").read_text()) == ("out\n", "wrong\n")


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("qsub -q nope", 170, "qsub: Unknown queue"),
        ("qsub -l walltime=soon", 166, "Illegal attribute or resource value Resource_List.walltime"),
        ("qsub -9", 2, "invalid option -- '9'"),
        ("qsub /nowhere/script", 1, "No such file"),
        ("qstat 99", 153, "qstat: Unknown Job Id 99.server"),
        ("qdel 99.server", 153, "qdel: Unknown Job Id 99.server"),
    ],
)
def test_pbs_refuses_with_its_own_statuses(pbs, command, status, message):
    """Eight bits of PBS's error numbers, and the message after the command's name."""
    assert message in run(*command.split(), text="exit 0", status=status)


def test_pbs_forgets_finished_jobs_unless_asked(pbs):
    """``qstat`` and ``qselect`` need ``-x``; ``qdel`` says that it is too late."""
    number = submit(pbs, "exit 0", "-N", "mine")
    becomes(pbs, number, "done")
    assert run("qstat") == run("qselect") == ""
    assert "Jobs" not in json.loads(run("qstat", "-f", "-F", "json"))
    assert "use -x or -H" in run("qstat", number, status=35)
    assert "Job has finished" in run("qdel", number, status=35)
    assert number in run("qstat", "-x", number)
    assert run("qselect", "-x", "-s", "F", "-N", "mine") == f"{number}\n"
    assert facts(number)["Exit_status"] == 0


def test_pbs_selects_by_name_and_user(pbs):
    """``qselect`` lists ids and nothing else."""
    one, two = submit(pbs, GONE, "-N", "one"), submit(pbs, GONE, "-N", "two")
    user = facts(one)["Job_Owner"].partition("@")[0]
    assert run("qselect", "-u", user, "-N", "two") == f"{two}\n"
    assert run("qselect", "-u", "nobody-like-that") == ""
    assert run("qselect", "-s", "R") in {"", f"{one}\n", f"{one}\n{two}\n"}


def test_pbs_says_what_never_runs(pbs):
    """A request that no node can meet is accepted, stays queued, and keeps nobody else waiting."""
    never = submit(pbs, GONE, "-l", "select=1:ncpus=999")
    large = submit(pbs, GONE, "-l", "select=1:mem=1tb")
    becomes(pbs, submit(pbs, "exit 0"), "done")
    assert facts(never)["comment"] == "Can Never Run: Insufficient amount of resource: ncpus (R: 999 A: 8 T: 8)"
    assert facts(large)["comment"].startswith("Can Never Run: Insufficient amount of resource: mem (R: 1073741824kb")
    assert facts(never)["job_state"] == "Q"


def test_pbs_ends_what_is_over_its_walltime(pbs, tmp_path):
    """With status -29 and a line in its output."""
    number = submit(pbs, GONE, "-l", "walltime=1", "-j", "oe", "-o", str(tmp_path / "said"))
    assert becomes(pbs, number, "done").exit_status == -29
    assert (tmp_path / "said").read_text() == "=>> PBS: job killed: walltime 1 exceeded limit 1\n"
    assert facts(number)["comment"].endswith("and exceeded resource walltime")


def test_pbs_tells_signals_by_256(pbs):
    """A job that SIGTERM ends has status 271."""
    number = submit(pbs, f"exec {GONE}")  # else the shell may say how its child ended, before it is ended itself
    becomes(pbs, number, "run")
    run("qdel", number)
    assert becomes(pbs, number, "done").exit_status == 271


def test_pbsdsh_runs_a_command_on_every_node_at_once(pbs, tmp_path):
    """At home, with the job's ``PBS_*`` and none of the script's other variables; the worst status is its own."""
    task = "echo node $PBS_NODENUM says $MINE $PBS_JOBID; touch begun.$PBS_NODENUM; "
    task += "until [ -e begun.0 -a -e begun.1 -a -e begun.2 ]; do sleep 0.02; done; exit $PBS_NODENUM"
    lines = f"#PBS -l select=3:ncpus=1\n#PBS -o {tmp_path}/said\nexport MINE=secret\ncat $PBS_NODEFILE"
    env = {**os.environ, "HOME": str(tmp_path)}
    number = submit(pbs, f"{lines}\npbsdsh -- sh -c '{task}'\necho worst $?", env=env)
    becomes(pbs, number, "done")
    said = (tmp_path / "said").read_text().splitlines()
    assert said[:3] == ["node1", "node2", "node3"]
    assert sorted(said[3:6]) == [f"node {n} says {number}" for n in range(3)]
    assert said[6:] == ["worst 2"]


def test_pbs_packs_chunks_when_told(pbs, tmp_path):
    """``place=pack`` puts all on one node, where ``pbsdsh`` starts a task for each chunk; it has no ``-u``."""
    script = f"#PBS -l select=2:ncpus=2 -l place=pack\n#PBS -o {tmp_path}/said\npbsdsh -- echo here || exit\npbsdsh -u -- echo no"
    ended = becomes(pbs, submit(pbs, script), "done")
    assert ended.nodes == ("node1", "node1")
    assert (tmp_path / "said").read_text() == "here\nhere\n"


def test_pbs_queues_again_what_a_lost_node_ran(pbs):
    """It believes in the job for a while, then starts it elsewhere; one that forbids that fails."""
    number, once = submit(pbs, GONE), submit(pbs, GONE, "-r", "n")
    assert becomes(pbs, number, "run").nodes == becomes(pbs, once, "run").nodes == ("node1",)
    pbs.lose_node("node1", notice_after=0.3)
    assert eventually(lambda: not pbs.processes())
    assert job(pbs, number).state == "R"
    assert eventually(lambda: job(pbs, number).nodes == ("node2",))
    assert job(pbs, number).runs == 2
    assert becomes(pbs, once, "done").exit_status == -4
    pbs.return_node("node1")
    assert becomes(pbs, submit(pbs, GONE), "run").nodes == ("node1",)

"""The job scripts that shipped configurations make are those stored in ``tests/scripts``, word by word.

After a deliberate change, ``ASYNCFLOW_WRITE_SCRIPTS=1 .venv/bin/pytest tests/test_job_scripts.py`` writes them anew;
read the difference before committing it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from asyncflow import clusters
from asyncflow.config import load_settings
from asyncflow.queues.template import Site, job_from
from asyncflow.testing import fake_queue

CONFIGS = Path(__file__).parent.parent / "configs"
SCRIPTS = Path(__file__).parent / "scripts"

#: Kinds whose workers are jobs.
KINDS = ("slurm", "pbs", "lsf")

#: No file is shipped for it, as it is the youngest of the kinds.
LSF = {
    "cluster": {
        "kind": "lsf",
        "queue": "normal",
        "project": "project123",
        "interface": "ib0",
        "cores": 4,
        "processes": 2,
        "memory": "4GB",
        "walltime": "00:30:00",
        "lsf_units": "mb",
    }
}


def _sources():
    """What is shipped for these kinds, by the name that its scripts have."""
    texts = {file: file.read_text(encoding="utf-8") for file in sorted(CONFIGS.glob("*.yaml"))}
    kinds = {file: (yaml.safe_load(text).get("cluster") or {}).get("kind") for file, text in texts.items()}
    return {**{file.stem: file for file, kind in kinds.items() if kind in KINDS}, "lsf": LSF}


SOURCES = _sources()


def _jobs(source, directory):
    """The system of a configuration, and one job of each of its pools."""
    settings = load_settings(source, {})
    kind = clusters.load(settings.kind)
    run = directory / "aflow-01234567"
    names = {"tls_ca_file": "ca.pem", "tls_worker_cert": "worker-cert.pem", "tls_worker_key": "worker-key.pem"}
    tls = {field: str(run / "tls" / name) for field, name in names.items()}
    site = Site(run.name, "tls://10.0.0.1:8786", str(run / "logs"), tls)
    plans = kind.plans(settings.cluster)
    return kind.SYSTEM, {plan.pool.name: job_from(kind.SYSTEM, plan, f"{plan.pool.name}-0", site) for plan in plans}


def scripts(source, directory):
    """The scripts of a configuration by pool, without what belongs to this machine."""
    _, jobs = _jobs(source, directory)
    made = {pool: job.job_script() for pool, job in jobs.items()}
    return {
        pool: script.replace(str(directory), "/home/me/.asyncflow").replace(sys.executable, "python")
        for pool, script in made.items()
    }


@pytest.fixture(autouse=True)
def nothing_of_this_shell(monkeypatch):
    """What the environment may add to scripts."""
    for name in ("PYTHONPATH", "PBS_ACCOUNT", "LSF_ENVDIR", "LSF_CONFDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", SOURCES)
def test_scripts_are_those_that_are_stored(name, tmp_path):
    """Neither an upgrade of dask-jobqueue nor a change of ours alters a script unnoticed."""
    made = {f"{name}.{pool}.sh": script for pool, script in scripts(SOURCES[name], tmp_path).items()}
    if os.environ.get("ASYNCFLOW_WRITE_SCRIPTS") == "1":
        for old in SCRIPTS.glob(f"{name}.*.sh"):
            old.unlink()
        for file, script in made.items():
            (SCRIPTS / file).write_text(script, encoding="utf-8")
    stored = {file.name: file.read_text(encoding="utf-8") for file in SCRIPTS.glob(f"{name}.*.sh")}
    assert made == stored


def test_nothing_else_is_stored(tmp_path):
    """A script whose configuration or pool has gone goes with it."""
    made = {f"{name}.{pool}.sh" for name, source in SOURCES.items() for pool in scripts(source, tmp_path)}
    assert {file.name for file in SCRIPTS.iterdir()} == made


@pytest.mark.parametrize("file", sorted(SCRIPTS.glob("*.sh")), ids=lambda file: file.name)
def test_scripts_are_sound_shell(file):
    """bash parses each, directives stand before the first command, and shellcheck finds nothing."""
    subprocess.run(["bash", "-n", str(file)], check=True)
    first, *lines = file.read_text(encoding="utf-8").splitlines()
    assert first == "#!/usr/bin/env bash"
    directives = [index for index, line in enumerate(lines) if re.match(r"#(SBATCH|PBS|BSUB) ", line)]
    commands = [index for index, line in enumerate(lines) if line and not line.startswith("#")]
    assert max(directives) < min(commands)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(file)], check=True)


@pytest.mark.parametrize(
    ("kind", "said", "job_id"),
    [
        ("slurm", "Submitted batch job 1234567\n", "1234567"),
        ("slurm", "2 nodes will be charged.\nSubmitted batch job 12 on cluster big3\n", "12"),
        ("pbs", "12.server\n", "12.server"),
        ("pbs", "You have 3 projects\n1234567.pbs-01.site.edu\n", "1234567.pbs-01.site.edu"),
        ("lsf", "Job <12> is submitted to default queue <normal>.\n", "12"),
        ("lsf", "Using project <4>.\nJob <1234567> is submitted to queue <normal>.\n", "1234567"),
    ],
)
def test_the_id_of_a_job_is_found_in_what_the_system_says(kind, said, job_id, tmp_path):
    """Whole, as all later answers spell it, and whatever a site prints around it."""
    source = {"cluster": {"kind": kind, "cores": 1, "memory": "1GB"}}
    system, jobs = _jobs(source, tmp_path)
    assert jobs[kind]._job_id_from_submit_output(said) == job_id
    assert system.job_id.search(said)["job_id"] == job_id


def test_the_pbs_configuration_suits_the_stand_in(tmp_path):
    """Its directives are read as they were meant."""
    with fake_queue("pbs", tmp_path / "pbs") as queue:
        queue.hold_jobs()
        (tmp_path / "job.sh").write_text(scripts(SOURCES["pbs"], tmp_path)["pbs"])
        subprocess.run(["qsub", str(tmp_path / "job.sh")], check=True, capture_output=True)
        (job,) = queue.jobs()
        assert (job.name, job.queue) == ("aflow-01234567", "workq")


def test_paths_and_arguments_of_ours_are_quoted(tmp_path, monkeypatch):
    """A space in the name of a directory does not break the command."""
    spaced = tmp_path / "my files"
    monkeypatch.setenv("PYTHONPATH", f"{spaced}:relative")
    monkeypatch.chdir(tmp_path)
    source = {"cluster": {"kind": "slurm", "cores": 1, "memory": "1GB"}}
    _, jobs = _jobs(source, spaced)
    script = jobs["slurm"].job_script()
    assert f"\nexport PYTHONPATH='{spaced}:{tmp_path}/relative'\n" in script
    assert f"--tls-key '{spaced}/aflow-01234567/tls/worker-key.pem'" in script

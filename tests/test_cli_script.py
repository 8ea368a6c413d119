"""``asyncflow script``: what would be submitted, on standard output, and nothing submitted."""

import pytest

from terminal import asyncflow, configured

POOLS = {"cpu": {"queue": "normal"}, "gpu": {"queue": "gpu", "resources": {"gpu": 1}}}


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("slurm", ["#SBATCH -J aflow-XXXXXXXX", "#SBATCH -p gpu", "#SBATCH -t 00:10:00"]),
        ("pbs", ["#PBS -N aflow-XXXXXXXX", "#PBS -q gpu", "#PBS -l walltime=00:10:00"]),
        ("lsf", ["#BSUB -J aflow-XXXXXXXX", "#BSUB -q gpu", "#BSUB -W 00:10"]),
    ],
)
def test_the_script_of_one_pool_is_all_of_standard_output(kind, lines, tmp_path):
    """Of each kind of queue; what is only known later has a readable name, which standard error explains."""
    out, err = asyncflow("script", configured(tmp_path, kind, pools=POOLS), "--pool", "gpu")
    assert out.startswith("#!/usr/bin/env bash\n")
    assert set(lines) <= set(out.splitlines())
    worker = out.splitlines()[-1]
    assert " tls://DRIVER:PORT --name gpu-0 " in worker
    assert f"--tls-ca-file {tmp_path}/shared/aflow-XXXXXXXX/tls/ca.pem" in worker
    assert f"{tmp_path}/shared/aflow-XXXXXXXX/logs" in out
    assert err == "# aflow-XXXXXXXX stands for the name of the run, DRIVER:PORT for the address of its scheduler\n"


def test_each_pool_has_its_script(tmp_path):
    """Without ``--pool`` all are shown, in the order of the file."""
    out, err = asyncflow("script", configured(tmp_path, "slurm", pools=POOLS, security="none"))
    assert out.count("#!/usr/bin/env bash") == 2
    assert out.index("#SBATCH -p normal") < out.index("#SBATCH -p gpu")
    assert " tcp://DRIVER:PORT --name cpu-0 " in out
    assert "--pool gpu shows it alone" in err


def test_showing_a_script_makes_no_directories(tmp_path):
    """Neither the run's nor the pool's own log directory, and nothing temporary stays."""
    place = tmp_path / "tmp"
    place.mkdir()
    file = configured(tmp_path, "slurm", log_directory=str(tmp_path / "logs"))
    out, _ = asyncflow("script", file, TMPDIR=str(place))
    assert f"#SBATCH -e {tmp_path}/logs/aflow-XXXXXXXX-%J.err" in out
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cluster.yaml", "tmp"]


def test_a_pool_that_is_not_there_is_a_usage_error(tmp_path):
    """The message lists those there are."""
    _, err = asyncflow("script", configured(tmp_path, "slurm", pools=POOLS), "--pool", "gpus", status=2)
    assert "there is no pool 'gpus'; did you mean 'gpu'?" in err


@pytest.mark.parametrize(
    "text", ["cluster: {kind: local}", "cluster: {kind: address, address: 'tcp://127.0.0.1:1', security: none}", "{}"]
)
def test_kinds_without_jobs_have_no_script(text, write):
    """Nothing on standard output, and exit status 2."""
    out, err = asyncflow("script", write(text), status=2)
    assert not out
    assert "submits no jobs, so there is no job script to show" in err


def test_a_faulty_configuration_is_told_whole(write):
    """Every problem, and exit status 2."""
    out, err = asyncflow("script", write("cluster: {kind: slurm, cores: two, memory: much}"), status=2)
    assert not out
    assert "cluster.cores" in err
    assert "cluster.memory" in err

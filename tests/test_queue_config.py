"""The keys of the kinds whose workers are jobs: what is refused and how it is said, and what reaches a job script."""

import pytest

from asyncflow import clusters
from asyncflow.config import load_settings
from asyncflow.errors import ConfigError, StartError
from asyncflow.queues.template import Site, job_from

KINDS = ("slurm", "pbs", "lsf")

IS_NAMED = "each job carries the name of its run, by which asyncflow finds and cancels it"

#: What stands in a file besides the line in question.
COMPLETE = "cluster:\n  kind: {kind}\n  cores: 2\n  memory: 1GB\n"


def cluster(kind="slurm", **keys):
    """The typed configuration of one flat pool."""
    return load_settings({"cluster": {"kind": kind, "cores": 2, "memory": "1GB", **keys}}, {}).cluster


def problems(config):
    """What is wrong with `config`, as text."""
    with pytest.raises(ConfigError) as caught:
        load_settings(config, {})
    return str(caught.value)


def script(kind, directory, **keys):
    """The job script of a flat pool."""
    module = clusters.load(kind)
    (plan,) = module.plans(cluster(kind, **keys))
    site = Site("aflow-1", "tcp://10.0.0.1:8786", str(directory), {})
    return job_from(module.SYSTEM, plan, "w-0", site).job_script()


# What is refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("env_extra: [a]", "it is called job_script_prologue now"),
        ("extra: [a]", "it is called worker_extra_args now"),
        ("job_extra: [a]", "it is called job_extra_directives now"),
        ("header_skip: [a]", "it is called job_directives_skip now"),
        ("name: mine", IS_NAMED),
        ("job_name: mine", IS_NAMED),
        ("protocol: tcp", "write security: tls or security: none"),
        ("n_workers: 4", "write jobs: 4, or jobs: {{min: 0, max: 20}}"),
        ("nworkers: 4", "write processes:, the number of workers in each job"),
        ("config_name: big", "this file is the only configuration; write the keys here"),
        ("nanny: false", "each worker has one, which starts it again"),
        ("scheduler: tcp://a:1", "one is started beside the script; scheduler_options: say where it listens"),
        ("host: 10.0.0.1", "write it below scheduler_options:"),
        ("dashboard_address: ':8787'", "write it below scheduler_options:"),
    ],
)
def test_outdated_keys_and_keys_that_are_ours_say_what_to_write(write, kind, line, message):
    """Whatever dask-jobqueue once took or still takes from others is refused with its present name or place."""
    file = write(COMPLETE.format(kind=kind) + f"  {line}")
    key, message = line.partition(":")[0], message.format()
    assert problems(file) == f"{file}:5: cluster.{key}: {key!r} is no key of this kind; {message}"


@pytest.mark.parametrize(
    ("kind", "key", "message"),
    [
        ("slurm", "project", "it is called account now"),
        ("slurm", "partition", "it is called queue"),
        ("pbs", "project", "it is called account now"),
        ("lsf", "account", "it is called project here"),
    ],
)
def test_what_one_system_calls_otherwise_is_translated(kind, key, message):
    """Who pays, and where the job goes, has another name here and there."""
    assert problems({"cluster": {"kind": kind, "cores": 1, "memory": 1, key: "x"}}) == (
        f"cluster.{key}: {key!r} is no key of this kind; {message}"
    )


def test_misspelt_keys_are_refused_in_pools_too(write):
    """With file, line and the key that was meant, all of them at once."""
    file = write("""\
        cluster:
          kind: slurm
          queu: debug
          pools:
            cpu:
              cores: 2
              memory: 1GB
              walltme: 3h
            gpu:
              cores: two
              memory: 4GX
              env_extra: []
              jobs: {maxi: 3, max: 3}
    """)
    said = [line.removeprefix(f"{file}:").partition(" valid are")[0] for line in problems(file).splitlines()]
    assert said == [
        "3: cluster.queu: unknown key 'queu'; did you mean 'queue'?",
        "8: cluster.pools.cpu.walltme: unknown key 'walltme'; did you mean 'walltime'?",
        "10: cluster.pools.gpu.cores: must be a whole number, not 'two'",
        "11: cluster.pools.gpu.memory: '4GX' is not a size; write bytes, 512MB, 120GB or 4GiB",
        "12: cluster.pools.gpu.env_extra: 'env_extra' is no key of this kind; it is called job_script_prologue now",
        "13: cluster.pools.gpu.jobs.maxi: unknown key 'maxi'; did you mean 'max'?",
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"walltime": "soon"}, "walltime: 'soon' is not a duration; write seconds, 90s, 10m, 1h30m or \"02:00:00\""),
        ({"walltime": "30s"}, "walltime: must be at least 60, not '30s'"),
        ({"memory": "lots"}, "memory: 'lots' is not a size; write bytes, 512MB, 120GB or 4GiB"),
        ({"memory": "0GB"}, "memory: must be more than 0, not '0GB'"),
        ({"cores": 0}, "cores: must be at least 1, not 0"),
        ({"cores": "2"}, "cores: must be a whole number, not '2'"),
        ({"jobs": 0}, "jobs: must be at least 1 or a mapping of keys to values, not 0"),
        ({"jobs": True}, "jobs: must be a whole number or a mapping of keys to values, not true"),
        ({"jobs": {"min": 3, "max": 2}}, "jobs.max: must be at least min, which is 3, not 2"),
        ({"jobs": {"min": 3}}, "jobs.max: is missing; give max:"),
        ({"jobs": {"max": 0}}, "jobs.max: must be at least 1, not 0"),
        ({"jobs": {"min": -1, "max": 2}}, "jobs.min: must be at least 0, not -1"),
        ({"max_queued": 0}, "max_queued: must be at least 1, not 0"),
        ({"idle_timeout": 0}, "idle_timeout: must be more than 0, not 0"),
        ({"queue": 3}, "queue: must be text (put it in quotes), not 3"),
        ({"queue": ""}, "queue: must be text that is not empty, not ''"),
        ({"job_extra_directives": "--x"}, "job_extra_directives: must be a list, not '--x'"),
        ({"resources": {"a-b": 1}}, "resources.a-b: 'a-b' is not a name; write letters, digits and _, a letter first"),
        (
            {"resources": {"cores": 1}},
            "resources: 'cores' is a resource of every worker already; write cores: beside resources:",
        ),
        ({"scheduler_options": {"port": 70000}}, "scheduler_options.port: must be at most 65535, not 70000"),
        ({"pools": {"a b": {}}}, "pools.a b: 'a b' is not a name; write letters, digits and _, a letter first"),
    ],
)
def test_values_are_checked_where_they_stand(keys, message):
    """Units, limits and types, each with the value and a way to write it."""
    assert problems({"cluster": {"kind": "slurm", "cores": 2, "memory": "1GB", **keys}}) == f"cluster.{message}"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "cluster: a pool needs cores and memory; give cores: and memory:"),
        ({"cores": 2}, "cluster: a pool needs memory; give memory:"),
        ({"memory": "1GB", "pools": {"cpu": {}}}, "cluster.pools: pool 'cpu' needs cores; give cores:"),
        (
            {"cores": 2, "pools": {"a": {"memory": "1GB"}, "b": {}}},
            "cluster.pools: pool 'b' needs memory; give memory:",
        ),
        (
            {"cores": 2, "memory": "1GB", "processes": 3},
            "cluster: a pool has 3 processes for 2 cores; give at most one for each",
        ),
        (
            {"memory": "1GB", "processes": 3, "pools": {"cpu": {"cores": 2}}},
            "cluster.pools: pool 'cpu' has 3 processes for 2 cores; give at most one for each",
        ),
        (
            {"cores": 2, "memory": "1GB", "walltime": "10m", "walltime_margin": "10m"},
            "cluster: a pool has a walltime_margin of 600 s, and a walltime of only 600 s",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_flat_and_in_pools(keys, message):
    """Keys beside ``pools:`` count for each pool."""
    assert problems({"cluster": {"kind": "pbs", **keys}}) == message


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        *[("slurm", key) for key in ("queue", "account", "job_mem", "interface", "python", "shebang")],
        *[("slurm", key) for key in ("local_directory", "log_directory", "worker_command", "shared_temp_directory")],
        *[("pbs", key) for key in ("queue", "account", "resource_spec")],
        *[("lsf", key) for key in ("queue", "project", "lsf_units")],
    ],
)
def test_values_with_line_breaks_are_refused(kind, key):
    """One would be a directive, or a command, of its own in the job script."""
    for text in ("a\nb", "a\rb", "a\n", "a\0b"):
        said = problems({"cluster": {"kind": kind, "cores": 2, "memory": "1GB", key: text}})
        assert said == f"cluster.{key}: must be text of one line without control characters, not {text!r}"


@pytest.mark.parametrize("key", ["job_extra_directives", "job_directives_skip", "worker_extra_args"])
def test_lists_with_line_breaks_are_refused(key):
    """Item by item."""
    said = problems({"cluster": {"kind": "slurm", "cores": 2, "memory": "1GB", key: ["right", "a\nb"]}})
    assert said == f"cluster.{key}.1: must be text of one line without control characters, not 'a\\nb'"


# What is right


def test_units_become_seconds_and_bytes():
    """As people write them."""
    config = cluster(walltime="1-12:00:00", memory="120GB", idle_timeout="5m", death_timeout=30)
    assert (config.walltime, config.memory, config.idle_timeout, config.death_timeout) == (129600, 120e9, 300, 30)


@pytest.mark.parametrize(
    ("kind", "line"), [("slurm", "-t 1-12:00:00"), ("pbs", "walltime=36:00:00"), ("lsf", "-W 36:00")]
)
def test_a_walltime_is_written_as_the_system_reads_it(tmp_path, kind, line):
    """Each has a clock of its own."""
    assert line in script(kind, tmp_path, walltime="1-12:00:00")


def test_jobs_are_a_number_or_limits():
    """One number is both limits."""
    assert cluster(jobs=4).limits.model_dump() == {"min": 4, "max": 4}
    assert cluster(jobs={"max": 9}).limits.model_dump() == {"min": 0, "max": 9}


def test_keys_beside_pools_hold_for_all_of_them():
    """Where a pool does not say otherwise; each pool has its own shape."""
    text = {
        "kind": "pbs",
        "memory": "8GB",
        "queue": "main",
        "walltime": "1h",
        "resources": {"disk": 2},
        "pools": {
            "cpu": {"cores": 8, "processes": 4, "jobs": 3},
            "gpu": {"cores": 2, "queue": "g", "resources": {"gpu": 1}},
        },
    }
    module = clusters.load("pbs")
    config = load_settings({"cluster": text}, {}).cluster
    cpu, gpu = module.plans(config)
    assert (cpu.keys.queue, gpu.keys.queue, cpu.keys.walltime, gpu.keys.walltime) == ("main", "g", 3600, 3600)
    shapes = [(p.name, p.workers, p.cores, p.memory, dict(p.resources), p.is_named) for p in module.pools(config)]
    assert shapes == [("cpu", 12, 2, 2e9, {"disk": 2}, True), ("gpu", 1, 2, 8e9, {"gpu": 1}, True)]


def test_logs_go_where_they_are_wanted(tmp_path, monkeypatch):
    """The directory is made, a tilde is home, and one that cannot be made is told with its remedy."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"#SBATCH -e {tmp_path}/my/logs/aflow-1-%J.err" in script("slurm", tmp_path, log_directory="~/my/logs")
    assert (tmp_path / "my" / "logs").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"cannot go to /.*/file/logs \(Not a directory\); set log_directory: to one"):
        script("slurm", tmp_path, log_directory="~/file/logs")


@pytest.mark.parametrize(
    ("kind", "directive"),
    [
        ("slurm", "-J mine"),
        ("slurm", "--job-name=mine"),
        ("slurm", "--array=1-4"),
        ("slurm", "-M other"),
        ("slurm", "--wait"),
        ("pbs", "-N mine"),
        ("pbs", "-J 1-4"),
        ("pbs", "-W block=true"),
        ("lsf", "-J mine"),
        ("lsf", "-K"),
    ],
)
def test_directives_may_not_name_or_multiply_jobs(kind, directive):
    """Jobs are found, and cancelled, by the name of their run, and counted one by one."""
    keys = {"kind": kind, "cores": 1, "memory": 1, "job_extra_directives": ["--x=y", directive]}
    said = problems({"cluster": keys})
    assert said.startswith(f"cluster.job_extra_directives: {directive!r} is not for jobs with workers")

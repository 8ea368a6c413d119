"""What is wrong with a configuration is told all at once, with file, line, place, value and remedy."""

from pathlib import Path

import pytest

from asyncflow import clusters
from asyncflow.config import load_settings
from asyncflow.errors import ConfigError
from asyncflow.options import DEFAULTABLE

CONFIGS = Path(__file__).parent.parent / "configs"


def problems(config, environ=()):
    """What is wrong with `config`, as text."""
    with pytest.raises(ConfigError) as caught:
        load_settings(config, dict(environ))
    return str(caught.value)


BROKEN = [
    (
        "cluster: {kind: local, n_worker: 2}",
        (
            "1: cluster.n_worker: unknown key 'n_worker'; did you mean 'n_workers'? valid are dashboard_address, "
            "death_timeout, env, host, interface, local_directory, memory_limit, n_workers, processes, resources, "
            "scheduler_port, security, start_timeout and threads_per_worker"
        ),
    ),
    ("clutser: {}", "1: clutser: unknown key 'clutser'; did you mean 'cluster'? valid are cluster and defaults"),
    ("cluster: {kind: lokal}", "1: cluster.kind: unknown kind 'lokal'; did you mean 'local'? valid are {kinds}"),
    ("cluster:\n  n_workers: 2", "1: cluster.kind: is missing; valid are {kinds}"),
    ("cluster: {kind: 3}", "1: cluster.kind: must be the name of a kind, not 3; valid are {kinds}"),
    ("cluster: local", "1: cluster: must be a mapping of keys to values, not 'local'"),
    ("- a\n- b", "1: must be a mapping of keys to values, not ['a', 'b']"),
    ("cluster: {kind: local, n_workers: two}", "1: cluster.n_workers: must be a whole number, not 'two'"),
    ("cluster: {kind: local, n_workers: '2'}", "1: cluster.n_workers: must be a whole number, not '2'"),
    ("cluster: {kind: local, n_workers: yes}", "1: cluster.n_workers: must be a whole number, not true"),
    ("cluster: {kind: local, n_workers: 0}", "1: cluster.n_workers: must be at least 1, not 0"),
    ("cluster: {kind: local, scheduler_port: 70000}", "1: cluster.scheduler_port: must be at most 65535, not 70000"),
    ("cluster: {kind: local, processes: 1}", "1: cluster.processes: must be true or false, not 1"),
    ("cluster: {kind: local, host: ''}", "1: cluster.host: must be text that is not empty, not ''"),
    ("cluster: {kind: local, env: {A: 1}}", "1: cluster.env.A: must be text (put it in quotes), not 1"),
    ("cluster: {kind: local, resources: [1]}", "1: cluster.resources: must be a mapping of keys to values, not [1]"),
    ("cluster: {kind: local, resources: {gpu: 0}}", "1: cluster.resources.gpu: must be more than 0, not 0"),
    (
        "cluster: {kind: local, memory_limit: 120 apples}",
        (
            "1: cluster.memory_limit: '120 apples' is not a memory limit; write 4GB, 0.5 (half of this machine), "
            "auto or 0 (none)"
        ),
    ),
    (
        "cluster: {kind: local, memory_limit: 1.5}",
        "1: cluster.memory_limit: 1.5 is not a memory limit; write 4GB, 0.5 (half of this machine), auto or 0 (none)",
    ),
    (
        "cluster: {kind: local, start_timeout: 10 parsecs}",
        "1: cluster.start_timeout: '10 parsecs' has the unknown unit 'parsecs'; write ms, s, m, h or d",
    ),
    (
        "cluster: {kind: local, dashboard_address: here}",
        (
            "1: cluster.dashboard_address: 'here' is not an address to listen on; write ':8787', '0.0.0.0:8787' "
            "(everybody) or null"
        ),
    ),
    (
        "cluster: {kind: local, security: tsl}",
        "1: cluster.security: must be 'tls' or 'none', not 'tsl'; did you mean 'tls'?",
    ),
    (
        "cluster: {kind: local, n_workers: '${UNSET}'}",
        "1: cluster.n_workers: the environment variable 'UNSET' is not set; set it, or write ${UNSET:-default}",
    ),
    (
        "cluster: {kind: local, host: '${not a name}'}",
        "1: cluster.host: '${not a name}' is no reference; write ${NAME} or ${NAME:-default}",
    ),
    ("defaults: {retries: -1}", "1: defaults.retries: must be at least 0, not -1"),
    ("defaults: {timeout: 0}", "1: defaults.timeout: must be more than 0, not 0"),
    (
        "defaults: {memory: 4GX}",
        "1: defaults.memory: '4GX' is not a size; write bytes, 512MB, 120GB or 4GiB",
    ),
    ("defaults: {name: a}", "1: defaults.name: 'name' belongs to one task; give it in the script"),
    (
        "defaults: {retry: 1}",
        "1: defaults.retry: unknown key 'retry'; did you mean 'retries'? valid are {defaults}",
    ),
    (
        "cluster:\n  kind: local\n  n_workers: 1\n  n_workers: 2",
        "4: cluster.n_workers: 'n_workers' is given twice, first on line 3; keep one",
    ),
    ("cluster: {kind: local, env: {? [a] : b}}", "1: cluster.env: a key must be text"),
    ("cluster: &a\n  kind: local\n  env: {x: *a}", "3: cluster.env.x: refers to itself; write it out"),
    (
        "cluster: {kind: address}",
        (
            "1: cluster.scheduler_file: is missing; give either address: tls://host:8786 or scheduler_file:\n"
            "{file}:1: cluster.tls_ca_file: is missing; security: tls needs tls_ca_file, tls_client_cert and tls_client_key\n"
            "{file}:1: cluster.tls_client_cert: is missing; security: tls needs tls_ca_file, tls_client_cert and tls_client_key\n"
            "{file}:1: cluster.tls_client_key: is missing; security: tls needs tls_ca_file, tls_client_cert and tls_client_key"
        ),
    ),
    (
        "cluster: {kind: address, address: 'tcp://head:8786'}",
        "1: cluster.address: 'tcp://head:8786' is not encrypted; give a tls:// address, or say security: none by name",
    ),
    (
        "cluster: {kind: address, address: 'tls://head:8786', security: none}",
        (
            "1: cluster.address: 'tls://head:8786' is encrypted although security is none; "
            "write security: tls and its three files"
        ),
    ),
    (
        "cluster: {kind: address, address: 'head:8786', security: none}",
        "1: cluster.address: 'head:8786' is not the address of a scheduler; write tls://host:8786",
    ),
    (
        "cluster: {kind: address, address: 'tcp://head:8786', security: none, tls_ca_file: no.pem}",
        (
            "1: cluster.tls_ca_file: 'no.pem' is not a file ({directory}/no.pem); relative paths begin where the "
            "configuration lies"
        ),
    ),
    (
        "cluster: {kind: address, address: 'tcp://head:8786', security: none, scheduler_file: test.yaml}",
        "1: cluster.scheduler_file: is given beside address 'tcp://head:8786'; give one of them",
    ),
    (
        "cluster: {kind: address, security: none, scheduler_file: test.yaml}",
        "1: cluster.scheduler_file: '{file}' holds no address; it is not what dask scheduler writes",
    ),
    (
        "cluster: {kind: address, address: 'tcp://head:8786', security: none, tls_ca_file: test.yaml}",
        "1: cluster.tls_ca_file: is given although security is none; leave it out, or write security: tls",
    ),
    (
        "cluster:\n  kind: local\n  a: b: c",
        "3: does not parse: mapping values are not allowed here; see to the indentation, colons and quotes near here",
    ),
    (
        "cluster:\n\tkind: local",
        "2: does not parse: found character '\\t' that cannot start any token; indent with spaces, not tabs",
    ),
]


@pytest.mark.parametrize(("text", "expected"), BROKEN, ids=[text.replace("\n", " ")[:60] for text, _ in BROKEN])
def test_what_is_wrong_is_told_with_file_line_place_value_and_remedy(write, text, expected):
    """Each broken file gives exactly this message."""
    file = write(text)
    facts = {"kinds": " and ".join(clusters.kinds()), "file": file, "directory": str(Path(file).parent)}
    facts["defaults"] = ", ".join(sorted(DEFAULTABLE)[:-1]) + " and " + max(DEFAULTABLE)
    if len(clusters.kinds()) > 2:
        facts["kinds"] = ", ".join(clusters.kinds()[:-1]) + " and " + clusters.kinds()[-1]
    for name, fact in facts.items():
        expected = expected.replace("{" + name + "}", fact)
    assert problems(file) == f"{file}:{expected}"


def test_all_problems_are_told_at_once_in_the_order_of_the_file(write):
    """Nobody has to fix one problem to be told the next."""
    file = write("""\
        defaults:
          retries: many
        cluster:
          kind: local
          n_workers: ${UNSET}
          n_workers: 3
          memory_limit: lots
        clustr: {}
    """)
    lines = [line.removeprefix(f"{file}:").split(": ")[:2] for line in problems(file).splitlines()]
    assert lines == [
        ["2", "defaults.retries"],
        ["5", "cluster.n_workers"],
        ["6", "cluster.n_workers"],
        ["7", "cluster.memory_limit"],
        ["8", "clustr"],
    ]


def test_problems_are_facts_as_well_as_text(write):
    """The error carries source, line, path and message of each problem."""
    file = write("defaults:\n  retries: many")
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    (problem,) = caught.value.problems
    assert (problem.source, problem.line, problem.path) == (file, 2, "defaults.retries")
    assert problem.message == "must be a whole number, not 'many'"


def test_problems_of_a_mapping_have_a_path_and_no_line():
    """Python has no lines to point at."""
    assert problems({"cluster": {"kind": "local", "n_workers": 0}}) == "cluster.n_workers: must be at least 1, not 0"


def test_a_missing_file_is_named_with_what_to_do(tmp_path):
    """The path that was looked at is in the message, and a file of nearly that name if there is one."""
    missing = str(tmp_path / "slurm.yaml")
    remedy = "give the path of a YAML file to config= or --config"
    assert problems(missing) == f"{missing}: there is no such file ({missing}); {remedy}"
    (tmp_path / "slrum.yaml").touch()
    assert problems(missing) == f"{missing}: there is no such file ({missing}); did you mean 'slrum.yaml'?"


def test_directories_and_binary_files_are_refused(tmp_path):
    """What cannot hold a configuration is said to be what it is."""
    assert problems(tmp_path) == f"{tmp_path}: is a directory; give the path of a YAML file"
    (tmp_path / "a.yaml").write_bytes(b"\xff\x00\xfe")
    expected = f"{tmp_path / 'a.yaml'}: is not a text file in UTF-8; save it as YAML text"
    assert problems(tmp_path / "a.yaml") == expected


def test_other_types_are_a_mistake_of_the_program():
    """A configuration is a path, a mapping or None."""
    with pytest.raises(TypeError, match=r"^config must be the path of a YAML file, a mapping or None, not 3$"):
        load_settings(3)

"""A configuration becomes typed settings, or one error that lists all that is wrong with it."""

from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asyncflow import clusters
from asyncflow.config import Settings, environment_config, json_schema, load_settings
from asyncflow.errors import ConfigError
from asyncflow.options import DEFAULTABLE
from asyncflow.units import seconds, size

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture
def write(tmp_path):
    """Write a configuration, and say where it is."""

    def _write(text):
        file = tmp_path / "test.yaml"
        file.write_text(dedent(text), encoding="utf-8")
        return str(file)

    return _write


@pytest.fixture
def certificates(tmp_path):
    """A directory with three files named as configs/address.yaml names them."""
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    return tmp_path


def problems(config, environ=()):
    """What is wrong with `config`, as text."""
    with pytest.raises(ConfigError) as caught:
        load_settings(config, dict(environ))
    return str(caught.value)


def local(environ=(), **keys):
    """The local cluster with `keys`."""
    return load_settings({"cluster": {"kind": "local", **keys}}, dict(environ)).cluster


# What is right


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_shipped_configuration_loads(file, certificates):
    """Each file of configs/ has no problems where its certificates are."""
    settings = load_settings(file, {"ASYNCFLOW_TLS": str(certificates)})
    assert settings.kind in clusters.kinds()
    assert settings.source == str(file)


def test_nothing_means_the_local_default():
    """Without a configuration there is no cluster section, and the kind is local."""
    assert load_settings(None) == Settings(cluster=None, kind="local", defaults={}, source=None)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "cluster:\ndefaults:\n", "{}"])
def test_empty_files_and_sections_are_the_default(write, text):
    """An empty file, or a key with nothing below it, means nothing was configured."""
    settings = load_settings(write(text))
    assert (settings.cluster, settings.kind, settings.defaults) == (None, "local", {})


def test_a_file_becomes_typed_settings(write):
    """Units become seconds and bytes, and only the defaults that were given are kept."""
    settings = load_settings(
        write("""
            cluster:
              kind: local
              n_workers: 3
              memory_limit: 2GB
              resources: {gpu: 1}
              death_timeout: 2m
              dashboard_address: ":8787"
            defaults: {retries: 2, timeout: "01:00:00", memory: 1GiB}
        """)
    )
    cluster = settings.cluster
    assert (cluster.n_workers, cluster.memory_limit, cluster.resources) == (3, 2_000_000_000, {"gpu": 1.0})
    assert (cluster.death_timeout, cluster.security, cluster.processes) == (120.0, "tls", True)
    assert settings.defaults == {"retries": 2, "timeout": 3600.0, "memory": 2**30}


def test_a_mapping_means_what_the_file_means(write):
    """The same content gives the same settings from a file and from Python, references included."""
    text = "{cluster: {kind: local, n_workers: '${N}', host: '${H:-here}'}, defaults: {retries: 1}}"
    from_file = load_settings(write(text), {"N": "2"})
    from_mapping = load_settings(yaml.safe_load(text), {"N": "2"})
    assert (from_file.cluster, from_file.defaults) == (from_mapping.cluster, from_mapping.defaults)


def test_anchors_and_merge_keys_are_understood(write):
    """``<<: *name`` brings in keys, which the mapping's own keys override."""
    text = """
        defaults: {resources: &gpu {gpu: 2, disk: 1}}
        cluster: {kind: local, resources: {<<: *gpu, disk: 5}}
    """
    assert load_settings(write(text)).cluster.resources == {"gpu": 2, "disk": 5}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (":8787", "127.0.0.1:8787"),
        (8787, "127.0.0.1:8787"),
        ("0.0.0.0:8787", "0.0.0.0:8787"),
        ("localhost:0", "localhost:0"),
        (None, None),
    ],
)
def test_dashboards_listen_on_this_machine_unless_a_host_is_named(written, meant):
    """A port alone is a port of 127.0.0.1."""
    assert local(dashboard_address=written).dashboard_address == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("auto", "auto"), (None, None), (0, 0), (0.5, 0.5), ("0.5", 0.5), ("4GB", 4 * 10**9), ("1GiB", 2**30), (512, 512)],
)
def test_memory_limits_are_written_as_localcluster_takes_them(written, meant):
    """A limit is a size, a share of the machine, auto, or none at all."""
    assert local(memory_limit=written).memory_limit == meant


def test_a_scheduler_is_joined_with_its_certificates(write, certificates):
    """Certificates are looked for beside the file that names them, whatever the working directory is."""
    keys = "tls_ca_file: ca.pem, tls_client_cert: cert.pem, tls_client_key: key.pem"
    settings = load_settings(write(f"cluster: {{kind: address, address: 'tls://head:8786', {keys}}}"))
    assert settings.kind == "address"
    assert settings.cluster.tls_ca_file == str(certificates / "ca.pem")


def test_a_scheduler_without_encryption_is_joined_by_name_only():
    """``security: none`` allows a tcp:// address."""
    cluster = {"kind": "address", "address": "tcp://head:8786", "security": "none"}
    assert load_settings({"cluster": cluster}).cluster.address == "tcp://head:8786"


def test_a_scheduler_file_stands_for_the_address(tmp_path):
    """The file that a scheduler wrote is enough to join it."""
    (tmp_path / "scheduler.json").write_text('{"address": "tcp://10.0.0.1:8786"}')
    cluster = {"kind": "address", "scheduler_file": tmp_path / "scheduler.json", "security": "none"}
    assert load_settings({"cluster": cluster}).cluster.scheduler_file == str(tmp_path / "scheduler.json")


def test_the_environment_names_a_file():
    """ASYNCFLOW_CONFIG is a path; empty is as good as unset."""
    assert environment_config({"ASYNCFLOW_CONFIG": "a.yaml"}) == "a.yaml"
    assert environment_config({"ASYNCFLOW_CONFIG": ""}) is None
    assert environment_config({}) is None


# References to the environment


def test_text_of_the_environment_may_stand_for_numbers_and_truth_values():
    """A value that is wholly a reference has the type that its key asks for."""
    cluster = local(
        {"N": "2", "P": "false", "H": "12", "V": "2", "SHARE": "0.5"},
        n_workers="${N}",
        processes="${P}",
        host="${H}",
        env={"V": "${V}", "E": "${E:-}"},
        memory_limit="${SHARE}",
        interface="${I:-}",
    )
    assert (cluster.n_workers, cluster.processes, cluster.host) == (2, False, "12")
    assert (cluster.env, cluster.memory_limit, cluster.interface) == ({"V": "2", "E": ""}, 0.5, None)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_values_of_the_environment_are_taken_as_they_are(value):
    """What a variable holds is put in its place and not looked into again."""
    assert local({"V": value}, local_directory="/scratch/${V}/x").local_directory == f"/scratch/{value}/x"


def test_a_default_stands_in_for_unset_and_empty_variables():
    """``:-`` works as in a shell, and ``$${`` is how a file says ``${``."""
    assert local({"E": ""}, local_directory="${E:-/tmp}/${U:-a b}").local_directory == "/tmp/a b"
    assert local(local_directory="/x/$${USER}").local_directory == "/x/${USER}"


# What is wrong


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


# Kinds, units, schema


def test_kinds_are_the_modules_of_the_package():
    """A kind is a module with a Config; an unknown one is refused with the list."""
    assert {"address", "local"} <= set(clusters.kinds())
    for kind in clusters.kinds():
        assert clusters.load(kind).Config.model_fields
        assert clusters.load(kind).__doc__
    with pytest.raises(ValueError, match=r"^unknown kind 'locale'; did you mean 'local'\? valid are address"):
        clusters.load("locale")


@given(st.integers(0, 30), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_durations_mean_the_same_however_they_are_written(days, hours, minutes, secs):
    """Clock, units and plain seconds agree."""
    total = ((days * 24 + hours) * 60 + minutes) * 60 + secs
    assert seconds(f"{days}-{hours:02}:{minutes:02}:{secs:02}") == total
    assert seconds(f"{days}d{hours}h {minutes}m{secs}s") == total
    assert seconds(total) == seconds(str(total)) == total


@given(st.integers(0, 10**6), st.sampled_from(["", "k", "M", "G", "T"]))
def test_sizes_count_in_thousands_unless_they_say_otherwise(number, prefix):
    """``GB`` is a power of 1000 and ``GiB`` one of 1024, with or without a space."""
    power = " kMGT".index(prefix or " ")
    assert size(f"{number}{prefix}B") == size(f"{number} {prefix}B") == number * 1000**power
    if prefix:
        assert size(f"{number}{prefix}iB") == number * 1024**power


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="$"), min_size=1)


@given(st.dictionaries(text, text))
def test_any_text_survives_the_way_through_a_file(tmp_path_factory, env):
    """Keys and values come out of a YAML file as they went in."""
    file = tmp_path_factory.getbasetemp() / "survives.yaml"
    file.write_text(yaml.safe_dump({"cluster": {"kind": "local", "env": env}}), encoding="utf-8")
    assert load_settings(file).cluster.env == env


def test_the_json_schema_knows_every_kind_and_default():
    """Editors are offered what load_settings accepts, and every key has its description."""
    schema = json_schema()
    by_kind = {
        body["properties"]["kind"]["const"]: body["properties"]
        for body in schema["$defs"].values()
        if "kind" in body["properties"]
    }
    assert sorted(by_kind) == clusters.kinds()
    for kind, properties in by_kind.items():
        assert set(properties) == {"kind", *clusters.load(kind).Config.model_fields}
        assert all("description" in body for key, body in properties.items() if key != "kind")
    assert set(schema["$defs"]["TaskOptions"]["properties"]) == DEFAULTABLE
    assert len(schema["properties"]["cluster"]["anyOf"]) == len(by_kind) + 1

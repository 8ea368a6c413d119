"""A configuration becomes typed settings, or one error that lists all that is wrong with it."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asyncflow import clusters
from asyncflow.config import Settings, environment_config, json_schema, load_settings
from asyncflow.options import DEFAULTABLE
from asyncflow.units import seconds, size

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture
def certificates(tmp_path):
    """A directory with three files named as configs/address.yaml names them."""
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    return tmp_path


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

"""Results that outlive their run: whole or not at all, and never anything but what was written."""

import json
import os
import pickle
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncflow.errors import CorruptResultError, FencedError, RunDirectoryError, SerializationError
from asyncflow.store import ResultStore

VALUE = {"energy": -1.5, "steps": list(range(50)), "name": "ä"}
FACTS = {"name": "simulate", "parts": {"code": "12", "argument seed": "34"}, "session": 2, "duration": 0.25}


class Goes:
    """Something whose class is gone when its pickle is opened."""


@pytest.fixture(params=["directory", "file URL", "memory"])
def store(request, tmp_path):
    if request.param == "memory":
        store = ResultStore(f"memory://{tmp_path.name}/results")
        yield store
        store.delete(store.keys())
        return
    yield ResultStore(("file://" if request.param == "file URL" else "") + str(tmp_path / "run" / "results"))


def put(store, name, data):
    """A file among the results that has not been written by them."""
    store._place.put(name, [data])


def get(store, name):
    return store._place.get(name)


def test_a_result_comes_back_with_what_was_written_down(store):
    """What is read is the value and the facts that were written, and when, and how large it is."""
    size = store.write("simulate-1", VALUE, FACTS)
    kept = store.read("simulate-1")
    assert kept.value == VALUE
    assert {name: kept.facts[name] for name in FACTS} == FACTS
    assert kept.facts["key"] == "simulate-1" and kept.facts["made"] > 1e9
    assert store.header("simulate-1") == store.verify("simulate-1") == kept.facts
    assert store.keys() == {"simulate-1": size}


def test_what_is_not_there_is_none(store):
    """A key without a result has no value, no header and no entry, and can be deleted."""
    assert store.read("simulate-1") is None
    assert store.header("simulate-1") is None
    assert store.keys() == {}
    store.delete(["simulate-1"])


def test_a_long_header_is_read_whole(store):
    """Facts that do not fit into the first read come back all the same."""
    facts = {"name": "simulate", "parts": {f"argument {i}": "0" * 32 for i in range(2000)}}
    store.write("simulate-1", 1, facts)
    assert store.header("simulate-1")["parts"] == facts["parts"]


def test_the_later_write_stands(store):
    """Writing a key again replaces its result."""
    store.write("simulate-1", 1, FACTS)
    store.write("simulate-1", 2, FACTS)
    assert store.read("simulate-1").value == 2


def test_a_deleted_result_is_gone(store):
    """Deleting forgets these keys and no others, also where some have gone before."""
    for key in ("a-1", "b-1", "c-1"):
        store.write(key, key, FACTS)
    store.delete(["a-1", "b-1"])
    store.delete(["b-1", "b-1"])
    assert list(store.keys()) == ["c-1"]


@given(
    value=st.one_of(st.binary(max_size=40), st.lists(st.integers(), max_size=5)),
    how=st.sampled_from(["cut", "flip", "lose", "insert", "append"]),
    place=st.integers(0),
    bit=st.integers(0, 7),
)
def test_no_damage_passes_for_a_result(value, how, place, bit):
    """Whatever is flipped in, cut from or added to a file: reading it names the file and gives no value."""
    store = ResultStore("memory://damage/results")
    store.write("simulate-1", value, FACTS)
    whole = get(store, "simulate-1")
    place %= len(whole)
    before, byte, after = whole[:place], whole[place], whole[place + 1 :]
    torn = {
        "cut": before,
        "flip": before + bytes([byte ^ (1 << bit)]) + after,
        "lose": before + after,
        "insert": before + bytes([bit, byte]) + after,
        "append": whole + whole[: place + 1],
    }[how]
    put(store, "simulate-1", torn)
    with pytest.raises(CorruptResultError, match=r"memory://damage/results/simulate-1 ") as caught:
        store.read("simulate-1")
    assert caught.value.path == "memory://damage/results/simulate-1"
    with pytest.raises(CorruptResultError):
        store.verify("simulate-1")


@given(place=st.integers(0), bit=st.integers(0, 7))
def test_no_damaged_header_passes_for_facts(place, bit):
    """Facts read without the result are what was written, or an error, wherever a bit has flipped."""
    store = ResultStore("memory://damage/results")
    store.write("simulate-1", VALUE, FACTS)
    facts, whole = store.header("simulate-1"), bytearray(get(store, "simulate-1"))
    whole[place % len(whole)] ^= 1 << bit
    put(store, "simulate-1", bytes(whole))
    with suppress(CorruptResultError):
        assert store.header("simulate-1") == facts


def test_a_result_under_another_name_is_refused(store):
    """A file that was given another key's name is not taken for that key's result."""
    store.write("simulate-1", VALUE, FACTS)
    put(store, "simulate-2", get(store, "simulate-1"))
    for read in (store.read, store.header):
        with pytest.raises(CorruptResultError, match="holds the result of 'simulate-1'"):
            read("simulate-2")


@pytest.mark.parametrize(("data", "fact"), [(b"", "is empty"), (b"hello world" * 9, "is no result of asyncflow")])
def test_foreign_files_are_refused(store, data, fact):
    """A file that is no result is said to be none."""
    put(store, "simulate-1", data)
    with pytest.raises(CorruptResultError, match=fact):
        store.read("simulate-1")


def test_what_cannot_be_opened_here_is_no_result(store, monkeypatch):
    """A value whose class is gone counts as damaged, so that it is computed again, and says why."""
    store.write("simulate-1", Goes(), FACTS)
    monkeypatch.delattr(f"{__name__}.Goes")
    with pytest.raises(CorruptResultError, match=r"cannot be opened here.*Goes"):
        store.read("simulate-1")


def test_what_cannot_be_pickled_is_named(store):
    """A value that cannot be pickled fails with its task's name, and leaves nothing."""
    with pytest.raises(SerializationError, match="the result of task 'simulate', a lock, cannot be pickled"):
        store.write("simulate-1", threading.Lock(), FACTS)
    assert store.keys() == {}


def test_functions_of_the_script_are_kept_by_value(store):
    """What has no importable name is kept all the same."""
    store.write("simulate-1", lambda x: x + 1, FACTS)
    assert store.read("simulate-1").value(1) == 2


def test_leftovers_do_not_count_and_are_swept(store):
    """Half-written files are no keys, and sweeping removes just these."""
    store.write("simulate-1", 1, FACTS)
    put(store, ".simulate-2.0badcafe", b"half a res")
    assert list(store.keys()) == ["simulate-1"]
    assert store.sweep() == 1
    assert store.sweep() == 0
    assert store.read("simulate-1").value == 1


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """Where a file cannot be put into its place the error is told, and neither result nor half of one stays."""
    store = ResultStore(tmp_path)

    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(OSError, match="No space left"):
        store.write("simulate-1", VALUE, FACTS)
    assert list(tmp_path.iterdir()) == []


def test_sweeping_under_a_writer_does_no_harm(tmp_path, monkeypatch):
    """A write whose temporary file is swept away begins again."""
    store, replace = ResultStore(tmp_path), os.replace

    def swept(source, target):
        monkeypatch.setattr(os, "replace", replace)
        assert store.sweep() == 1
        replace(source, target)

    monkeypatch.setattr(os, "replace", swept)
    store.write("simulate-1", VALUE, FACTS)
    assert store.read("simulate-1").value == VALUE


def test_only_the_owner_can_read(tmp_path):
    """Directory and files are the user's alone, whatever the umask says."""
    old = os.umask(0)
    try:
        store = ResultStore(tmp_path / "results")
        store.write("simulate-1", VALUE, FACTS)
        store.claim("mine")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "results").stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "results").iterdir()} == {0o600}


def test_two_at_once_leave_one_whole_result(store):
    """Of two that write a key at the same time one wins; readers meanwhile see the one or the other."""
    store.write("simulate-1", 0, FACTS)
    writers = [
        threading.Thread(target=lambda i=i: [store.write("simulate-1", [i] * 2000, FACTS) for _ in range(20)])
        for i in (1, 2, 3)
    ]
    for each in writers:
        each.start()
    seen = set()
    while any(each.is_alive() for each in writers):
        value = store.read("simulate-1").value
        seen.add(value if isinstance(value, int) else tuple(set(value)))
    for each in writers:
        each.join()
    assert seen <= {0, (1,), (2,), (3,)}
    assert list(store.keys()) == ["simulate-1"] and store.sweep() == 0


def test_a_claim_fences_others_off(store):
    """Once another has claimed the results, who had them before is refused; nobody else's claim is a result."""
    store.check("first")
    store.claim("first")
    store.check("first")
    store.claim("second")
    with pytest.raises(FencedError, match="are another driver's by now"):
        store.check("first")
    store.check("second")
    assert store.keys() == {}


def test_a_store_travels_small(store):
    """A store pickles as its place, opens nothing before it is used, and is equal wherever it arrives."""
    store.write("simulate-1", 1, FACTS)
    there = pickle.loads(pickle.dumps(store))
    assert there == store and hash(there) == hash(store)
    assert len(pickle.dumps(store)) < 300
    assert there.read("simulate-1").value == 1


def test_a_relative_path_is_meant_from_here(tmp_path, monkeypatch):
    """A store made with a relative path keeps its place when the program or a worker goes elsewhere."""
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path("results"))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    store.write("simulate-1", 1, FACTS)
    assert (tmp_path / "results" / "simulate-1").exists()
    assert store.path("simulate-1") == str(tmp_path / "results" / "simulate-1")


@pytest.mark.parametrize("key", ["", "../up", "a/b", ".hidden", "OWNER", "x" * 201, "a b"])
def test_impossible_keys_are_refused(store, key):
    """A key that would not be one plain file name is refused."""
    with pytest.raises(ValueError, match="cannot be the key of a result"):
        store.write(key, 1, {})


def test_a_place_that_cannot_be_reached_is_named():
    """A URL of a kind that nothing here serves says so, and what to do."""
    with pytest.raises(RunDirectoryError, match=r"results cannot be kept at 'nowhere://bucket/run'.*install"):
        ResultStore("nowhere://bucket/run").keys()


def test_the_header_is_plain_json(tmp_path):
    """Other programs can read the facts: a line that names the format, digests, and JSON."""
    ResultStore(tmp_path).write("simulate-1", 1, {"name": "simulate", "where": Path("/x")})
    data = (tmp_path / "simulate-1").read_bytes()
    assert data.startswith(b"asyncflow result 1\n")
    start = len(b"asyncflow result 1\n") + 32 + 4
    facts = json.JSONDecoder().raw_decode(data[start:].decode("latin-1"))[0]
    assert facts["name"] == "simulate" and facts["where"] == "/x"

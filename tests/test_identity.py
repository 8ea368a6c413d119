"""What a call is: the same in every process, another as soon as anything that matters has changed."""

import copy
import dataclasses
import functools
import importlib.util
import json
import math
import os
import pathlib
import pickle
import subprocess
import sys
import textwrap
import threading
from collections import Counter, OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from asyncflow.arguments import Ref
from asyncflow.errors import CheckpointError
from asyncflow.identity import FunctionIdentity, call_identity, explain, option_parts
from asyncflow.options import TaskOptions
from asyncflow.tokens import token

LIB = """
import math
import threading

class Engine:
    def function_task(self, function=None, **options):
        return function or (lambda function: function)

flow = Engine()
LOCK = threading.Lock()
SCALE = 2
OTHER = 7
TABLE = {"a": 1, "b": [2, 3]}

def helper(x):
    return deeper(x) + 1

def deeper(x):
    return x * SCALE

def circle(x):
    return around(x)

def around(x):
    return circle(x)

class Model:
    ORDER = 3

    def __init__(self, seed=0):
        self.seed = seed

    @property
    def value(self):
        return helper(self.seed)

def outer(n):
    def simulate(seed):
        return n * seed
    return simulate

@flow.function_task(retries=1)
def simulate(seed, steps=10, *, mode="fast"):
    return [TABLE["a"] * helper(each) for each in range(seed)]

def modelled(seed):
    return Model(seed).value

def locked(seed):
    with LOCK:
        return seed
"""


@pytest.fixture
def load(tmp_path):
    """Makes a module `lib` of a text, as another run of a program would find it."""
    before = sys.modules.get("lib")
    count = iter(range(1000))

    def load(text=LIB, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / str(next(count)) / "lib.py"
        path.parent.mkdir()
        path.write_text(textwrap.dedent(text))
        spec = importlib.util.spec_from_file_location("lib", path)
        module = sys.modules["lib"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    sys.modules.pop("lib", None)
    if before is not None:
        sys.modules["lib"] = before


def parts_of(function, **given):
    return FunctionIdentity(function, **given).parts()


def call(function, *args, upstream=(), after=(), version=None, **kwargs):
    return call_identity(parts_of(function, version=version), {}, function, args, kwargs, upstream, after)


# What a function is


CHANGES = [
    ("simulate", ('TABLE["a"] * helper', 'TABLE["b"] * helper'), "code changed"),
    ("simulate", ("return deeper(x) + 1", "return deeper(x) + 2"), "code of lib.helper changed"),
    ("simulate", ("return x * SCALE", "return x / SCALE"), "code of lib.deeper changed"),
    ("simulate", ("SCALE = 2", "SCALE = 2.0"), "global 'SCALE' of lib.deeper changed"),
    ("simulate", ('"b": [2, 3]', '"b": [3, 2]'), "global 'TABLE' changed"),
    ("simulate", ("steps=10", "steps=11"), "default 'steps' changed"),
    ("simulate", ('mode="fast"', 'mode="slow"'), "default 'mode' changed"),
    ("modelled", ("ORDER = 3", "ORDER = 4"), "member 'ORDER' of lib.Model changed"),
    ("modelled", ("return helper(self.seed)", "return helper(-self.seed)"), "code of lib.Model.value changed"),
    ("modelled", ("SCALE = 2", "SCALE = 3"), "global 'SCALE' of lib.deeper changed"),
    ("modelled", ("seed=0", "seed=1"), "default 'seed' of lib.Model.__init__ changed"),
    ("circle", ("return circle(x)", "return circle(x - 1)"), "code of lib.around changed"),
]


@pytest.mark.parametrize(("name", "change", "told"), CHANGES, ids=[each[2] for each in CHANGES])
def test_what_a_function_is_made_of_changes_the_key(load, name, change, told):
    """Code, defaults and the globals it names, also of the user's functions and classes it reaches, make the key."""
    old = call(getattr(load(), name), 3)
    new = call(getattr(load(LIB, change), name), 3)
    assert new.key != old.key
    assert told in explain(new.parts, old.parts)


@pytest.mark.parametrize(
    "change",
    [
        ("OTHER = 7", "OTHER = 8"),
        ("retries=1", "retries=5, priority=3"),
        ("@flow.function_task(retries=1)", "# a remark\n@flow.function_task"),
        ('return [TABLE["a"] * helper(each)', 'return [  # a remark\n        TABLE["a"] * helper(each)'),
        ("def locked(seed):", "def locked(seed, more):"),
        ('{"a": 1, "b": [2, 3]}', '{"b": [2, 3], "a": 1}'),
        ("import math\n", "import math\n\n\n"),
    ],
    ids=["a global it does not name", "options", "decorator", "layout", "another function", "order", "lines"],
)
def test_what_does_not_matter_leaves_the_key(load, change):
    """Options, remarks, layout, and whatever the function does not reach, leave the key as it is."""
    old = call(load().simulate, 3)
    new = call(load(LIB, change).simulate, 3)
    assert explain(new.parts, old.parts) == []
    assert new.key == old.key


def test_closure_values_count(load):
    """Two closures of one function with other values are two functions, and the value is named."""
    lib = load()
    one, two, again = (call(lib.outer(n), 3) for n in (1, 2, 1))
    assert one.key == again.key != two.key
    assert explain(two.parts, one.parts) == ["closure 'n' changed"]


def test_a_change_while_the_program_runs_is_seen(load):
    """A global or helper that is replaced between two calls, as in a notebook, changes the key of the second."""
    lib = load()
    identity = FunctionIdentity(lib.simulate)
    first = identity.parts()
    assert identity.parts() == first
    lib.SCALE = 5
    assert explain(identity.parts(), first) == ["global 'SCALE' of lib.deeper changed"]
    lib.SCALE = 2
    lib.TABLE["b"].append(4)
    assert explain(identity.parts(), first) == ["global 'TABLE' changed"]
    lib.TABLE["b"].pop()
    assert identity.parts() == first
    modelled = FunctionIdentity(lib.modelled)
    first = modelled.parts()
    assert modelled.parts() is first
    lib.Model.ORDER = 4
    assert explain(modelled.parts(), first) == ["member 'ORDER' of lib.Model changed"]


def test_the_parts_are_kept_while_nothing_changes(load):
    """A function with only plain things around it is looked at once."""
    lib = load()
    identity = FunctionIdentity(lib.helper)
    assert identity.parts() is identity.parts()


def test_code_that_runs_counts_not_its_edited_file(load):
    """Where the file was edited after it was loaded, its new text does not stand for the old code that runs."""
    lib = load()
    source = pathlib.Path(lib.__file__)
    text = source.read_text()
    source.write_text(text.replace("deeper(x) + 1", "deeper(x) + 2"))
    running = call(lib.helper, 1)
    edited = call(load(text, ("deeper(x) + 1", "deeper(x) + 2")).helper, 1)
    assert running.key != edited.key


def test_a_task_counts_as_its_function(load):
    """A decorated task among the globals is the function it was made of; its options do not count."""

    class Decorated:
        def __init__(self, function):
            self.__asyncflow_function__ = function
            self.lock = threading.Lock()

    lib = load()
    plain = call(lib.simulate, 3)
    lib.helper = Decorated(lib.helper)
    assert call(lib.simulate, 3).key == plain.key
    lib.helper = Decorated(lib.around)
    assert "global 'helper' changed" in explain(call(lib.simulate, 3).parts, plain.parts)


def test_functions_of_user_modules_are_followed(load, tmp_path):
    """What is taken out of a module of the user's by attribute, or imported in the body, counts too."""
    path = tmp_path / "side_module.py"
    text = "def f(x):\n    return x\n\ndef g(x):\n    return x\n"
    path.write_text(text)
    sys.path.insert(0, str(tmp_path))
    try:
        user = "import side_module\n\ndef by_attribute(x):\n    return side_module.f(x)\n"
        user += "\ndef inside(x):\n    import side_module as other\n    return other.f(x)\n"
        lib = load(user)
        old = {name: call(getattr(lib, name), 1) for name in ("by_attribute", "inside")}
        path.write_text(text.replace("return x\n\n", "return x + 1\n\n"))
        del sys.modules["side_module"]
        importlib.invalidate_caches()
        sys.path_importer_cache.pop(str(tmp_path), None)
        (tmp_path / "__pycache__").exists() and [each.unlink() for each in (tmp_path / "__pycache__").iterdir()]
        lib = load(user)
        new = {name: call(getattr(lib, name), 1) for name in ("by_attribute", "inside")}
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("side_module", None)
    assert explain(new["by_attribute"].parts, old["by_attribute"].parts) == ["code of side_module.f changed"]
    assert explain(new["inside"].parts, old["inside"].parts) == ["import 'side_module' changed"]


def test_installed_packages_count_by_version(load, monkeypatch):
    """Of what is installed the version counts, not what it is made of."""
    lib = load("import numpy as np\n\ndef f(x):\n    return np.linalg.norm(x)\n")
    old = call(lib.f, 1)
    monkeypatch.setattr(np, "__version__", "0.0.1")
    from asyncflow import sources

    sources._package.cache_clear()
    try:
        new = call(lib.f, 1)
    finally:
        sources._package.cache_clear()
    assert "global 'np' changed" in explain(new.parts, old.parts)
    assert sum(map(len, old.parts.values())) < 500


def test_what_cannot_be_hashed_is_refused_by_name(load):
    """A global that nothing tells from others is named, with its type and what to do instead."""
    with pytest.raises(CheckpointError) as caught:
        parts_of(load().locked, name="simulate")
    assert str(caught.value) == (
        "task 'simulate' cannot be checkpointed: its global 'LOCK' (a _thread.lock) cannot be hashed; pass it as an "
        "argument, make it in the body, or give version='1'"
    )
    assert caught.value.part == "global LOCK"


def test_what_a_helper_names_is_refused_with_the_helper(load):
    """The same for what a helper names, or a closure holds: whose it is is told."""
    lib = load(LIB, ("return x * SCALE", "return x * LOCK"))
    with pytest.raises(CheckpointError, match=r"its global 'LOCK' of lib\.deeper \(a _thread\.lock\)"):
        parts_of(lib.simulate)
    with pytest.raises(CheckpointError, match=r"its closure 'n' \(a list\) cannot be hashed: it holds a _thread\.lock"):
        parts_of(lib.outer([lib.LOCK]))


def test_a_version_stands_for_the_code(load):
    """With a version neither code nor globals count, hashable or not: only module, name and version do."""
    old = call(load().locked, 3, version="1")
    changed = load(LIB, ("return seed", "return -seed"))
    assert call(changed.locked, 3, version="1") == old
    new = call(changed.locked, 3, version="2")
    assert new.key != old.key
    assert explain(new.parts, old.parts) == ["version changed from '1' to '2'"]
    assert set(old.parts) == {"function", "version", "argument seed"}


@pytest.mark.parametrize("function", [math.sqrt, functools.partial(pow, 2), functools.cache(lambda x: x), len, dict])
def test_anything_that_can_be_called_has_an_identity(function):
    """Builtins, partials, cached functions and classes are told apart too."""
    one = parts_of(function)
    assert one == parts_of(function)
    assert one != parts_of(functools.partial(pow, 3))


def test_cached_functions_count_by_their_code(load):
    """What `functools.cache` makes of a helper still counts as the helper."""
    cached = "import functools\n" + LIB.replace("def deeper", "@functools.cache\ndef deeper")
    old = call(load(cached).simulate, 3)
    new = call(load(cached, ("return x * SCALE", "return x / SCALE")).simulate, 3)
    assert explain(new.parts, old.parts) == ["code of lib.deeper changed"]


# What a call is


def test_each_argument_counts_by_its_name(load):
    """A changed argument changes the key and is named, however it was passed."""
    lib = load()
    old = call(lib.simulate, 3, 20)
    assert call(lib.simulate, seed=3, steps=20) == old
    new = call(lib.simulate, 3, steps=21)
    assert new.key != old.key
    assert explain(new.parts, old.parts) == ["argument 'steps' changed"]
    assert explain(call(lib.simulate, 3).parts, old.parts) == ["argument 'steps' is gone"]


def test_the_upstream_counts_by_its_key(load):
    """What a call depends on counts by key, wherever in the arguments, and is named."""
    lib = load()
    args = (Ref(0), {"all": [Ref(1), Ref(0)]})
    old = call(lib.simulate, *args, upstream=["prep-1a", "mesh-2b"])
    assert call(lib.simulate, *args, upstream=["prep-1a", "mesh-2b"]) == old
    new = call(lib.simulate, *args, upstream=["prep-1a", "mesh-3c"])
    assert explain(new.parts, old.parts) == ["upstream 'mesh' changed (argument 'steps')"]
    swapped = call(lib.simulate, Ref(0), {"all": [Ref(0), Ref(1)]}, upstream=["prep-1a", "mesh-2b"])
    assert swapped.key != old.key
    value = call(lib.simulate, 1, {"all": [Ref(1), Ref(0)]}, upstream=["prep-1a", "mesh-2b"])
    assert explain(value.parts, old.parts) == [
        "argument 'seed' is new",
        "upstream 'prep' is gone (argument 'seed')",
    ]


def test_what_is_waited_for_counts(load):
    """A call that only waits for others depends on them too, in whatever order they were given."""
    lib = load()
    old = call(lib.simulate, 1, after=["prep-1a", "mesh-2b"])
    assert call(lib.simulate, 1, after=["mesh-2b", "prep-1a"]).key == old.key
    new = call(lib.simulate, 1, after=["mesh-2b", "prep-9f"])
    assert explain(new.parts, old.parts) == ["upstream 'prep' changed (after)"]


def test_options_of_commands_count():
    """Of options just those count that change what a command does."""
    old = option_parts(TaskOptions(env={"A": "1"}, cwd="/x"), "command")
    assert option_parts(TaskOptions(env={"A": "1"}, cwd="/x", retries=3, cores=4, priority=1), "command") == old
    new = option_parts(TaskOptions(env={"A": "2"}, cwd="/y", shell=True), "command")
    assert explain(new, old) == ["option 'shell' is new", "option 'cwd' changed", "option 'env A' changed"]
    assert "1" not in old.values() and "/x" not in old.values()
    assert option_parts(TaskOptions(), "function") == {}


def test_an_argument_that_cannot_be_hashed_is_refused_by_name(load):
    """An argument that nothing tells from others is named, with what in it is the matter."""
    with pytest.raises(CheckpointError, match=r"argument 'steps' \(a dict\).*it holds a _thread\.lock") as caught:
        call(load().simulate, 1, {"a": [threading.Lock()]})
    assert caught.value.part == "steps"


def test_code_in_arguments_counts(load):
    """Functions, partials and objects of the user's classes count with the code behind them."""
    lib, changed = load(), load(LIB, ("return x * SCALE", "return x - SCALE"))
    for make in (lambda m: m.helper, lambda m: functools.partial(m.helper, 1), lambda m: [m.Model(3)]):
        assert call(lib.simulate, make(lib)).key == call(lib.simulate, make(lib)).key
        assert call(lib.simulate, make(lib)).key != call(lib.simulate, make(changed)).key
    assert call(lib.simulate, lib.Model(3)).key != call(lib.simulate, lib.Model(4)).key


def test_keys_tell_their_task(load):
    """A key begins with the function's name and is a plain file name, whatever the function is called."""
    assert call(load().simulate, 1).key.startswith("simulate-")
    assert call(lambda x: x, 1).key.startswith("lambda-")


PROGRAM = """
import dataclasses, enum, functools, json, pathlib, sys
from asyncflow.identity import FunctionIdentity, call_identity

NAMES = {"a", "b", "c", "d"}

@dataclasses.dataclass
class Config:
    tags: frozenset = frozenset({"x", "y", "z"})
    depth: int = 3

class Colour(enum.Enum):
    RED = "red"

class Node:
    def __init__(self):
        self.names, self.other = {"p", "q", "r"}, self

def helper(x):
    return x in {"k", "l", "m"} and x in NAMES

def simulate(seed, config=Config(), *rest):
    return [helper(each) for each in (Config(seed), Colour.RED)]

arguments = [
    {"a", "b", "c"}, Config(), Colour.RED, Node(), helper, functools.partial(helper, {"u", "v"}), pathlib.Path("x"),
    {("a", frozenset({"b", "c"})): 1, "z": {1, "1", None}}, lambda x: x in {"s", "t"}, float("nan"), b"", Config,
]
identity = FunctionIdentity(simulate)
print(json.dumps([call_identity(identity.parts(), {}, simulate, (each,), {}) for each in arguments]))
"""


def test_keys_are_the_same_in_every_process(tmp_path):
    """Two processes with other hash seeds and another current directory come to the same keys."""
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    runs = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=tmp_path if seed == "1" else "/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        runs.append(json.loads(done.stdout))
    assert runs[0] == runs[1]
    assert len({key for key, _ in runs[0]}) == len(runs[0])


# Tokens of values


ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(), st.binary(max_size=8)
)
HASHABLE = st.recursive(
    ATOMS, lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)), max_leaves=5
)
VALUES = st.recursive(
    st.one_of(HASHABLE, st.dates(), st.datetimes(), st.timedeltas(), st.decimals(), st.fractions(), st.uuids()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner),
        st.sets(HASHABLE, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.builds(Counter, st.lists(st.text(max_size=2), max_size=4)),
    ),
    max_leaves=8,
)


@given(VALUES)
def test_a_copy_has_the_same_token(value):
    """A value that has been copied, or has travelled, is the same value."""
    assert token(value) == token(copy.deepcopy(value)) == token(pickle.loads(pickle.dumps(value)))


def told(value):
    """`value` as text that says all of it, types included."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return f"{kind}({sorted((told(key), told(item)) for key, item in value.items())})"
    if isinstance(value, (set, frozenset)):
        return f"{kind}({sorted(map(told, value))})"
    if isinstance(value, (list, tuple)):
        return f"{kind}({list(map(told, value))})"
    return f"{kind}:{value!r}"


@given(VALUES, VALUES)
def test_tokens_are_equal_just_where_values_are(one, two):
    """Other values, or equal ones of another type, have other tokens; NaN is like NaN."""
    assert (token(one) == token(two)) == (told(one) == told(two))


@given(st.dictionaries(HASHABLE, ATOMS, max_size=6), st.randoms())
def test_dicts_have_no_order(value, random):
    """Two dicts that were filled in another order are equal."""
    items = list(value.items())
    random.shuffle(items)
    assert token(dict(items)) == token(value)


ARRAYS = stn.arrays(
    st.one_of(stn.integer_dtypes(), stn.floating_dtypes(), stn.unicode_string_dtypes(max_len=3), stn.boolean_dtypes()),
    stn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


@given(ARRAYS)
def test_arrays_count_by_what_is_in_them(array):
    """How an array lies in memory does not matter; its type, shape and items do."""
    assert token(array) == token(np.asfortranarray(array).reshape(array.shape)) == token(copy.deepcopy(array))
    turned = array.T
    same = turned.shape == array.shape and turned.tobytes() == array.tobytes()
    assert (token(turned) == token(array)) == same
    assert token(array.reshape(-1)[::-1]) == token(array.reshape(-1)[::-1].copy())


@dataclasses.dataclass
class Point:
    x: float
    y: object = None


def circle():
    ring = [1]
    ring.append({"self": ring})
    return ring


def knot():
    points = [Point(float(each)) for each in range(30)]
    for each in points:
        each.y = points
    return points


@pytest.mark.parametrize(
    "make",
    [
        lambda: Point(1.0, [math.nan]),
        lambda: pathlib.Path("a/b"),
        lambda: np.array(["a-b", "c"], dtype=object),
        lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        lambda: np.ma.MaskedArray([1, 2], [False, True]),
        lambda: np.random.default_rng(3),
        lambda: np.float32(1.5),
        lambda: slice(1, None),
        lambda: OrderedDict(a=1, b=2),
        lambda: print,
        lambda: ValueError("no", 3),
        lambda: [].append,
        lambda: Point(1.0).__eq__,
        circle,
        knot,
    ],
)
def test_values_that_are_made_alike_have_one_token(make):
    """Whatever can be pickled has a token, which is the same for what was made the same way."""
    assert token(make()) == token(make())


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (np.array(["a-b", "c"], dtype=object), np.array(["a", "b-c"], dtype=object)),
        (np.array([1]).astype([("a", "i8")]), np.array([1]).astype([("b", "i8")])),
        (np.ma.MaskedArray([1, 2], [False, True]), np.ma.MaskedArray([1, 2], [True, True])),
        (np.zeros(2, "f4"), np.zeros(2, "i4")),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        (Point(1.0), Point(2.0)),
        (0.0, -0.0),
        (True, 1),
        (pathlib.Path("a"), "a"),
        (circle(), [1, {"self": 1}]),
        (math.sin, math.cos),
    ],
)
def test_values_that_differ_have_two_tokens(one, two):
    """What a body could tell apart is told apart."""
    assert token(one) != token(two)


class Fickle:
    def __reduce__(self):
        return bytes, (os.urandom(8),)


class Known:
    lock = threading.Lock()

    def __init__(self, name):
        self.name = name
        self.lock = threading.Lock()

    def __dask_tokenize__(self):
        return self.name


def test_a_class_may_say_what_its_objects_are():
    """``__dask_tokenize__`` is asked where a class has it."""
    assert token(Known("a")) == token(Known("a")) != token(Known("b"))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (threading.Lock(), "a _thread.lock cannot be hashed"),
        (object(), "an object cannot be hashed (nothing tells it from another)"),
        ([1, {"a": threading.Lock()}], "a list cannot be hashed: it holds a _thread.lock"),
        ((each for each in ()), "a generator cannot be hashed"),
        (functools.reduce(lambda inner, _: [inner], range(100_000), []), "it is nested too deeply"),
        (Fickle(), "its pickle differs from one time to the next"),
        (Known(object()), "it holds an object (nothing tells it from another)"),
    ],
    ids=["lock", "object", "inside", "generator", "deep", "fickle", "its own word"],
)
def test_what_nothing_tells_from_others_is_refused(value, told):
    """What has no content that could be compared is refused, with the reason."""
    with pytest.raises(CheckpointError) as caught:
        token(value)
    assert told in str(caught.value)

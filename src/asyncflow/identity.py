"""What a call is: its function, its options, its arguments and what it depends on, as one key."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from asyncflow.arguments import Ref
from asyncflow.errors import CheckpointError
from asyncflow.options import TaskOptions
from asyncflow.pickles import named
from asyncflow.references import Fingerprint
from asyncflow.sources import installed, qualified
from asyncflow.survey import Survey, changeable
from asyncflow.tokens import UnhashableError, because, by_name, kind_of, look, token

#: Options that change what a command does, or what it gives.
_OF_COMMANDS = ("shell", "cwd", "workdir", "capture_stdio")

_ATOMS = frozenset({int, float, complex, bool, str, bytes, type(None)})


class Identity(NamedTuple):
    """What a call is. Equal keys: equal calls, in whatever process; `parts` say what of it differs from another."""

    key: str
    parts: dict[str, str]


class FunctionIdentity:
    """What the function of a task is.

    That is its module and name, its source (or bytecode), defaults, closure values and the globals that it names, and
    the same of the user's own functions and classes among these. What it reaches by other ways, such as by `getattr`
    or from files, is not seen. With a `version` only module, name and version count.

    Parameters
    ----------
    name : str or None
        What errors call the task; the function's name by default.
    """

    def __init__(self, function: Callable[..., Any], version: str | None = None, name: str | None = None) -> None:
        self._function = function
        self._version = version
        self._name = name or str(getattr(function, "__name__", type(function).__name__))
        self._fingerprint = Fingerprint(function, _is_fixed, changeable)
        self._marks: list[Any] | None = None
        self._parts: dict[str, str] | None = None

    def known(self) -> dict[str, str] | None:
        """Its `parts` as far as they are known without reading sources; None where they, or what they name, changed."""
        if self._version is None:
            marks = self._fingerprint.take()
            if marks is None or marks != self._marks:
                return None
        return self._parts

    def parts(self) -> dict[str, str]:
        """``function`` and ``version``, or ``function``, ``code``, ``default x``, ``closure n``, ``global SCALE``…

        The same object as last time where nothing has changed; leave it as it is.

        Raises
        ------
        CheckpointError
            Naming what cannot be hashed.
        """
        if self._version is not None:
            if self._parts is None:
                self._parts = {"function": qualified(self._function), "version": self._version}
            return self._parts
        marks = self._fingerprint.take()
        if self._parts is None or marks is None or marks != self._marks:
            survey = Survey(self._name)
            survey.start(self._function)
            self._parts = {"function": qualified(self._function), **survey.parts}
            self._marks = marks
        return self._parts


def option_parts(options: TaskOptions, kind: str) -> dict[str, str]:
    """The options of a task of `kind` that are part of what its calls are: those that change a command."""
    if kind == "function":
        return {}
    given = {name: value for name in _OF_COMMANDS if (value := getattr(options, name))}
    if kind != "command" or options.capture_stdio == "beside":  # which changes nothing of the value
        given.pop("capture_stdio", None)
    given.update({f"env {name}": value for name, value in options.env.items()})
    return {"kind": kind, **{f"option {name}": token(value) for name, value in given.items()}}


def call_identity(
    function_parts: Mapping[str, str],
    options_parts: Mapping[str, str],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    upstream: Sequence[str] = (),
    after: Sequence[str] = (),
) -> Identity:
    """What one call is.

    Parameters
    ----------
    args, kwargs
        With `arguments.Ref` (i) where the value of upstream ``i`` belongs.
    upstream : sequence of str
        The keys of the calls whose values it gets.
    after : sequence of str
        The keys of the calls that it only waits for.

    Raises
    ------
    CheckpointError
        Naming the argument that cannot be hashed.
    """
    parts = {**function_parts, **options_parts}
    if after:
        parts["after"] = " ".join(sorted(set(after)))
    task = function_parts["function"].rpartition(".")[2]
    by_version = "version" in function_parts
    for name, value in named(function, args, kwargs):
        if type(value) in _ATOMS:
            parts[f"argument {name}"] = token(value)
        elif type(value) is Ref:
            parts[f"upstream of {name}"] = upstream[value.index]
        else:
            parts.update(_argument(task, name, value, upstream, by_version=by_version))
    return Identity(_key(task, parts), parts)


def _argument(task: str, name: str, value: Any, upstream: Sequence[str], *, by_version: bool) -> dict[str, str]:
    used: dict[str, None] = {}

    def key_of(ref: Ref) -> str:
        used[upstream[ref.index]] = None
        return upstream[ref.index]

    survey = Survey(task, versions=False)  # of data, whose type may well come with another version
    describe = by_name if by_version else survey.describe
    try:
        shape = look(value, describe, {Ref: lambda ref: ""})
        whole = look(value, describe, {Ref: key_of}) if upstream else shape
    except UnhashableError as error:
        raise CheckpointError(
            f"a call of task {task!r} cannot be checkpointed: its argument {name!r} ({kind_of(value)}) cannot be "
            f"hashed{because(error, value)}; pass something that can be pickled, or make it in the body",
            name,
        ) from None
    parts = {f"argument {name}": token([shape, survey.parts]) if survey.parts else shape}
    if used:
        parts[f"upstream of {name}"] = " ".join([*sorted(used), whole])
    return parts


def _key(task: str, parts: Mapping[str, str]) -> str:
    """The name of the task, for people who list results, and the hash of all parts."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    name = re.sub(r"[^A-Za-z0-9_]+", "", task)[:60] or "task"
    return f"{name}-{blake2b(text.encode(), digest_size=16).hexdigest()}"


def explain(parts: Mapping[str, str], older: Mapping[str, str]) -> list[str]:
    """What of a call differs from an older one, a sentence each; nothing where it is the same call."""
    names = [*parts, *(name for name in older if name not in parts)]
    changed = [name for name in names if parts.get(name) != older.get(name)]
    return list(dict.fromkeys(sentence for name in changed for sentence in _told(name, parts, older)))


def _told(name: str, parts: Mapping[str, str], older: Mapping[str, str]) -> Iterator[str]:
    new, old = parts.get(name), older.get(name)
    if name == "after" or name.startswith("upstream of "):
        yield from _upstream(name, new or "", old or "")
        return
    how = "changed" if new is not None and old is not None else "is new" if old is None else "is gone"
    kind, _, rest = name.partition(" ")
    inner, _, owner = (rest.removeprefix("of "), "", "") if kind == "code" else rest.partition(" of ")
    if kind in {"function", "version", "kind"} and new is not None and old is not None:
        yield f"{kind} changed from {old!r} to {new!r}"
    elif not inner:
        yield f"{kind} {how}"
    elif kind == "code":
        yield f"code of {inner} {how}"
    else:
        yield f"{kind} {inner!r}{' of ' + owner if owner else ''} {how}"


def _upstream(name: str, new: str, old: str) -> Iterator[str]:
    now, before = ({key for key in text.split() if "-" in key} for text in (new, old))
    where = f" (argument {name.removeprefix('upstream of ')!r})" if name != "after" else " (after)"
    names_now, names_before = ({key.rpartition("-")[0] for key in keys} for keys in (now - before, before - now))
    for task in sorted(names_now | names_before):
        how = "changed" if task in names_now & names_before else "is new" if task in names_now else "is gone"
        yield f"upstream {task!r} {how}{where}"
    if now == before:
        yield f"upstream calls are in another order{where}"


def _is_fixed(value: Any) -> bool:
    """Whether a function or class is an installed package's, which nobody changes while a program runs."""
    return installed(getattr(value, "__module__", None)) is not None

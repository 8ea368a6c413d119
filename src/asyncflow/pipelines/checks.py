"""References that mean something, tasks that do not wait for each other in a circle, options that there are."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from asyncflow.config.source import Place
from asyncflow.errors import OptionError
from asyncflow.options import BLOCK_ONLY, DEFAULTABLE, parse_options
from asyncflow.pipelines.expressions import NAMED, ROOTS, Reference, Template, references_in, templates_in
from asyncflow.pipelines.making import LATE_FILE
from asyncflow.pipelines.params import settle
from asyncflow.pipelines.source import PARTS, Source, Step
from asyncflow.suggest import hint

#: What ``${run.…}`` knows.
RUN = ("dir", "id")

#: Roots whose values are known before anything runs.
EARLY = frozenset({"params", "env", "run"})


def check_references(source: Source, environ: Mapping[str, str]) -> None:
    """Complain of every reference to what there is not, or not there."""
    for place, step, part, reference in _all(source):
        problem = _unknown(source, reference, environ) or _misplaced(step, part, reference)
        if problem is None and reference.root == "tasks" and _names_a_file(place, part):
            problem = f"{reference.text}: {LATE_FILE}"
        if problem is not None:
            source.document.complain(problem, place)
    for step in source.steps.values():
        for index, name in enumerate(step.model.after):
            if name not in source.steps and name not in source.broken:
                problem = f"there is no task {name!r}; {hint(name, list(source.steps))}"
                source.document.complain(problem, ("tasks", step.name, "after", index))


def _names_a_file(place: Place, part: str) -> bool:
    """Whether the text at `place` is the name of a declared file."""
    return part in {"needs", "makes"} or (part == "run" and place[-1] in {"input", "output"})


def _all(source: Source) -> Iterator[tuple[Place, Step | None, str, Reference]]:
    """Every reference: where it stands, in which task and part."""
    trees: list[tuple[Place, Step | None, str, Any]] = [
        (step.place(part), step, part, tree) for step in source.steps.values() for part, tree in step.trees.items()
    ]
    trees += [(("outputs", name), None, "outputs", tree) for name, tree in source.outputs.items()]
    for outer, step, part, tree in trees:
        for inner, template in templates_in(tree):
            for reference in template.references:
                yield (*outer, *inner), step, part, reference


def _unknown(source: Source, reference: Reference, environ: Mapping[str, str]) -> str | None:
    """What is wrong with what it names."""
    root, name, text = reference.root, reference.name, reference.text
    if root not in ROOTS:
        return f"{text}: there is no {root!r}; {hint(root, ROOTS)}"
    known: dict[str, Iterable[str]] = {
        "params": source.params,
        "tasks": {*source.steps, *source.broken},
        "env": environ,
        "run": RUN,
    }
    if root not in known or name in known[root]:
        return None
    if root == "env":
        return f"{text}: the environment variable {name!r} is not set; set it, or make it a parameter"
    word = {"params": "parameter", "tasks": "task", "run": "fact of the run called"}[root]
    return f"{text}: there is no {word} {name!r}; {hint(name, list(known[root]))}"


def _misplaced(step: Step | None, part: str, reference: Reference) -> str | None:
    """What is wrong with where it stands."""
    root, text = reference.root, reference.text
    if part == "options" and root not in EARLY:
        return f"{text}: options must be known before anything runs; refer to parameters only"
    if root in NAMED:
        return None
    if root not in PARTS.get(part, frozenset()):
        parts = [name for name, roots in PARTS.items() if root in roots]
        return f"{text} means nothing in {part}; it can stand in {', '.join(parts)}"
    if root == "item" and step is not None and not step.is_many:
        return f"{text}: the task has no foreach:, so that there is no item; give it one"
    if root != "item" and step is not None and step.repeat is None:
        return f"{text}: the task has no repeat:, so that there is no {root}; give it one"
    return None


def check_cycles(source: Source) -> None:
    """Complain of each circle once, as the chain of names."""
    in_order = {step.name for step in source.ordered()}
    left = [name for name in source.steps if name not in in_order]
    told: set[str] = set()
    for name in left:
        chain = _circle(source, name)
        if chain and told.isdisjoint(chain):
            told.update(chain)
            first = chain[0]
            text = " -> ".join(chain)
            source.document.complain(f"waits for itself: {text}; break the circle", ("tasks", first))


def _circle(source: Source, start: str) -> list[str]:
    """The names from a task that waits for itself back to it, each waiting for the next; nothing if it only waits."""
    stack = [(start, [start])]
    seen = set()
    while stack:
        name, chain = stack.pop()
        for upstream in source.steps[name].upstream():
            if upstream == start:
                return [*chain, start]
            if upstream in source.steps and upstream not in seen:
                seen.add(upstream)
                stack.append((upstream, [*chain, upstream]))
    return []


def check_options(source: Source) -> None:
    """Complain of options that there are not, or with impossible values; those with references are looked at later."""
    _check_options(source, source.defaults, "command", ("defaults",), only_defaults=True)
    for step in source.steps.values():
        if not any(references_in(step.trees.get("options"))):
            kind = "block" if step.kind == "pipeline" else step.kind
            _check_options(source, step.model.options, kind, ("tasks", step.name, "options"))


def _check_options(
    source: Source, given: Mapping[str, Any], kind: str, place: Place, *, only_defaults: bool = False
) -> None:
    reserved = {"name", "after", "shell"}
    for name in given:
        if name in reserved and (kind != "block" or name not in BLOCK_ONLY):
            told = {
                "name": "take it away: the task has its name already",
                "after": "write after: beside it",
                "shell": "write shell: beside it",
            }
            source.document.complain(f"{name!r} is no option here; {told[name]}", (*place, name))
        elif only_defaults and name not in DEFAULTABLE:
            source.document.complain(
                f"{name!r} cannot be a default of all tasks; {hint(name, sorted(DEFAULTABLE))}", (*place, name)
            )
    for name, value in given.items():
        if name in reserved or (only_defaults and name not in DEFAULTABLE):
            continue
        try:
            parse_options({name: value}, kind)
        except OptionError as error:
            source.document.complain(str(error), (*place, name))


def check_inner_params(source: Source, step: Step) -> None:
    """Complain of parameters of an inner pipeline that there are not, that are missing, or are of a wrong type."""
    assert step.inner is not None
    place: Place = ("tasks", step.name, "params")
    tree = step.trees.get("params") or {}
    plain = {name: value for name, value in tree.items() if not _has_references(value)}
    inner = step.inner

    def complain(name: str, message: str) -> None:
        if name not in tree or name in plain or name not in inner.params:
            source.document.complain(message.replace(f"give --set {name}=VALUE", f"give {name}:"), (*place, name))

    missing_only = {**{name: inner.params[name].default for name in tree if name in inner.params}, **plain}
    settle(inner.params, {**dict.fromkeys(tree), **missing_only}, complain, has_default=inner.has_default)


def _has_references(tree: Any) -> bool:
    return isinstance(tree, Template) or any(references_in(tree))

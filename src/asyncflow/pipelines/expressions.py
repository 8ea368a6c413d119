"""References in a pipeline file: ``${tasks.simulate[*].energy}``, alone or inside a text.

The grammar, whole::

    text       = { anything | "$${" | "${" reference "}" }
    reference  = root { "." name | "[" number "]" | "[*]" | '["' key '"]' }
    root       = "params" | "tasks" | "item" | "env" | "run" | "previous" | "round" | "result"

``$${`` stands for ``${``. There are no operators, no calls and no arithmetic.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final, NamedTuple


class Each(Enum):
    """The step ``[*]``: of every item of a list."""

    ALL = "*"


ALL: Final = Each.ALL

Step = str | int | Each

ROOTS = ("params", "tasks", "item", "env", "run", "previous", "round", "result")

#: Roots whose next name says what is meant.
NAMED = frozenset({"params", "tasks", "env", "run"})

_REFERENCE = re.compile(r"(\$?)\$\{([^{}]*)\}")
_ROOT = re.compile(r"[A-Za-z_]\w*")
_STEP = re.compile(r"""\.([A-Za-z_][\w-]*)|\[(-?\d+)\]|(\[\*\])|\["([^"\]]*)"\]|\['([^'\]]*)'\]""")


class Reference(NamedTuple):
    """One reference.

    Attributes
    ----------
    root : str
        One of `ROOTS`.
    steps : tuple
        What comes behind it: names, numbers, and ``ALL``.
    text : str
        As it is written.
    """

    root: str
    steps: tuple[Step, ...]
    text: str

    @property
    def name(self) -> str:
        """Of the parameter, task or variable that is meant; empty where the root is the thing itself."""
        return str(self.steps[0]) if self.root in NAMED else ""

    @property
    def rest(self) -> tuple[Step, ...]:
        """The steps behind the name."""
        return self.steps[1:] if self.root in NAMED else self.steps


class Template(NamedTuple):
    """A text with references; `parts` are text and references in turn."""

    parts: tuple[str | Reference, ...]

    @property
    def alone(self) -> Reference | None:
        """The reference that is all of it; None where there is text around it."""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], Reference) else None

    @property
    def references(self) -> list[Reference]:
        """All of them."""
        return [part for part in self.parts if isinstance(part, Reference)]


def parse_text(text: str) -> str | Template:
    """`text` with its references; plain text where there are none.

    Raises
    ------
    ValueError
        Saying which reference cannot be read, and how it is written.
    """
    if "${" not in text:
        return text
    parts: list[str | Reference] = []
    end = 0
    for match in _REFERENCE.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        parts.append(match[0][1:] if match[1] else parse_reference(match[2], match[0]))
    parts.append(text[end:])
    if isinstance(left := parts[-1], str) and "${" in left and not left.endswith("$${"):
        raise ValueError(f"{left[left.index('${') :]!r} is not closed; write ${{name}}, or $${{ for the characters")
    merged = _merged(parts)
    if all(isinstance(part, str) for part in merged):
        return "".join(map(str, merged))
    return Template(tuple(merged))


def parse_reference(inner: str, whole: str) -> Reference:
    """The reference ``${inner}``.

    Raises
    ------
    ValueError
        When it is none.
    """
    inner = inner.strip()
    root = _ROOT.match(inner)
    steps, end = [], root.end() if root else 0
    while root and (step := _STEP.match(inner, end)):
        name, number, every, double, single = step.groups()
        key = next((each for each in (name, double, single) if each is not None), None)
        steps.append(ALL if every else int(number) if number is not None else str(key))
        end = step.end()
    if root is None or end < len(inner):
        raise ValueError(
            f"{whole!r} is no reference; write ${{tasks.name}}, ${{params.name}}, ${{item}} and the like, with .field, "
            '[0], [*] or ["key"] behind it'
        )
    if root[0] in NAMED and (not steps or not isinstance(steps[0], str)):
        raise ValueError(f"{whole!r} does not say which; write ${{{root[0]}.name}}")
    return Reference(root[0], tuple(steps), whole)


def parse_tree(value: Any) -> Any:
    """`value` of a file with every text in it parsed; see `parse_text`."""
    if isinstance(value, str):
        return parse_text(value)
    if isinstance(value, list):
        return [parse_tree(item) for item in value]
    if isinstance(value, dict):
        return {key: parse_tree(item) for key, item in value.items()}
    return value


def templates_in(tree: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Template]]:
    """Every template in a parsed tree, and where it stands."""
    if isinstance(tree, Template):
        yield place, tree
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from templates_in(item, (*place, index))
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield from templates_in(item, (*place, key))


def references_in(tree: Any) -> Iterator[Reference]:
    """Every reference in a parsed tree."""
    for _, template in templates_in(tree):
        yield from template.references


def _merged(parts: list[str | Reference]) -> list[str | Reference]:
    merged: list[str | Reference] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "":
            merged.append(part)
    return merged

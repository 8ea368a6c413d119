"""Shell scripts with references: values become variables of the shell, so that none of them is ever read as code."""

from collections.abc import Sequence
from typing import Any

from asyncflow.pipelines.expressions import Reference, Template

#: What shells are called, and how they run a script that ends at the first command that fails.
SHELLS = {"sh": ["/bin/sh", "-e", "-c"], "bash": ["bash", "-e", "-o", "pipefail", "-c"]}

_PREFIX = "asyncflow_"


def script_words(shell: str, template: str | Template) -> list[Any]:
    """The command that runs the script: words, with references where their values belong.

    The script reads ``"$asyncflow_1"`` where the first reference stands, and is given its value as an argument.

    Raises
    ------
    ValueError
        Where a reference stands where no variable is expanded, or more than one word could come of it.
    """
    if isinstance(template, str):
        return [*SHELLS[shell], template]
    text, references = _with_variables(template.parts)
    names = [f"{_PREFIX}{number}" for number in range(1, len(references) + 1)]
    prelude = "; ".join(f"{name}=${{{number}}}" for number, name in enumerate(names, 1))
    return [
        *SHELLS[shell],
        f"{prelude}; shift {len(names)}\n{text}",
        shell,
        *(Template(("", each)) for each in references),  # no reference alone, which may be several words
    ]


def _with_variables(parts: Sequence[str | Reference]) -> tuple[str, list[Reference]]:
    text, references = "", []
    scanner = _Scanner()
    for part in parts:
        if isinstance(part, str):
            _refuse_here_documents(part)
            scanner.read(part)
            text += part
            continue
        references.append(part)
        text += _variable(f"{_PREFIX}{len(references)}", scanner.quote, part)
    return text, references


def _variable(name: str, quote: str, reference: Reference) -> str:
    if wrong := _NOWHERE.get(quote):
        raise ValueError(f"{reference.text!r} stands {wrong}")
    return f"${{{name}}}" if quote in {'"', "#"} else f'"${{{name}}}"'


_NOWHERE = {
    "'": "in single quotes, where a shell expands nothing; use double ones",
    "\\": "behind a backslash; take that away",
    "`": "between backticks; write $(...) in their place",
}


class _Scanner:
    """Knows in which quotes the next character of a script stands."""

    def __init__(self) -> None:
        self._open = [""]  # innermost last: "" is a command, ( one in parentheses, else the quote
        self._before = "\n"

    @property
    def quote(self) -> str:
        """The quote that is open: nothing, ``'``, ``"``, a backtick, ``#`` of a comment, or a backslash just before."""
        return self._open[-1].strip("(")

    def read(self, text: str) -> None:
        """These are the next characters."""
        for char in text:
            self._next(char)
            self._before = char if char.strip() else " "

    def _next(self, char: str) -> None:
        inner = self._open[-1]
        if inner == "\\":
            self._open.pop()
            self._before = ""
        elif inner in {"'", "#"}:
            if char == (inner if inner == "'" else "\n"):
                self._open.pop()
        elif char == "\\":
            self._open.append(char)
        elif char == inner and char in {'"', "`"}:
            self._open.pop()
        elif char == "(" and (inner in {"", "("} or self._before == "$"):
            self._open.append("(")
        elif char == ")" and inner == "(":
            self._open.pop()
        elif (
            char in {'"', "`"}
            or (char == "'" and inner in {"", "("})
            or (char == "#" and inner in {"", "("} and self._before in {"", " ", ";", "(", "\n"})
        ):
            self._open.append(char)


def _refuse_here_documents(text: str) -> None:
    if "<<" in text.replace("<<<", ""):
        raise ValueError(
            "a script with references cannot have a here-document (<<), whose quoting differs; write the text with "
            "printf, or to a file of its own"
        )

"""The code on our Markdown pages: found, and run as a reader would run it.

One rule: the Python blocks of a page are run from top to bottom in one fresh process, like the cells of a notebook.
They share one namespace, and ``await`` may stand at the top level. ``python tests/pages.py PAGE`` runs a page by hand.
A block that begins with a comment of nothing but a file name is that file, for the programs and pipelines of the page.
"""

import ast
import asyncio
import inspect
import re
import sys
from pathlib import Path
from typing import NamedTuple

_OPENING = re.compile(r"^(?P<indent>[ \t>]*)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_FILE = re.compile(r"# ([\w-]+\.(?:py|yaml))\n")
_PYTHON = re.compile(r"\b(python\d*|py\d*|pycon\d*|ipython\d*|pyi)\b", re.IGNORECASE)


class Block(NamedTuple):
    """One fenced block: its language (whatever follows the fence), its text, and the line where the text begins."""

    language: str
    text: str
    line: int

    @property
    def is_python(self):
        return bool(_PYTHON.search(self.language))

    @property
    def file(self):
        """The name of the file that it is; None for a block that is none."""
        found = _FILE.match(self.text)
        return found[1] if found else None


class Page(NamedTuple):
    """One page: its fenced blocks, and its other lines with their numbers."""

    blocks: list[Block]
    prose: list[tuple[int, str]]

    @property
    def python(self):
        return [block for block in self.blocks if block.is_python]

    def write_files(self, directory):
        """Write the blocks that are files; their names."""
        files = {block.file: block.text for block in self.blocks if block.file}
        for name, text in files.items():
            Path(directory, name).write_text(text, encoding="utf-8")
        return list(files)


class PageError(Exception):
    """A page that cannot be read with certainty."""


def read_page(text, name="page"):
    """Part `text` into blocks and prose; indented blocks (in admonitions, lists, tabs) are blocks as well."""
    blocks, prose = [], []
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        opening = _OPENING.match(line)
        if opening is None:
            prose.append((number, line))
            continue
        indent, fence = opening["indent"], opening["fence"]
        if fence[0] == "`" and "`" in opening["info"]:
            raise PageError(f"{name}:{number}: a block on one line; give each fence a line of its own")
        closing = re.compile(rf"^[ \t>]*{re.escape(fence[0])}{{{len(fence)},}}\s*$")
        inside = []
        for _, other in lines:
            if closing.match(other):
                break
            inside.append(other.removeprefix(indent) if other.strip() else "")
        else:
            raise PageError(f"{name}:{number}: the block that begins here is never closed")
        blocks.append(Block(opening["info"].strip(), "\n".join(inside) + "\n", number + 1))
    return Page(blocks, prose)


def run_page(path):
    """Run the Python blocks of the page at `path` in this directory; tracebacks show its own lines."""
    namespace = {"__name__": "__main__"}
    page = read_page(path.read_text(encoding="utf-8"), str(path))
    if page.write_files("."):
        sys.path.insert(0, str(Path.cwd()))  # as for a script beside them
    with asyncio.Runner() as runner:
        for block in page.python:
            source = "\n" * (block.line - 1) + block.text
            code = compile(source, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(code, namespace))
            else:
                exec(code, namespace)  # outside the loop, so that a program may call asyncio.run


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))

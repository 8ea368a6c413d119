"""The public names: complete, sorted, importable, documented."""

import ast
import re
from pathlib import Path

import asyncflow
from asyncflow import errors

ROOT = Path(__file__).parent.parent


def _subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub.__name__
        yield from _subclasses(sub)


def test_all_is_sorted_and_importable():
    """Each name of ``__all__`` stands there once, in order, and exists."""
    assert asyncflow.__all__ == sorted(set(asyncflow.__all__))
    for name in asyncflow.__all__:
        assert getattr(asyncflow, name) is not None
    assert dir(asyncflow) == asyncflow.__all__


def test_type_checkers_see_the_same_names():
    """What is imported for type checkers is what is loaded when it is used."""
    tree = ast.parse(Path(asyncflow.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert seen == set(asyncflow.__all__) - {"__version__"}


def test_every_error_is_public():
    """Whatever of its own asyncflow raises can be caught by a public name, and stands in the tree."""
    ours = {name for name in _subclasses(errors.AsyncflowError) if name in vars(errors)} | {"AsyncflowError"}
    assert ours <= set(asyncflow.__all__)
    assert ours == set(re.findall(r"(?:── |^    )(\w+Error)", errors.__doc__, re.MULTILINE))


def test_every_public_name_is_in_the_reference():
    """``docs/api.md`` has an entry for each; an alias and the version are told in prose."""
    text = (ROOT / "docs" / "api.md").read_text()
    entries = set(re.findall(r"^::: asyncflow\.(\w+)$", text, re.MULTILINE))
    in_prose = {"LocalExecutionBackend", "__version__"}
    assert entries == set(asyncflow.__all__) - in_prose
    assert all(f"`{name}`" in text for name in in_prose)


def test_an_unknown_name_is_an_attribute_error():
    """As for every module."""
    assert not hasattr(asyncflow, "Workflow")

"""What the pages say is true: their programs run, their configurations load, their commands exist."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import pages
from asyncflow import cli, load_pipeline
from asyncflow.cli import _pipelines
from asyncflow.config import load_settings

ROOT = Path(__file__).parent.parent
FILES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"))]
)
PAGES = {str(path.relative_to(ROOT)): pages.read_page(path.read_text(encoding="utf-8"), path.name) for path in FILES}
LANGUAGES = {"python", "yaml", "sh", "text", "mermaid"}
OUTSIDE = re.compile(r"^\s*(>>> |@flow\.|async def |await |import \w+$|from \w[\w.]* import )")

BLOCKS = [pytest.param(name, block, id=f"{name}:{block.line}") for name, page in PAGES.items() for block in page.blocks]


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if page.python])
def test_the_programs_of_a_page_run(name, tmp_path):
    """Every Python block runs, from top to bottom in one fresh process, and leaves no engine open."""
    runner = [sys.executable, "-W", "error", "-W", "default::ResourceWarning", pages.__file__, str(ROOT / name)]
    done = subprocess.run(runner, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was left open" not in done.stderr
    assert "never awaited" not in done.stderr


@pytest.mark.parametrize(("name", "block"), BLOCKS)
def test_blocks_are_fenced_in_the_languages_we_know(name, block):
    """A block says its language in one of the ways that the other tests look for, and Python parses."""
    assert block.language in LANGUAGES, f"{name}:{block.line - 1}: {block.language!r}, write one of {sorted(LANGUAGES)}"
    if block.is_python:
        compile(block.text, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("name", PAGES)
def test_no_program_stands_outside_a_block(name):
    """Python that is merely indented would be shown and never run."""
    found = [f"{name}:{number}: {line}" for number, line in PAGES[name].prose if OUTSIDE.match(line)]
    assert not found


@pytest.mark.parametrize("name", PAGES)
def test_every_python_fence_is_collected(name):
    """Counted in another way, there are as many Python blocks as are run."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(re.findall(r"[`~]{3,}[ {.]*i?py", text)) == len(PAGES[name].python)
    assert "--8<--" not in text  # would bring in a page that is not looked at
    assert "<pre" not in text


@pytest.mark.parametrize(
    "text",
    [
        "```python\n1\n```\n",
        "```py\n1\n```\n",
        "``` py\n1\n```\n",
        "```pycon\n1\n```\n",
        "```{.python .annotate}\n1\n```\n",
        '```python title="a.py"\n1\n```\n',
        "~~~python\n1\n~~~\n",
        "````python\n1\n````\n",
        "!!! note\n\n    ```python\n    1\n    ```\n",
        "1. first\n\n   ```python3\n   1\n   ```\n",
        "> ```python\n> 1\n> ```\n",
    ],
)
def test_the_collector_sees_every_way_to_fence_python(text):
    """However a block is fenced, it is collected, its indentation taken off."""
    assert [block.text for block in pages.read_page(text).python] == ["1\n"]


@pytest.mark.parametrize("text", ["```python\n1\n", "!!! note\n\n    ```python\n    1\n", "````python\n1\n```\n"])
def test_an_unclosed_block_is_refused(text):
    """What follows an unclosed block would be swallowed."""
    with pytest.raises(pages.PageError, match=r"page:\d: .* never closed"):
        pages.read_page(text)


@pytest.mark.parametrize(
    ("text", "error"), [("```python\nx = await f()\n```\n", "NameError"), ("```python\n1 / 0\n```\n", "ZeroDivision")]
)
def test_a_page_whose_program_fails_is_told_with_its_line(text, error, tmp_path):
    """The runner fails where a block fails, and shows the line of the page."""
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n{text}")
    done = subprocess.run([sys.executable, pages.__file__, page], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f'{page}", line 4' in done.stderr
    assert error in done.stderr


def _pipeline_blocks():
    for name, page in PAGES.items():
        for block in page.blocks:
            if block.language == "yaml" and re.search(r"^tasks:", block.text, re.MULTILINE):
                yield pytest.param(page, block, id=f"{name}:{block.line}")


@pytest.mark.parametrize(("page", "block"), list(_pipeline_blocks()))
def test_pipelines_load(page, block, tmp_path, monkeypatch):
    """Every YAML block with a top-level ``tasks:`` is a pipeline in which nothing is wrong, beside the page's files."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in page.write_files(tmp_path):
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)  # of another page
    file = tmp_path / (block.file or "page.yaml")
    file.write_text(block.text)
    assert load_pipeline(file).tasks


def _configurations():
    for name, page in PAGES.items():
        for block in page.blocks:
            keys = set(re.findall(r"^(\w+):", block.text, re.MULTILINE)) if block.language == "yaml" else set()
            if keys & {"cluster", "defaults"} and "tasks" not in keys:
                yield pytest.param(block.text, id=f"{name}:{block.line}")


@pytest.mark.parametrize("text", list(_configurations()))
def test_configurations_load(text, tmp_path):
    """Every YAML block with a top-level ``cluster:`` or ``defaults:`` is a configuration without problems."""
    for path in re.findall(r"[\w./-]+\.(?:pem|json)", text):  # which they name, beside them
        file = tmp_path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"address": "tls://127.0.0.1:8786"}')
    file = tmp_path / "page.yaml"
    file.write_text(text)
    settings = load_settings(file, {"HOME": str(tmp_path)})
    assert settings.kind == (yaml.safe_load(text).get("cluster") or {"kind": "local"})["kind"]


def _commands():
    """Every ``make X`` and ``asyncflow X`` in shell blocks and between backquotes."""
    for name, page in PAGES.items():
        texts = [block.text for block in page.blocks if block.language == "sh"]
        texts += [code for _, line in page.prose for code in re.findall(r"`([^`]+)`", line)]
        for text in texts:
            for command in re.findall(r"^(?:\$ )?(?:\S+=\S+ )*((?:make|asyncflow)\b.*)", text, re.MULTILINE):
                yield name, shlex.split(command, comments=True)


@pytest.mark.parametrize(("name", "words"), [pytest.param(*each, id=" ".join(each[1])) for each in _commands()])
def test_commands_exist(name, words):
    """Every subcommand, its options, and every target of make that a page mentions exist."""
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert all(word in targets or "=" in word for word in rest), name
    elif rest and not rest[0].startswith("-"):
        command = cli.main.get_command(None, rest[0])
        assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h", "--"}
        if rest[0] == "run" and any(word.endswith(".yaml") for word in rest):  # perhaps a pipeline
            known |= {option for parameter in _pipelines._command.params for option in parameter.opts}
        own = rest[: rest.index("--")] if "--" in rest else rest
        script = next((index for index, word in enumerate(own) if word.endswith(".py")), len(own))
        assert {word.split("=")[0] for word in own[:script] if word.startswith("-")} <= known, name


def test_files_that_pages_mention_exist():
    """A path like ``configs/local.yaml`` or ``examples/x.py`` between backquotes is a file of the repository."""
    for name, page in PAGES.items():
        for _, line in page.prose:
            for path in re.findall(r"`((?:configs|examples|benchmarks|tests|ci|src|hpc_scripts)/[\w./-]+)`", line):
                assert (ROOT / path).exists(), f"{name}: {path}"


def test_the_place_for_benchmarks_is_there():
    """``make bench`` puts its table between two marker lines."""
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    begin, end = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
    assert (text.count(begin), text.count(end)) == (1, 1)
    assert text.index(begin) < text.index(end)


def test_the_notebook_way_of_the_main_page_works(tmp_path):
    """A page is run as Jupyter runs cells, where ``await main()`` stands at the top level."""
    page = tmp_path / "page.md"
    page.write_text("```python\nasync def main():\n    print('ran')\n```\n\n```python\nawait main()\n```\n")
    done = subprocess.run(
        [sys.executable, pages.__file__, page], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "ran\n"

"""The JSON schema of pipelines, by which editors complete and check: it takes what we take, and refuses what has no form."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from asyncflow.pipelines.schema import json_schema

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples" / "pipelines").glob("*.yaml"))
BROKEN = ROOT / "tests" / "broken_pipelines"

#: Broken files whose form is wrong: what needs the other tasks, functions or files to be seen is not for a schema.
FORM = (
    "args-of-a-command",
    "bad-name",
    "empty-command",
    "foreach-number",
    "foreach-product-of-nothing",
    "foreach-unknown-form",
    "not-a-mapping",
    "no-tasks",
    "nothing-to-do",
    "option-that-is-a-key",
    "parameter-key-unknown",
    "parameter-type-unknown",
    "repeat-without-bound",
    "shell-of-a-function",
    "task-is-text",
    "tasks-empty",
    "text-without-shell",
    "two-things-to-do",
    "unknown-default",
    "unknown-key",
    "unknown-option",
    "unknown-result-form",
    "unknown-shell",
    "unknown-task-key",
    "when-equals-three",
    "when-unknown-condition",
)


@pytest.fixture(scope="module")
def problems():
    """What the schema says against the text of a file."""
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(validator.schema)
    return lambda text: [error.message for error in validator.iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_valid(path, problems):
    """An editor marks nothing in them."""
    assert not problems(path.read_text())


@pytest.mark.parametrize("name", FORM)
def test_what_has_a_wrong_form_is_marked(name, problems):
    """While it is written, before anything is run."""
    assert problems((BROKEN / f"{name}.yaml").read_text())


@pytest.mark.parametrize(
    "task",
    [
        "{run: [a], options: {cores: '${params.cores}', timeout: '${params.time}', retries: 2, memory: 4GB}}",
        "{run: [a], foreach: {product: {a: [1], b: {range: ['${params.n}', 5]}, c: '${tasks.x}'}}}",
        "{run: [a], when: {any: ['${params.yes}', {not: {equals: ['${item}', [1]]}}]}}",
        "{run: [a], after: b}",
        "{run: [a, {output: x}, 3, '${item}'], after: [b, c], result: lines, needs: [x], makes: [y]}",
        "{run: 'a | b', shell: bash}",
        "{call: 'a:b', args: ['${tasks.x}', {a: 1}], repeat: {until: '${result.ok}', at_most: 3, start: {a: 1}}}",
        "{pipeline: a.yaml, params: {x: '${tasks.y}'}}",
    ],
)
def test_references_may_stand_where_other_types_are_wanted(task, problems):
    """And all forms of a key are known."""
    assert not problems(f"tasks: {{a: {task}}}")


@pytest.mark.parametrize("param", ["3", "text", "[1, 2]", "true", "null", "{type: int, min: 1, help: what}"])
def test_parameters_are_written_short_or_long(param, problems):
    """A value is a default."""
    assert not problems(f"params: {{a: {param}}}\ntasks: {{a: {{run: [b]}}}}")

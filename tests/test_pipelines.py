"""Pipelines from a file: what becomes calls, what is passed, in which order, and what comes of it."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncflow import ConfigError, FieldError, InputFile, load_pipeline
from conftest import open_engine

FUNCTIONS = '''
"""Functions of the pipelines under test."""

from dataclasses import dataclass


@dataclass
class Simulation:
    seed: int
    energy: float


def simulate(seed: int, factor: float = 1.5) -> Simulation:
    return Simulation(seed, factor * seed)


def double(number: int) -> int:
    return 2 * number


def total(values: list) -> float:
    return sum(values)


def seeds(count: int) -> list:
    return list(range(count))


def same(value):
    return value


def read(input):
    return input


def fail(text: str) -> str:
    raise ValueError(text)


def step(state, by: int) -> dict:
    reached = (state or {"reached": 0})["reached"] + by
    return {"reached": reached, "enough": reached >= 6}
'''


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """Write a pipeline, with functions beside it, and load it."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "under_test", raising=False)
    (tmp_path / "under_test.py").write_text(FUNCTIONS)

    def _pipeline(text, name="pipeline.yaml"):
        (tmp_path / name).write_text(dedent(text))
        return load_pipeline(tmp_path / name)

    return _pipeline


@pytest.fixture
async def run(dask_flow):
    """Run a pipeline on Dask; its outputs."""

    async def _run(loaded, **params):
        return await loaded.run(dask_flow, **params)

    return _run


async def test_functions_get_parameters_and_results(pipeline, run):
    """By name or in order; a reference alone passes the thing itself, whatever it is."""
    loaded = pipeline("""
        params: {seed: 4}
        tasks:
          first: {call: "under_test:simulate", args: {seed: "${params.seed}"}}
          second: {call: "under_test:double", args: ["${tasks.first.seed}"]}
          third: {call: "under_test:same", args: {value: {a: ["${tasks.first}", "${tasks.second}"]}}}
        outputs:
          energy: ${tasks.first.energy}
          both: ${tasks.third}
          text: "seed ${params.seed} gives ${tasks.second}"
    """)
    outputs = await run(loaded)
    assert outputs["energy"] == 6.0
    assert outputs["both"]["a"][0].energy == 6.0
    assert outputs["both"]["a"][1] == 8
    assert outputs["text"] == "seed 4 gives 8"
    assert (await run(loaded, seed=1))["energy"] == 1.5


@pytest.mark.parametrize(
    ("foreach", "expected"),
    [
        ("[1, 2, 3]", [1, 2, 3]),
        ("{range: 3}", [0, 1, 2]),
        ("{range: [1, 7, 3]}", [1, 4]),
        ("'${params.numbers}'", [5, 6]),
        ("{product: {a: [1, 2], b: [x]}}", [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]),
        ("{zip: {a: [1, 2], b: [x, y]}}", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
        ("[]", []),
    ],
)
async def test_a_task_is_done_for_each_item(pipeline, run, foreach, expected):
    """In their order, of each form."""
    loaded = pipeline(f"""
        params: {{numbers: [5, 6]}}
        tasks:
          each: {{call: "under_test:same", args: ["${{item}}"], foreach: {foreach}}}
        outputs: {{all: "${{tasks.each}}"}}
    """)
    assert (await run(loaded))["all"] == expected


async def test_files_are_found_beside_the_pipeline(pipeline, run, tmp_path):
    """A glob is meant from the directory of the file, and sorted."""
    for name in ("b.txt", "a.txt", "c.dat"):
        (tmp_path / name).touch()
    loaded = pipeline("""
        tasks:
          each: {call: "under_test:same", args: ["${item}"], foreach: {glob: "*.txt"}}
        outputs: {all: "${tasks.each}"}
    """)
    assert [Path(each).name for each in (await run(loaded))["all"]] == ["a.txt", "b.txt"]


async def test_results_of_many_are_taken_together_or_one_by_one(pipeline, run):
    """``[*]`` is all of them, a number is one, and a field behind is a field of each."""
    loaded = pipeline("""
        tasks:
          simulate: {call: "under_test:simulate", args: ["${item}"], foreach: [1, 2, 3]}
          sum: {call: "under_test:total", args: ["${tasks.simulate[*].energy}"]}
          last: {call: "under_test:double", args: ["${tasks.simulate[-1].seed}"]}
          again: {call: "under_test:double", args: ["${item.seed}"], foreach: "${tasks.simulate}"}
        outputs: {sum: "${tasks.sum}", last: "${tasks.last}", again: "${tasks.again}"}
    """)
    assert await run(loaded) == {"sum": 9.0, "last": 6, "again": [2, 4, 6]}


async def test_the_graph_grows_when_it_is_known_how_many(pipeline, run):
    """What is done for each item of a result is called when that is there."""
    loaded = pipeline("""
        params: {count: 3}
        tasks:
          seeds: {call: "under_test:seeds", args: {count: "${params.count}"}}
          each: {call: "under_test:double", args: ["${item}"], foreach: "${tasks.seeds}"}
          sum: {call: "under_test:total", args: ["${tasks.each[*]}"]}
        outputs: {sum: "${tasks.sum}", each: "${tasks.each}"}
    """)
    assert await run(loaded) == {"sum": 6, "each": [0, 2, 4]}
    assert await run(loaded, count=0) == {"sum": 0, "each": []}


async def test_a_task_is_repeated_until_it_is_enough(pipeline, run):
    """Each round gets what the one before gave, and the last is the result; there is a bound."""
    text = """
        params: {most: 10, by: 2}
        tasks:
          rounds:
            call: under_test:step
            args: {state: "${previous}", by: "${params.by}"}
            repeat: {until: "${result.enough}", at_most: %s, at_limit: %s}
          each:
            call: under_test:step
            foreach: [1, 3]
            args: {state: "${previous}", by: "${item}"}
            repeat: {until: "${result.enough}", at_most: 10}
        outputs: {reached: "${tasks.rounds.reached}", each: "${tasks.each[*].reached}"}
    """
    assert await run(pipeline(text % (10, "fail"))) == {"reached": 6, "each": [6, 6]}
    assert await run(pipeline(text % (2, "accept"))) == {"reached": 4, "each": [6, 6]}
    with pytest.raises(RuntimeError, match="'rounds': what it is repeated for did not hold after 2 rounds; raise at_"):
        await run(pipeline(text % (2, "fail")))


@pytest.mark.parametrize(
    ("condition", "runs"),
    [
        ("true", True),
        ("false", False),
        ("'${params.yes}'", True),
        ("{not: '${params.yes}'}", False),
        ("{equals: ['${params.name}', a]}", True),
        ("{all: ['${params.yes}', {not: false}]}", True),
        ("{any: [false, '${tasks.first}']}", True),
        ("'${tasks.zero}'", False),
        ("{equals: ['${tasks.first}', 2]}", True),
    ],
)
async def test_a_condition_says_whether_a_task_is_done(pipeline, run, condition, runs):
    """What was not done gives null, and so does what needs it; results may be part of a condition."""
    loaded = pipeline(f"""
        params: {{yes: true, name: a}}
        tasks:
          first: {{call: "under_test:double", args: [1]}}
          zero: {{call: "under_test:double", args: [0]}}
          maybe: {{call: "under_test:double", args: [3], when: {condition}}}
          behind: {{call: "under_test:double", args: ["${{tasks.maybe}}"]}}
        outputs: {{maybe: "${{tasks.maybe}}", behind: "${{tasks.behind}}"}}
    """)
    assert await run(loaded) == ({"maybe": 6, "behind": 12} if runs else {"maybe": None, "behind": None})


async def test_items_for_which_a_condition_does_not_hold_are_left_out(pipeline, run):
    """The others keep their order."""
    loaded = pipeline("""
        tasks:
          each: {call: "under_test:same", args: ["${item}"], foreach: [1, 2, 1], when: {equals: ["${item}", 1]}}
        outputs: {all: "${tasks.each}"}
    """)
    assert (await run(loaded))["all"] == [1, 1]


async def test_what_comes_after_waits_though_it_gets_nothing(pipeline, run, tmp_path):
    """Also of tasks that are done for many items."""
    loaded = pipeline(f"""
        tasks:
          write: {{run: [touch, "{tmp_path}/made-${{item}}"], foreach: [1, 2]}}
          list: {{run: [ls, "{tmp_path}/made-1", "{tmp_path}/made-2"], after: write, result: lines}}
        outputs: {{listed: "${{tasks.list}}"}}
    """)
    assert (await run(loaded))["listed"] == [f"{tmp_path}/made-1", f"{tmp_path}/made-2"]


async def test_an_inner_pipeline_comes_after_others_and_before_others(pipeline, run, tmp_path):
    """All of it: also tasks of it that are no output."""
    pipeline(
        f"""
        tasks:
          look: {{run: [ls, "{tmp_path}/first"]}}
          write: {{shell: true, run: "sleep 0.2; touch {tmp_path}/second"}}
        outputs: {{seen: "${{tasks.look}}"}}
        """,
        "inner.yaml",
    )
    loaded = pipeline(f"""
        tasks:
          first: {{shell: true, run: "sleep 0.2; touch {tmp_path}/first"}}
          inner: {{pipeline: inner.yaml, after: first}}
          last: {{run: [ls, "{tmp_path}/second"], after: inner}}
        outputs: {{seen: "${{tasks.inner.seen}}", last: "${{tasks.last}}"}}
    """)
    assert await run(loaded) == {"seen": f"{tmp_path}/first\n", "last": f"{tmp_path}/second\n"}


async def test_files_that_earlier_tasks_make_are_found(pipeline, run, tmp_path):
    """A glob looks when the tasks have ended that it comes after."""
    loaded = pipeline("""
        params: {directory: {type: str}}
        tasks:
          make: {shell: true, foreach: [a, b], run: "sleep 0.2; touch ${params.directory}/${item}.made"}
          each: {call: "under_test:same", args: ["${item}"], foreach: {glob: "*.made"}, after: make}
        outputs: {all: "${tasks.each}"}
    """)
    found = (await run(loaded, directory=str(tmp_path)))["all"]
    assert [Path(each).name for each in found] == ["a.made", "b.made"]


async def test_items_that_turn_out_not_to_be_there_fail_their_task(pipeline, dask_flow):
    """By its name, and what does not need it goes on if it shall, to its end."""
    loaded = pipeline("""
        tasks:
          each: {call: "under_test:same", args: ["${item}"], foreach: {glob: "*.nothing"}}
          behind: {call: "under_test:same", args: ["${tasks.each}"]}
          seeds: {call: "under_test:seeds", args: {count: 2}}
          good: {call: "under_test:double", args: ["${item}"], foreach: "${tasks.seeds}"}
        outputs: {behind: "${tasks.behind}", good: "${tasks.good}"}
    """)
    with pytest.raises(ValueError, match=r"glob \*.nothing finds no file") as caught:
        await loaded.run(dask_flow)
    assert "in task 'each' of pipeline 'pipeline'" in caught.value.__notes__
    finished = await loaded.session(dask_flow, {}, keep_going=True).run()
    assert finished.outputs == {"good": [0, 2]}
    assert [(failure.name, failure.id) for failure in finished.failures] == [("each", "")]


@pytest.mark.parametrize(
    ("form", "printed", "value"),
    [
        ("text", "5", "5"),
        ("int", "5\\n", 5),
        ("float", "2.5", 2.5),
        ("lines", "a\\nb\\n", ["a", "b"]),
        ("json", '{"a": [1]}', {"a": [1]}),
    ],
)
async def test_what_a_command_prints_is_read_in_its_form(pipeline, run, form, printed, value):
    """Text by default; fields of JSON can be referred to."""
    loaded = pipeline(f"""
        tasks:
          print: {{run: [printf, '{printed}'], result: {form}}}
          same: {{call: "under_test:same", args: ["${{tasks.print}}"]}}
        outputs: {{same: "${{tasks.same}}"}}
    """)
    assert (await run(loaded))["same"] == value


AWKWARD = st.text(
    st.sampled_from(" \t\n'\"`$();&|<>*?[]{}\\~#!-=%éß漢\u200b")
    | st.characters(exclude_characters="\0", codec="utf-8"),
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=AWKWARD, lead=st.sampled_from(["", "-", "--"]))
async def test_any_text_arrives_byte_for_byte(text, lead, tmp_path_factory):
    """As an argument of a command, inside one, from a result, and in a script, quoted or not: one argument each."""
    folder = tmp_path_factory.mktemp("awkward")
    (folder / "pipeline.yaml").write_text(
        dedent("""
        params: {text: {type: str}}
        tasks:
          given: {run: [printf, "%s", "${params.text}"]}
          inside: {run: [printf, "%s", "a${params.text}b"]}
          script:
            shell: true
            run: |
              printf '%s\\0' ${params.text} "${params.text}" x${params.text}y "$(printf '%s.' ${params.text})"
          result: {run: [printf, "%s\\\\0%s", "${tasks.given}", "<${tasks.given}>"]}
        outputs:
          given: ${tasks.given}
          inside: ${tasks.inside}
          script: ${tasks.script}
          result: ${tasks.result}
    """)
    )
    value = lead + text
    async with open_engine("threads") as flow:
        outputs = await load_pipeline(folder / "pipeline.yaml").run(flow, text=value)
    assert outputs["given"] == value
    assert outputs["inside"] == f"a{value}b"
    assert outputs["script"] == "".join(f"{each}\0" for each in (value, value, f"x{value}y", f"{value}."))
    assert outputs["result"] == f"{value}\0<{value}>"


async def test_a_list_in_a_command_is_as_many_arguments(pipeline, run):
    """Each item by itself, however many there turn out to be."""
    loaded = pipeline("""
        tasks:
          names: {call: "under_test:same", args: {value: [a b, "c'd", 3, true]}}
          print: {run: [printf, "<%s>", "${tasks.names}"]}
        outputs: {printed: "${tasks.print}"}
    """)
    assert (await run(loaded))["printed"] == "<a b><c'd><3><true>"


@pytest.mark.parametrize(
    "task", ['{shell: true, run: "echo ${params.names}"}', '{run: [echo, "all of ${params.names}"]}']
)
async def test_a_list_is_no_part_of_a_text(pipeline, run, task):
    """Nor of a script, in which each reference is one variable; else the values behind it would be mixed up."""
    loaded = pipeline(f"""
        params: {{names: [a, b]}}
        tasks: {{print: {task}}}
    """)
    with pytest.raises(FieldError, match="a list cannot be part of a command or a text; name an item of it"):
        await run(loaded)


async def test_files_of_commands_are_checked_and_handed_on(pipeline, tmp_path):
    """Declared in the words or beside them; what is not made fails the task by name."""
    loaded = pipeline("""
        defaults: {workdir: true}
        tasks:
          make: {shell: true, makes: [numbers.txt], run: "printf '3\\n1\\n2\\n' > numbers.txt"}
          sort: {run: [sort, -o, {output: sorted.txt}, '${tasks.make.files["numbers.txt"]}']}
          show: {run: [cat, '${tasks.sort.files["sorted.txt"]}'], result: lines}
        outputs: {file: '${tasks.sort.files["sorted.txt"]}', shown: "${tasks.show}"}
    """)
    async with open_engine("threads", work_dir=tmp_path / "runs") as flow:
        outputs = await loaded.run(flow)
        assert outputs["shown"] == ["1", "2", "3"]
        assert isinstance(outputs["file"], InputFile)
        missing = pipeline('tasks: {a: {run: ["true"], makes: [nothing.txt]}}', "missing.yaml")
        with pytest.raises(Exception, match=r"nothing\.txt"):
            await missing.run(flow)


async def test_only_commands_and_arguments_have_files(pipeline, run):
    """A parameter, or a name of items, may be called input or output."""
    (source := pipeline("tasks: {a: {run: [a]}}").path.with_name("source.txt")).write_text("here")
    loaded = pipeline("""
        tasks:
          alone: {call: "under_test:read", args: {input: 3}}
          many: {call: "under_test:same", args: ["${item.output}"], foreach: {product: {output: [1, 2]}}}
          file: {call: "under_test:read", args: {input: {input: source.txt}}}
        outputs: {alone: "${tasks.alone}", many: "${tasks.many}", file: "${tasks.file}"}
    """)
    outputs = await run(loaded)
    assert (outputs["alone"], outputs["many"]) == (3, [1, 2])
    assert outputs["file"].path == str(source)


async def test_a_file_must_have_its_name_before_its_task_is_called(pipeline, run):
    """What is known only when others have ended names none."""
    loaded = pipeline("""
        tasks:
          names: {call: "under_test:same", args: {value: [a, b]}}
          each: {run: [touch, {output: "${item}"}], foreach: "${tasks.names}"}
    """)
    with pytest.raises(FieldError, match="a declared file must have its name before any task has run"):
        await run(loaded)


async def test_a_pipeline_within_a_pipeline_gives_its_outputs(pipeline, run):
    """Its parameters may be results, it may be done for many items, and its outputs are referred to by name."""
    pipeline(
        """
        params: {seed: {type: int}}
        tasks:
          simulate: {call: "under_test:simulate", args: {seed: "${params.seed}"}}
          twice: {call: "under_test:double", args: ["${tasks.simulate.seed}"]}
        outputs: {energy: "${tasks.simulate.energy}", twice: "${tasks.twice}"}
        """,
        "inner.yaml",
    )
    loaded = pipeline("""
        tasks:
          seed: {call: "under_test:double", args: [2]}
          one: {pipeline: inner.yaml, params: {seed: "${tasks.seed}"}}
          many: {pipeline: inner.yaml, params: {seed: "${item}"}, foreach: [1, 2]}
          sum: {call: "under_test:total", args: ["${tasks.many[*].energy}"]}
        outputs: {one: "${tasks.one}", twice: "${tasks.many[1].twice}", sum: "${tasks.sum}"}
    """)
    assert await run(loaded) == {"one": {"energy": 6.0, "twice": 8}, "twice": 4, "sum": 4.5}


async def test_the_first_failure_ends_the_pipeline(pipeline, run, tmp_path):
    """What does not need it is cancelled, its error comes out, and a note says of which task."""
    loaded = pipeline(f"""
        tasks:
          bad: {{call: "under_test:fail", args: {{text: no luck}}}}
          slow: {{run: [sleep, "60"]}}
          behind: {{run: [touch, "{tmp_path}/behind"], after: slow}}
        outputs: {{slow: "${{tasks.slow}}"}}
    """)
    with pytest.raises(ValueError, match="no luck") as caught:
        await run(loaded)
    assert "in task 'bad' of pipeline 'pipeline'" in caught.value.__notes__
    assert not (tmp_path / "behind").exists()


async def test_what_can_be_made_is_made_when_it_shall_go_on(pipeline, dask_flow):
    """Outputs that need what failed are missing, with the reason; the others are there."""
    loaded = pipeline("""
        tasks:
          bad: {call: "under_test:fail", args: {text: no luck}}
          behind: {call: "under_test:same", args: ["${tasks.bad}"]}
          good: {call: "under_test:double", args: [4]}
        outputs: {behind: "${tasks.behind}", good: "${tasks.good}"}
    """)
    finished = await loaded.session(dask_flow, {}, keep_going=True).run()
    assert finished.outputs == {"good": 8}
    assert list(finished.missing) == ["behind"]
    assert [(failure.name, str(failure.error)) for failure in finished.failures] == [("bad", "no luck")]


async def test_some_of_the_tasks_are_done(pipeline, dask_flow):
    """Those that are named and what they need; or all but what comes behind."""
    loaded = pipeline("""
        tasks:
          a: {call: "under_test:double", args: [1]}
          b: {call: "under_test:double", args: ["${tasks.a}"]}
          c: {call: "under_test:double", args: ["${tasks.b}"]}
          other: {call: "under_test:double", args: [5]}
        outputs: {b: "${tasks.b}", c: "${tasks.c}", other: "${tasks.other}"}
    """)
    assert loaded.needed_by(["b"]) == ["a", "b"]
    assert loaded.up_to(["b"]) == ["a", "other", "b"]
    only = await loaded.session(dask_flow, {}, loaded.needed_by(["b"])).run()
    assert only.outputs == {"b": 4}
    until = await loaded.session(dask_flow, {}, loaded.up_to(["b"])).run()
    assert until.outputs == {"b": 4, "other": 10}
    with pytest.raises(KeyError, match="there is no task 'bb'; did you mean 'b'"):
        loaded.needed_by(["bb"])


async def test_a_field_that_turns_out_not_to_be_there_is_named(pipeline, run):
    """Where no annotation could tell before: the reference, the type, and what there is."""
    loaded = pipeline("""
        tasks:
          some: {call: "under_test:same", args: {value: {a: 1}}}
          use: {call: "under_test:same", args: ["${tasks.some.b}"]}
        outputs: {use: "${tasks.use}"}
    """)
    with pytest.raises(FieldError, match=r"\$\{tasks.some.b\}: a dict has no 'b'; it has a"):
        await run(loaded)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"count": "many"}, "the parameter 'count' must be a whole number, not 'many'"),
        ({"count": 0}, "the parameter 'count' must be at least 1, not 0"),
        ({"shape": "round"}, "the parameter 'shape' must be one of 'flat', 'deep', not 'round'"),
        ({"cuont": 1}, "there is no parameter 'cuont'; did you mean 'count'"),
        ({"cores": 0}, "option 'cores'"),
    ],
)
async def test_parameters_are_checked_before_anything_runs(pipeline, run, params, message):
    """Types, bounds, choices, names, and options that follow from them; with the place of the declaration."""
    loaded = pipeline("""
        params:
          count: {type: int, min: 1, default: 1}
          shape: {default: flat, choices: [flat, deep]}
          cores: 1
        tasks:
          a: {call: "under_test:double", args: ["${params.count}"], options: {cores: "${params.cores}"}}
    """)
    with pytest.raises(ConfigError, match=message):
        await run(loaded, **params)


async def test_a_parameter_without_a_default_must_be_given(pipeline, run):
    """The message says how."""
    loaded = pipeline("""
        params: {count: {type: int}}
        tasks: {a: {call: "under_test:double", args: ["${params.count}"]}}
        outputs: {a: "${tasks.a}"}
    """)
    with pytest.raises(ConfigError, match="'count' has no default and is not given; give --set count=VALUE"):
        await run(loaded)
    assert await run(loaded, count=2) == {"a": 4}


async def test_a_task_that_no_worker_could_run_is_refused_first(pipeline, run, tmp_path):
    """With its place, and before any other task begins."""
    loaded = pipeline(f"""
        tasks:
          a: {{run: [touch, "{tmp_path}/a"]}}
          b: {{run: ["true"], options: {{cores: 64}}}}
    """)
    with pytest.raises(
        ConfigError, match=r"pipeline.yaml:\d+:\d+: tasks.b.options: task 'b' can never run: it asks for"
    ):
        await run(loaded)
    assert not (tmp_path / "a").exists()


async def test_values_leave_with_what_needs_them(pipeline, dask_flow):
    """When all calls are made, nothing but outputs holds results of a task."""
    loaded = pipeline("""
        tasks:
          each: {call: "under_test:same", args: ["${item}"], foreach: {range: 20}}
          sum: {call: "under_test:total", args: ["${tasks.each[*]}"]}
        outputs: {sum: "${tasks.sum}"}
    """)
    session = loaded.session(dask_flow, {})
    assert (await session.run()).outputs == {"sum": 190}
    assert session._runner._made == {}

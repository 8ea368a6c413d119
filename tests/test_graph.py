"""The graph of tasks as a drawing: what is in it, where things go, and what it may never do to a page."""

import asyncio
import gc
import weakref
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncflow import TaskState
from asyncflow.notebook.layout import IN_ROW, lay_out
from asyncflow.sketch import NAMES, OTHERS, PAIRS, RECENT
from conftest import open_engine
from gates import Gate, until

HEIGHT = 30.0
SVG = "{http://www.w3.org/2000/svg}"


def texts(graph):
    """What stands in the drawing, which must be XML."""
    root = ET.fromstring(graph.svg)
    return [each.text for each in root.iter(f"{SVG}text")]


def arrows(graph):
    return [each for each in ET.fromstring(graph.svg).iter(f"{SVG}path") if "class" in each.attrib]


@st.composite
def graphs(draw, *, acyclic):
    """Widths of boxes, and edges between them."""
    widths = draw(st.lists(st.floats(20, 300), max_size=40))
    places = st.integers(0, max(len(widths) - 1, 0))
    edges = draw(st.lists(st.tuples(places, places), max_size=80)) if widths else []
    if acyclic:
        edges = [(min(edge), max(edge)) for edge in edges if edge[0] != edge[1]]
    return widths, edges


def check(widths, edges):
    """What must hold of every layout."""
    layout = lay_out(widths, HEIGHT, edges)
    boxes = [(x, y, x + width, y + HEIGHT) for (x, y), width in zip(layout.corners, widths, strict=True)]
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] + 1e-6 or other[2] <= one[0] + 1e-6 or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)
    assert all(left >= -1e-6 and right <= layout.width + 1e-6 for left, _, right, _ in boxes)
    for index, (source, target) in enumerate(edges):
        if source == target:
            assert layout.paths[index] == []
            continue
        upper, lower = (target, source) if index in layout.backward else (source, target)
        assert boxes[upper][3] < boxes[lower][1]
        assert all(before[1] <= after[1] for before, after in pairwise(layout.paths[index]))
        assert layout.paths[index][0][1] == boxes[upper][3]
        assert layout.paths[index][-1][1] == boxes[lower][1]
    return layout


@settings(deadline=None, max_examples=150)
@given(graphs(acyclic=True))
def test_no_boxes_overlap_and_every_edge_goes_downward(graph):
    """Of a graph without circles every edge runs from a box to one below it, and no box lies on another."""
    assert check(*graph).backward == set()


@settings(deadline=None, max_examples=150)
@given(graphs(acyclic=False))
def test_circles_are_opened_by_edges_that_are_drawn_the_other_way_round(graph):
    """Graphs by name may have circles: the same holds, with those edges turned round that close one."""
    check(*graph)


def test_many_boxes_of_one_rank_get_several_rows():
    """A thousand tasks side by side stay a drawing that fits a page."""
    layout = check([80.0] * 100, [])
    assert layout.width < IN_ROW * 100


def test_a_large_graph_is_laid_out_at_once():
    """As many edges as are ever drawn, some through all rows, take no more than a moment."""
    edges = [(i, j) for i in range(200) for j in range(i + 1, min(i + 11, 200))]
    check([100.0] * 200, [*edges, *((0, i) for i in range(2, 200))])


async def test_the_graph_shows_calls_edges_and_states_before_and_after_they_run(tmp_path):
    """Drawn at once after the calls it shows them pending, and later with the states they have come to."""
    gate = Gate(tmp_path / "gate")
    async with open_engine("dask") as flow:

        @flow.function_task
        def load(path):
            gate.wait()

        @flow.function_task
        def fit(*parts):
            raise ValueError("no")

        last = fit(load("a"), load("b"))
        before = flow.graph()
        gate.open()
        with pytest.raises(ValueError, match="no"):
            await last
        after = flow.graph()
    assert {"load #1", "load #2", "fit #3"} <= set(texts(before))
    assert repr(before) == "<Graph of 3 calls, 2 edges>"
    assert len(arrows(before)) == len(arrows(after)) == 2
    assert before.svg.count(": PENDING") == 3
    assert (after.svg.count(": DONE"), after.svg.count(": FAILED")) == (2, 1)


async def test_many_calls_are_drawn_by_name(thread_flow):
    """Beyond a hundred calls there is one box for a task, with how many there are and how they ended."""

    @thread_flow.function_task
    def one(number):
        return number

    @thread_flow.function_task
    def total(*numbers):
        return sum(numbers)

    assert await total(*[one(number) for number in range(300)]) == sum(range(300))
    graph = thread_flow.graph()
    assert graph.by_name
    assert {"one", "300", "total", "1"} <= set(texts(graph))
    assert "one: 300 done" in graph.svg
    assert "<title>300</title>" in graph.svg  # edges
    latest = thread_flow.graph(by_name=False)
    assert f"the last {RECENT} of 301 calls" in texts(latest)
    assert repr(latest).startswith(f"<Graph of {RECENT} calls, ")


async def test_by_name_a_task_that_depends_on_itself_is_marked(thread_flow):
    """A chain of calls of one task is a box with a sign, and two tasks in turns are a circle."""

    @thread_flow.function_task
    def step(state):
        return state

    @thread_flow.function_task
    def check_it(state):
        return state

    await step(check_it(step(step(0))))
    graph = thread_flow.graph(by_name=True)
    assert "3 ↻" in texts(graph)
    assert sorted("marker-start" in each.attrib for each in arrows(graph)) == [False, True]


async def test_blocks_are_marked_and_lead_to_what_is_called_in_them(thread_flow):
    """A block has a broken frame, and dotted edges to its calls."""

    @thread_flow.function_task
    def one():
        return 1

    @thread_flow.block
    async def both():
        return await one() + await one()

    assert await both() == 2
    for by_name, count in ((False, 2), (True, 1)):
        graph = thread_flow.graph(by_name=by_name)
        assert "block" in texts(graph)
        assert [each.attrib["class"] for each in arrows(graph)] == ["edge inside"] * count


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"&<', "\x00\x1b[31m", "</svg>", "名前" * 40])
async def test_names_cannot_break_out_of_the_drawing(thread_flow, name):
    """Whatever a task is called, the drawing is XML that holds no more elements than ours, and can be written."""

    def work():
        pass

    task = thread_flow.function_task(name=name)(work)
    await task()
    for by_name in (True, False):
        root = ET.fromstring(thread_flow.graph(by_name=by_name).svg.encode())
        known = {"svg", "title", "style", "defs", "marker", "path", "rect", "text", "g"}
        assert {each.tag.removeprefix(SVG) for each in root.iter()} <= known


async def test_the_drawing_is_a_file_and_what_a_notebook_shows(thread_flow, tmp_path):
    """``svg`` is the whole file, which ``save`` writes and a notebook asks for; nothing called is a drawing, too."""
    graph = thread_flow.graph()
    assert "nothing has been called yet" in texts(graph)
    assert graph._repr_svg_() == graph.svg
    assert graph.svg in graph._repr_html_()
    path = await asyncio.to_thread(graph.save, tmp_path / "graph.svg")
    assert path.read_text(encoding="utf-8") == graph.svg


async def test_what_is_remembered_of_calls_has_bounds(thread_flow):
    """Any number of names and calls takes no more room than some."""

    def work(*upstream):
        pass

    tasks = [thread_flow.function_task(name=f"task{number}")(work) for number in range(NAMES + 50)]
    first = [task() for task in tasks]
    await asyncio.gather(*first, *(task(*first[:30]) for task in tasks))
    picture = thread_flow._dispatch.ledger.picture()
    assert len(picture.counts) == NAMES + 1
    assert picture.counts[OTHERS][TaskState.DONE] == 100
    assert picture.total == picture.ended == 2 * len(tasks)
    assert len(picture.calls) == RECENT
    assert len(picture.pairs) <= PAIRS
    assert thread_flow.graph().svg


async def test_what_is_remembered_keeps_no_value_alive(thread_flow):
    """Of a call that ended nothing is held but numbers and names."""

    class Value:
        pass

    @thread_flow.function_task
    def make():
        return Value()

    future = make()
    value = weakref.ref(await future)
    del future
    await until(lambda: gc.collect() and value() is None)
    assert "make #1" in texts(thread_flow.graph())

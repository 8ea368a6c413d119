"""Progress as people see it: bars on a terminal, lines in a log, a table at the end, and nothing in the way."""

import asyncio
import io
import os
import re
import subprocess
import sys
import threading
from textwrap import dedent

import pytest

import pictures
from asyncflow.audience import heard_by
from asyncflow.events.pools import PoolCounts
from asyncflow.views import texts
from asyncflow.views.bars import chosen, picture, segments
from asyncflow.views.display import Lines
from asyncflow.views.progress import Progress
from asyncflow.views.screen import Screen
from asyncflow.views.snapshot import Snapshot, TaskCounts, Trouble
from conftest import eventually, open_engine
from gates import Gate
from pseudo import PseudoTerminal

SCRIPT = """
import asyncio, subprocess, sys
from pathlib import Path
from asyncflow import WorkflowEngine

async def main():
    async with WorkflowEngine.create() as flow:
        @flow.function_task
        def simulate(n):
            import time
            print("a task prints", n)
            if n == 3:
                raise ValueError("seed 3 does not converge")
            while n == 9 and not Path("on").exists():
                time.sleep(0.01)
            return n

        @flow.function_task
        def gather(values):
            return len(values)

        calls = [simulate(n) for n in range(9)]
        print("the script prints")
        print("half a line, ", end="", flush=True)
        print("and the rest")
        subprocess.run(["echo", "a command prints"])
        await asyncio.gather(*calls, return_exceptions=True)
        await simulate(9)
        print("it is", await gather(calls[:3]))
        {ending}

asyncio.run(main())
"""


@pytest.fixture
def script(tmp_path):
    """Write the script, and a configuration of one small worker; how a terminal or command runs it."""
    (tmp_path / "c.yaml").write_text("cluster: {kind: local, n_workers: 1, threads_per_worker: 1}")

    def _script(ending="pass"):
        (tmp_path / "script.py").write_text(dedent(SCRIPT).replace("{ending}", ending))
        return "run", "--config", "c.yaml", "--run-id", "r", "script.py"

    return _script


# On a terminal


def test_a_terminal_shows_bars_while_tasks_run_and_a_table_at_the_end(script, tmp_path):
    """Bars stand below what script, tasks and commands print, which is all there at the end, and they are not."""
    with PseudoTerminal(*script(), cwd=tmp_path) as terminal:
        # Nothing but the tenth call is left to run.
        terminal.until(lambda: any(re.match(r"simulate +━+ +9/10 1 running, 1 failed", x) for x in terminal.lines))
        shown = terminal.lines
        assert any(line.startswith("9/10") for line in shown), terminal.text
        assert any("1 worker with 1 slot" in line for line in shown), terminal.text
        assert any(re.search(r"simulate: ValueError: seed 3 does not converge", line) for line in shown)
        (tmp_path / "on").touch()
        assert terminal.ended() == 0
        assert "━" not in terminal.text
        assert re.search(r"simulate +10 +9 +1 +0 +0 ", terminal.text)
        printed = [f"a task prints {number}" for number in range(10)]
        said = ["the script prints", "half a line, and the rest", "a command prints", *printed, "it is 3"]
        lines = terminal.text.splitlines()
        assert [line for line in said if line not in lines] == []
        assert terminal.is_sane


def test_a_traceback_stands_below_what_was_shown(script, tmp_path):
    """The display has gone before the traceback of the script is printed."""
    (tmp_path / "on").touch()
    with PseudoTerminal(*script("raise RuntimeError('at the end')"), cwd=tmp_path) as terminal:
        assert terminal.ended() == 1
        # The last one: a worker that is busy as it closes may have one of Dask's to tell before.
        table, traceback = terminal.text.rindex("cancelled"), terminal.text.rindex("Traceback")
        assert table < traceback < terminal.text.index("RuntimeError: at the end")
        assert "━" not in terminal.text


def test_ctrl_c_leaves_a_sane_terminal(script, tmp_path):
    """Interrupted in the middle, the bars go, the table is told, and the exit status is that of an interruption."""
    with PseudoTerminal(*script(), cwd=tmp_path) as terminal:
        terminal.until(lambda: any("1 running" in line for line in terminal.lines))
        terminal.type(b"\x03")
        (tmp_path / "on").touch()  # the thread of that body would hold its worker for a while
        assert terminal.ended() == 130
        assert "━" not in terminal.text
        assert terminal.text.index("cancelled") < terminal.text.index("asyncflow: interrupted")
        assert "KeyboardInterrupt" not in terminal.text
        assert terminal.is_sane


# Anywhere else


@pytest.mark.parametrize(
    ("option", "is_told"), [(None, True), ("--no-progress", False), ("--quiet", False)], ids=["", "none", "quiet"]
)
def test_a_log_has_the_table_unless_nobody_wants_it(script, tmp_path, option, is_told):
    """Without a terminal there is no drawing; --quiet leaves nothing but warnings and what nobody awaited."""
    (tmp_path / "on").touch()
    first, *words = script()
    done = subprocess.run(
        [sys.executable, "-m", "asyncflow", first, *([option] if option else []), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert bool(re.search(r"^simulate +10 +9 +1 ", done.stderr, re.MULTILINE)) is is_told
    if option == "--quiet":
        assert not re.search(r"INFO|this was run", done.stderr)


async def test_lines_are_written_when_something_has_changed_and_not_else(tmp_path):
    """In a log a line says how far it is; while nothing happens there is none."""
    out, go = io.StringIO(), Gate(tmp_path / "go")
    display = Lines(out, pause=0.05)
    async with open_engine("threads") as flow:

        @flow.function_task
        def hold():
            go.wait()

        async with Progress(display) as progress:
            progress.watch(flow._dispatch.events, flow._dispatch.ledger.unfinished)
            call = hold()
            assert await asyncio.to_thread(eventually, lambda: "0/1 done, 1 running" in out.getvalue())
            written = out.getvalue()
            await asyncio.sleep(0.3)  # several times as long as lines are apart
            assert out.getvalue() == written
            go.open()
            await call
    assert re.search(r"^hold +1 +1 +0 +0 +0 ", out.getvalue(), re.MULTILINE)


async def test_a_script_may_show_progress_itself(flow, capsys):
    """``with flow.progress()`` shows the calls that end inside, those made before included."""

    @flow.function_task
    def double(x):
        return 2 * x

    before = double(1)
    with flow.progress():
        assert await asyncio.gather(before, double(2)) == [2, 4]
    shown = capsys.readouterr().err
    assert re.search(r"^double +2 +", shown, re.MULTILINE)
    assert eventually(lambda: not [x for x in threading.enumerate() if x.name == "asyncflow-progress"])


async def test_engines_of_a_script_share_one_display(capsys):
    """Whoever runs the script shows all of its engines, which then show nothing themselves."""
    out = io.StringIO()
    progress = Progress(Lines(out))
    with heard_by(progress.watch), progress:
        for _ in range(2):
            async with open_engine("threads") as flow:

                @flow.function_task
                def double(x):
                    return 2 * x

                with flow.progress():
                    await double(1)
    assert re.search(r"^double +2 +2 ", out.getvalue(), re.MULTILINE)
    assert capsys.readouterr().err == ""


async def test_a_display_that_fails_harms_nobody(caplog):
    """What goes wrong in a display is logged, and the run goes on."""

    class Broken(Lines):
        def show(self, snapshot):
            raise RuntimeError("no ink")

    async with open_engine("threads") as flow:

        @flow.function_task
        def double(x):
            return 2 * x

        async with Progress(Broken(io.StringIO(), pause=0)) as progress:
            progress.watch(flow._dispatch.events)
            assert await double(2) == 4
            assert await asyncio.to_thread(eventually, lambda: "cannot be shown" in caplog.text)


# What is drawn


def rows(*names, **facts):
    return tuple(TaskCounts(name, **{"calls": 10, **facts}) for name in names)


def test_a_bar_shows_each_state_and_never_more_than_there_is():
    """One failure in a million is seen; rounding makes nothing look unfinished that is not."""
    assert segments(TaskCounts("a", calls=1_000_000, done=999_999, failed=1), 30) == {
        "done": 29,
        "found": 0,
        "failed": 1,
        "cancelled": 0,
        "running": 0,
    }
    assert sum(segments(TaskCounts("a", calls=7, done=3, running=1), 30).values()) < 30
    assert sum(segments(TaskCounts("a", calls=3, done=1, failed=1, cancelled=1), 2).values()) == 2


def test_what_runs_is_shown_before_what_waits_and_what_has_ended():
    """Where there are more names than lines, those are left out where nothing happens."""
    ended, waiting, running = rows("e", done=10), rows("w"), rows("r", running=1)
    shown, hidden = chosen([*ended, *waiting, *running], 3)
    assert (len(shown), hidden) == (3, 0)
    shown, hidden = chosen([*ended, *waiting, *running, *rows("f", done=10)], 3)
    assert ([row.name for row in shown], hidden) == (["w", "r"], 2)


def test_a_picture_fits_the_terminal():
    """However much there is to tell, it takes no more lines than there are."""
    from rich.console import Console

    trouble = Trouble(0.0, "a", "a-1", "ValueError: " + "x" * 500)
    snapshot = Snapshot(rows(*map(str, range(50))), (PoolCounts("cpu"),), (trouble,) * 5, 10.0, 1.0)
    for height in (1, 3, 8, 20, 100):
        console = Console(file=io.StringIO(), width=80)
        console.print(picture(snapshot, height))
        lines = console.file.getvalue().splitlines()
        assert len(lines) <= max(height, 3)
        assert max(map(len, lines)) <= 80


def test_a_line_tells_all_that_matters():
    """Counts, pace, what is left, and what the pools have and wait for."""
    task = TaskCounts("simulate", calls=100, running=8, done=50, failed=2)
    pool = PoolCounts("cpu", workers=1, slots=8, jobs=1, pending=2, most=4, reasons={"Resources": 2})
    assert texts.line(Snapshot((task,), (pool,), (), 25.0, 2.0)) == (
        "50/100 done, 8 running, 40 waiting, 2 failed, 2/s, 24.0 s left; "
        "pool cpu: 1 worker with 8 slots, 1 of 4 jobs run, 2 jobs pending (2 for Resources)"
    )


def test_a_fork_writes_past_the_display(capfd):
    """A process that is forked off knows nothing of what is drawn, and must not wait for a lock of its parent."""
    screen = Screen(sys.stderr)
    screen.draw("bars")
    with screen._lock:
        pid = os.fork()
        if pid == 0:
            threading.Thread(target=screen.write, args=(sys.stdout, "told\n")).start()
            sys.stdout.flush()
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    screen.step_aside()


def test_the_picture_in_the_docs_is_made_of_a_real_run(tmp_path):
    """``python tests/pictures.py docs/images`` makes it again."""
    pictures.progress(tmp_path / "progress.svg")
    text = (tmp_path / "progress.svg").read_text().replace("&#160;", " ")
    for word in ("simulate", "relax", "running", "workers", "does not converge"):
        assert word in text

"""What one call costs on the way from the user to the backend and back, counted in instructions: no clock is asked."""

import asyncio
import gc
import sys
from pathlib import Path

import asyncflow
from conftest import open_engine

HOME = str(Path(asyncflow.__file__).parent)

#: Bytecode instructions of ours, on the user's loop, for a call with two numbers that is awaited: some 1,670 by CPython 3.11.
MOST_INSTRUCTIONS = 1_900

#: Blocks of memory that a call holds while it waits.
MOST_BLOCKS = 60

CALLS = 200


def double(number, other):
    return number + other


class Counter:
    """Counts the instructions that this thread runs in asyncflow's own files."""

    def __init__(self):
        self.count = 0

    def __enter__(self):
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _enter(self, frame, event, argument):
        del event, argument
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame, event, argument):
        del frame, argument
        self.count += event == "opcode"
        return self._step


async def test_a_call_takes_no_more_instructions_than_before():
    """A call with flat arguments, sent, done and awaited, takes a bounded number of instructions on the user's loop."""
    async with open_engine("dask") as flow:
        task = flow.function_task(double)
        await asyncio.gather(*[task(number, 1) for number in range(50)])
        with Counter() as counter:
            values = await asyncio.gather(*[task(number, 1) for number in range(CALLS)])
    assert values == list(range(1, CALLS + 1))
    assert counter.count / CALLS <= MOST_INSTRUCTIONS


async def test_a_call_that_waits_holds_little(tmp_path):
    """Calls that wait for another one hold a bounded number of blocks of memory in the driver, each."""
    del tmp_path
    async with open_engine("threads") as flow:
        task = flow.function_task(double)
        first = asyncio.get_running_loop().create_future()
        waiting = [task(first, 1) for _ in range(50)]
        await asyncio.sleep(0)
        gc.collect()
        before = sys.getallocatedblocks()
        waiting += [task(first, 1) for _ in range(CALLS)]
        await asyncio.sleep(0)
        gc.collect()
        assert (sys.getallocatedblocks() - before) / CALLS <= MOST_BLOCKS
        first.set_result(1)
        assert set(await asyncio.gather(*waiting)) == {2}

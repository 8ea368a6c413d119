"""A campaign of 300 kept tasks, whose bodies say when they begin; for tests that kill its driver.

Each start is one line: the task, the session, and whether the result of this very task was there already.
"""

import asyncio
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from asyncflow import ConcurrentExecutionBackend, WorkflowEngine

LAYERS, WIDTH = 13, 23
LOCAL = {"cluster": {"kind": "local", "n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}}


def parents(number):
    """The tasks whose values this one gets, all of them in the layer before."""
    layer, place = divmod(number, WIDTH)
    return sorted({(layer - 1) * WIDTH + (place + way) % WIDTH for way in (0, 1, 7)}) if layer else []


def computed(number, values):
    """The value of a task."""
    return (number + 3 * sum(map(int, values))) % 9973


def serial():
    """The answer without any of this."""
    values = []
    for number in range(LAYERS * WIDTH):
        values.append(computed(number, [values[parent] for parent in parents(number)]))
    return sum(values)


def say(number):
    """One line; appends are atomic."""
    place = Path(os.getenv("CAMPAIGN_KEYS"), str(number))
    is_kept = place.exists() and Path(place.read_text()).exists()
    line = f"{number} {os.getenv('CAMPAIGN_SESSION')} {int(is_kept)}\n"
    log = os.open(os.getenv("CAMPAIGN_LOG"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, line.encode())
    os.close(log)


def step(number, values):
    """A function of the campaign."""
    say(number)
    time.sleep(0.02)  # it is the work
    return computed(number, values)


def command(number, values):
    """A command of the campaign: the same in a shell."""
    terms = " + ".join(str(int(value)) for value in values) or "0"
    return (
        f'place=$(cat "$CAMPAIGN_KEYS/{number}" 2> /dev/null); [ -e "$place" ]; '
        f'echo "{number} $CAMPAIGN_SESSION $((1 - $?))" >> "$CAMPAIGN_LOG"; echo $(( ({number} + 3 * ({terms})) % 9973 ))'
    )


def total(values):
    """The last task."""
    say(LAYERS * WIDTH)
    return sum(map(int, values))


async def main(work_dir, where):
    """Begin the campaign or go on with it, on worker processes or on threads."""
    pool = ThreadPoolExecutor(4)
    place = {"backend": ConcurrentExecutionBackend(pool)} if where == "threads" else {"config": LOCAL}
    with pool:
        async with WorkflowEngine.create(**place, work_dir=work_dir, resume="campaign", checkpoint=True) as flow:
            values = []
            for number in range(LAYERS * WIDTH):
                make = flow.executable_task(shell=True) if number % 5 == 2 else flow.function_task
                task = make(command if number % 5 == 2 else step).options(name=f"task{number}")
                values.append(task(number, [values[parent] for parent in parents(number)]))
            answer = flow.function_task(name=f"task{LAYERS * WIDTH}")(total)(values)
            sys.stdout.write(f"{await answer}\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

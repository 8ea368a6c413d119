"""The program that outlives the driver: when the driver has ended, however, its jobs are cancelled.

Run as ``python -I -S _janitor.py`` by `asyncflow.queues.janitor`, in a session of its own; standard library only, so
that it is there in a few milliseconds. Standard input gives its orders, one a line: JSON with ``cancel`` and ``find``
(commands), ``none`` (what `find` says of an empty list, where that is an error), ``pid`` (the driver's), ``directory``
(the run's) and ``interval`` (see `INTERVAL`); then ``submitting`` before each submission and ``job ID`` or ``refused``
after it, ``gone ID`` for each job that ended, and ``done`` when nothing is left to do. End of input without that, or
the end of the driver's process, means that the driver has gone.
"""

import json
import os
import re
import select
import shutil
import subprocess
import time
from contextlib import suppress
from typing import Any

#: Seconds between looks for jobs that are still there.
INTERVAL = 2.0

#: Looks in a row that find nothing before the work is done: queues may be slow to list what they have accepted.
QUIET_LOOKS = 5

#: The same where a submission was under way when the driver died; commands are given 120 s.
LATE_LOOKS = 60

#: Seconds after which the queueing system is left to its own devices (and workers to their death_timeout).
PATIENCE = 3600.0

BATCH = 100


class Orders:
    """What the driver said so far."""

    def __init__(self) -> None:
        self.jobs: dict[str, None] = {}
        self.submissions = 0  #: under way
        self.is_done = False
        self._rest = b""

    def read(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, job = line.decode().partition(" ")
            if word == "submitting":
                self.submissions += 1
            elif word == "refused":
                self.submissions -= 1
            elif word == "job":
                self.submissions -= 1
                self.jobs[job] = None
            elif word == "gone":
                self.jobs.pop(job, None)
            elif word == "done":
                self.is_done = True


def wait_for_the_end(pid: int, orders: Orders) -> None:
    """Return when the driver is done, or has gone; its children may hold its end of the pipe open for longer."""
    waiting = [0]
    try:
        waiting.append(os.pidfd_open(pid))
    except ProcessLookupError:  # killed before we came; what it told is read to the last
        waiting.append(os.open(os.devnull, os.O_RDONLY))
    except (OSError, AttributeError):  # only Linux has it
        pass
    while not orders.is_done:
        ready, _, _ = select.select(waiting, [], [])
        if 0 in ready:
            data = os.read(0, 65536)
            orders.read(data)
            if not data:
                return
        elif ready:
            return


def look(find: list[str], none: str) -> list[str] | None:
    """The jobs that the queueing system lists; None where it does not answer. To some, none at all is an error."""
    try:
        ran = subprocess.run(find, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if ran.returncode != 0 and none and re.search(none, ran.stderr, re.IGNORECASE):
        return []
    return ran.stdout.split() if ran.returncode == 0 or not ran.stderr.strip() else None


def cancel(command: list[str], jobs: list[str]) -> None:
    for start in range(0, len(jobs), BATCH):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([*command, *jobs[start : start + BATCH]], capture_output=True, timeout=120, check=False)


def clean_up(spec: dict[str, Any], orders: Orders) -> None:
    """Cancel until nothing has been found for a while."""
    deadline = time.monotonic() + PATIENCE
    # Whoever has been let in has read them; nobody else is to be.
    shutil.rmtree(f"{spec['directory']}/tls", ignore_errors=True)
    cancel(spec["cancel"], list(orders.jobs))
    quiet = 0 if spec["find"] else LATE_LOOKS
    new: set[str] = set()
    # A submission under way has a process of its own, and a busy controller may take it long after the driver's end.
    while quiet < (LATE_LOOKS if len(new) < orders.submissions else QUIET_LOOKS) and time.monotonic() < deadline:
        found = look(spec["find"], spec["none"])
        quiet = quiet + 1 if found == [] else 0
        new.update(set(found or ()) - orders.jobs.keys())
        if found:
            cancel(spec["cancel"], found)
        time.sleep(spec["interval"])


def main() -> None:
    spec = b""
    while not spec.endswith(b"\n"):  # byte by byte: what follows is not ours to read yet
        byte = os.read(0, 1)
        if not byte:
            return
        spec += byte
    told = json.loads(spec)
    orders = Orders()
    wait_for_the_end(told["pid"], orders)
    if not orders.is_done:
        clean_up(told, orders)
        shutil.rmtree(told["directory"], ignore_errors=True)


if __name__ == "__main__":
    main()

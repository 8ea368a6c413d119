"""Facts that bodies and tests tell each other, through files: on threads, in processes and inside commands alike."""

import asyncio
import os
import time
from pathlib import Path

#: Seconds after which a fact that does not come fails the test instead of hanging it.
PATIENCE = 20.0


class Gate:
    """Something that happens once; it may be awaited in the test and waited for in a body."""

    def __init__(self, path):
        self.path = str(path)

    def open(self):
        """It has happened."""
        Path(self.path).touch()

    @property
    def is_open(self):
        """Whether it has happened."""
        return Path(self.path).exists()

    def wait(self):
        """Wait for it in a body that may block."""
        deadline = time.monotonic() + PATIENCE
        while not self.is_open:
            assert time.monotonic() < deadline, f"{self.path} never came"
            time.sleep(0.005)

    async def reached(self):
        """Wait for it on a loop."""
        await until(lambda: self.is_open)


class Notes:
    """Lines that bodies append, in the order in which they did."""

    def __init__(self, path):
        self.path = str(path)

    def add(self, line):
        """Append one line; appends are atomic."""
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{line}\n".encode())
        os.close(handle)

    @property
    def lines(self):
        """All lines so far."""
        return Path(self.path).read_text().splitlines() if Path(self.path).exists() else []


def fails_once(path, value):
    """A body that fails the first time."""
    notes = Notes(path)
    notes.add("begun")
    if len(notes.lines) == 1:
        raise OSError("too little")
    return value


async def until(condition):
    """Wait on the loop for the fact that `condition()` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def on_scheduler(client, function, **kwargs):
    """What `function` says on the scheduler; a client from another thread blocks, so not on this loop."""
    return await asyncio.to_thread(client.run_on_scheduler, function, **kwargs)


def is_alive(pid):
    """Whether a process runs: neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False

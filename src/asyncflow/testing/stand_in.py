"""Opens and closes a stand-in for a batch system: its files, its commands and its server."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from asyncflow.suggest import one_of
from asyncflow.testing._stand_ins import machine, main, processes, state
from asyncflow.testing.queue import FakeQueue

_DEFAULT_QUEUE = {"pbs": "workq", "lsf": "normal"}

#: The programs run without asyncflow, whose place on the path they get last: its names are not theirs.
_PROGRAM = "import sys; sys.path.append({parent!r}); from _stand_ins import {module}; {module}.main{words!r}"


@contextmanager
def fake_queue(
    system: str,
    directory: str | os.PathLike[str],
    *,
    nodes: int = 4,
    cores: int = 8,
    memory: str = "16GB",
    queues: Collection[str] | None = None,
    kill_delay: float = 2.0,
    root_may_submit: bool = True,
) -> Iterator[FakeQueue]:
    """A batch system on this machine: its commands come first on ``PATH`` inside the block.

    Jobs are real: each runs as processes of its own, with the environment, output files, limits and endings that
    OpenPBS 23.06 or LSF 10.1 give it. All nodes are this machine. At the end of the block, or when this process dies,
    every job is killed with all that it started. Linux only.

    Parameters
    ----------
    system : str
        ``pbs``: ``qsub``, ``qstat``, ``qdel``, ``qselect`` and ``pbsdsh``. ``lsf``: ``bsub``, ``bjobs`` and ``bkill``.
    directory : path
        Where to keep state, spool and commands; new, empty or of an earlier stand-in, which it replaces; not removed.
    nodes : int
        How many nodes: ``node1``, ``node2`` and so on.
    cores : int
        Cores of each node, whatever this machine has.
    memory : str
        Memory of each node as batch systems read it, in powers of 1024; counted, not enforced.
    queues : collection of str, optional
        Names of queues, the default first; ``workq`` or ``normal`` by default.
    kill_delay : float
        Seconds from the first signal to SIGKILL when a job is deleted or over its time.
    root_may_submit : bool
        Whether root may submit; a real OpenPBS refuses unless told otherwise.

    Yields
    ------
    FakeQueue
        What it knows, and what shall go wrong.

    Raises
    ------
    ValueError
        When the system is unknown, a number makes no sense, or the directory is somebody else's.

    Examples
    --------
    As a fixture::

        import pytest
        from asyncflow.testing import fake_queue

        @pytest.fixture
        def pbs(tmp_path):
            with fake_queue("pbs", tmp_path / "pbs") as queue:
                yield queue

        def test_a_refused_job_is_reported(pbs):
            pbs.fail_submissions("Maximum number of jobs already in queue", times=1)
            ...
    """
    if system not in main.COMMANDS:
        raise ValueError(f"there is no stand-in for {system!r}; {one_of(main.COMMANDS)}")
    if nodes < 1 or cores < 1 or kill_delay < 0:
        raise ValueError(f"nodes={nodes}, cores={cores}, kill_delay={kill_delay}: give 1 or more, 1 or more, 0 or more")
    place = Path(directory).absolute()
    if place.exists() and any(place.iterdir()) and not (place / "wake").is_fifo():
        raise ValueError(f"{place} has other things in it; give a new or an empty directory")
    facts = {
        "system": system,
        "nodes": [f"node{number}" for number in range(1, nodes + 1)],
        "cores": cores,
        "memory": machine.parse_size(memory),
        "queues": list(queues or [_DEFAULT_QUEUE[system]]),
        "kill_delay": kill_delay,
        "root_may_submit": root_may_submit,
    }
    _lay_out(place, {**facts, "lost": [], "faults": {}, "hold": False, "next": 1, "jobs": {}})
    path = os.environ.get("PATH")
    server = _start_server(system, place)
    os.environ["PATH"] = f"{place / 'bin'}{os.pathsep}{path or os.defpath}"
    try:
        yield FakeQueue(system, place)
    finally:
        if path is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = path
        _stop(server, place)


def _lay_out(place: Path, first: state.State) -> None:
    """Make the directories, the first state and the commands."""
    for name in ("bin", "jobs", "tmp"):
        shutil.rmtree(place / name, ignore_errors=True)
        (place / name).mkdir(parents=True)
    (place / "wake").unlink(missing_ok=True)
    os.mkfifo(place / "wake")
    state.write(place, first)
    for command in main.COMMANDS[first["system"]]:
        program = shlex.join(_program("main", first["system"], command, str(place)))
        file = place / "bin" / command
        file.write_text(f'#!/bin/sh\nexec {program} "$@"\n', encoding="utf-8")
        file.chmod(0o755)


def _program(module: str, *words: str) -> list[str]:
    """How to run the ``main`` of one of the stand-ins' modules."""
    code = _PROGRAM.format(parent=str(Path(__file__).parent), module=module, words=words)
    return [sys.executable, "-I", "-S", "-c", code]


def _start_server(system: str, place: Path) -> "subprocess.Popen[bytes]":
    """The server; it ends when the pipe to its standard input does."""
    with (place / "server.log").open("ab") as log:
        return subprocess.Popen(
            _program("server", system, str(place)),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def _stop(server: "subprocess.Popen[bytes]", place: Path) -> None:
    """End the server, and everything of its jobs, whether it did so or not."""
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(10.0)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    left = processes.sweep(place)
    if left or server.returncode:
        log = (place / "server.log").read_text(encoding="utf-8")
        raise RuntimeError(f"the stand-in ended with {server.returncode}, and processes {sorted(left)} are left: {log}")

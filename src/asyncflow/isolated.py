"""One function body in a process of its own, with an environment of its own.

``CUDA_VISIBLE_DEVICES`` is read by libraries when they start, once for a process: two functions that share the GPUs of
one worker can only see different ones if each has its own process.
"""

import asyncio
import inspect
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cloudpickle

from asyncflow.command import Command, Guardian
from asyncflow.failures import pack, unpack
from asyncflow.stop import Stop


def run_isolated(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    env: Mapping[str, str],
    stop: Stop,
    watcher: Guardian,
) -> Any:
    """What `function` returns in a new process with the environment `env`; setting `stop` kills it.

    Raises
    ------
    BaseException
        What the function raised.
    CommandError
        When the process ended without an answer.
    """
    with tempfile.TemporaryDirectory(prefix="asyncflow-") as directory:
        call, outcome = Path(directory, "call"), Path(directory, "outcome")
        call.write_bytes(cloudpickle.dumps((function, args, kwargs)))
        argv = [sys.executable, "-m", __name__, str(call), str(outcome)]
        printed = Command(argv, {**env, "PYTHONPATH": os.pathsep.join(sys.path)}).run(stop, watcher)
        sys.stdout.write(printed)
        value, chain = pickle.loads(outcome.read_bytes())
    if chain is not None:
        raise unpack(chain)
    return value


def main(call: str, outcome: str) -> None:
    """The program of the process: read the call, run it, write what came of it."""
    try:
        function, args, kwargs = pickle.loads(Path(call).read_bytes())
        value = function(*args, **kwargs)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        answer = cloudpickle.dumps((value, None))
    except BaseException as error:
        answer = cloudpickle.dumps((None, pack(error)))
    Path(outcome).write_bytes(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])

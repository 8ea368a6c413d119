"""What the tasks of the suite do; imported on workers, so it needs nothing but Python."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

#: Seconds after which a body gives up waiting: a suite that fails must end all the same.
_PATIENCE = 60.0


class BodyError(Exception):
    """What `fail` raises; pickles with both of its facts."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text, number)
        self.text = text
        self.number = number


def add(*parts: Any) -> Any:
    """The sum of `parts`."""
    return sum(parts)


async def add_async(*parts: Any) -> Any:
    """The sum of `parts`, from a coroutine that gives way once."""
    await asyncio.sleep(0)
    return sum(parts)


def shape(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments as they arrived."""
    return args, kwargs


def fail(*args: Any) -> None:
    """Raise an error with facts."""
    raise BodyError("no luck", 7)


def leave() -> None:
    """Raise what no future can carry."""
    sys.exit(3)


def touch(path: str, *args: Any) -> str:
    """Leave a sign of having run."""
    Path(path).touch()
    return path


def wait_for(gate: str, begun: str, value: Any = None) -> Any:
    """Say that the body runs, and wait for the file `gate`, or for the end of the directory it would be in."""
    Path(begun).touch()
    deadline = time.monotonic() + _PATIENCE
    while Path(gate).parent.exists() and not Path(gate).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made {gate}")
        time.sleep(0.01)  # between looks at a fact that another process makes
    return value


def say(*words: str) -> list[str]:
    """A command that prints `words`."""
    return [sys.executable, "-c", "import sys; print(*sys.argv[1:])", *map(str, words)]


def exit_with(status: int) -> list[str]:
    """A command that complains and fails."""
    return [sys.executable, "-c", f"import sys; sys.stderr.write('wrong way'); sys.exit({status})"]


def ask(*words: Any) -> str:
    """A prompt."""
    return " ".join(map(str, words))

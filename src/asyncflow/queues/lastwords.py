"""Of all that a worker wrote, the few lines that tell why it died."""

import re

#: Lines that an error quotes.
LINES = 15

#: Lines that are looked through for them.
MANY = 400

_CHATTER = re.compile(r"\S+ \S+ - distributed\S* - INFO - ")
_CRASH = re.compile(r"Fatal Python error: ")
_THREAD = re.compile(r"Current thread 0x")
_FRAME = re.compile(r"\s+File \"|\s+\.\.\.")
_LABEL = re.compile(r"\d+: ")  # srun's


def last_words(log: str, *, has_crashed: bool) -> str:
    """The end of `log`, without the lines in which Dask says that all is well.

    Parameters
    ----------
    log : str
        What was written, or its end.
    has_crashed : bool
        Whether compiled code may have crashed: of the threads that Python then lists, the one that did is told.
    """
    lines = [_LABEL.sub("", line, count=1) if _LABEL.match(line) else line for line in log.splitlines()]
    crashes = [at for at, line in enumerate(lines) if has_crashed and _CRASH.match(line)]
    if crashes:
        lines = _crash(lines[crashes[-1] :])
        return "\n".join(lines[:LINES])
    return "\n".join([line for line in lines if line.strip() and not _CHATTER.match(line)][-LINES:])


def _crash(lines: list[str]) -> list[str]:
    found = [lines[0]]
    is_thread = False
    for line in lines[1:]:
        is_thread = _THREAD.match(line) is not None or (is_thread and _FRAME.match(line) is not None)
        found += [line] if is_thread else []
    return found

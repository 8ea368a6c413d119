"""The own directory of one attempt of a command."""

import itertools
import os
import re
import socket
from pathlib import Path

from asyncflow.errors import FileError

#: Of a name: a file system takes 255 bytes, and a number follows.
_LONGEST = 200


def directory_name(key: str) -> str:
    """What a directory of the call with `key` is called; the end of it tells calls apart."""
    return re.sub(r"[^\w.+=@-]", "_", key)[-_LONGEST:].lstrip(".")


def make_workdir(root: str, key: str) -> str:
    """A new directory ``key-1``, or the next number that is free, below `root`; only its owner may look into it.

    No other attempt is ever given it, one of another worker or of an earlier session of the run neither: whatever still
    runs there cannot write into this one.

    Raises
    ------
    FileError
        When it cannot be made.
    """
    stem = Path(root, directory_name(key))
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            path = f"{stem}-{number}"
            try:
                os.mkdir(path, 0o700)  # noqa: PTH102 - as text; it is ours only if it was not there
            except FileExistsError:
                continue
            return str(Path(path).absolute())
    except OSError as error:
        raise FileError(
            f"cannot make a directory below {root!r} on {socket.gethostname()}: {error.strerror}; let work_dir= be "
            "where all workers can write",
            (root,),
        ) from error
    raise AssertionError("itertools.count ended")

"""What the ``asyncflow`` logger says while a run is driven, kept beside its journal."""

import logging
import os
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue

#: Bytes after which the file begins anew; the one before is kept beside it as ``.1``.
SIZE = 10_000_000

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class RunLog:
    """The records of the ``asyncflow`` logger in the file at `path`, until `close`.

    Which records there are is whoever configures logging to say; nothing is changed but that they are written here,
    too. A thread of its own writes them, as they come from loops that must not wait for a disk.

    Parameters
    ----------
    path : Path
        Of the file; its directory exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        writer = RotatingFileHandler(path, maxBytes=SIZE, backupCount=1, encoding="utf-8", delay=True)
        writer.setFormatter(logging.Formatter(_FORMAT))
        queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
        self._handler = QueueHandler(queue)
        self._listener = QueueListener(queue, writer)
        self._writer = writer
        self._listener.start()
        # A filter, not a handler: with a handler of its own, the logger would no longer show the warnings of a script
        # that configures no logging on standard error (`logging.lastResort`).
        logging.getLogger("asyncflow").addFilter(self._take)

    def close(self) -> None:
        """Write what is left. Safe to call again."""
        logger = logging.getLogger("asyncflow")
        if self._take in logger.filters:
            logger.removeFilter(self._take)
            self._listener.stop()
            self._writer.close()

    def _take(self, record: logging.LogRecord) -> bool:
        self._handler.handle(record)
        return True

"""What bodies have written about themselves: which began, ended or raised, and on which worker process."""

from collections import Counter
from typing import NamedTuple


class Record(NamedTuple):
    """One line: ``begin 12 4711``."""

    what: str
    number: int
    worker: int


class Records:
    """The lines of one file, read as they come.

    Attributes
    ----------
    all : list of Record
        In the order in which they were written.
    """

    def __init__(self, path):
        self.path = path
        self.all = []
        self._begins = Counter()
        self._last = {}  # the last line of each step
        self._read = 0

    def read(self):
        """Take up what is new."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode().splitlines():
            what, number, worker = line.split()
            record = Record(what, int(number), int(worker))
            self.all.append(record)
            self._last[record.number] = record
            self._begins[record.number] += what == "begin"

    @property
    def begins(self):
        """How many bodies have begun, those that began again included."""
        return self._begins.total()

    def begun(self, number):
        """How often the body of a step began."""
        return self._begins[number]

    def running(self, worker):
        """The steps whose body began on `worker`, and has not said to have ended."""
        return {record.number for record in self._last.values() if record.worker == worker and record.what == "begin"}

    def workers(self):
        """Process ids of all workers on which a body began."""
        return {record.worker for record in self.all}

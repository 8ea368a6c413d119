"""A queueing system: its commands as lists of words, and what their output means."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from asyncflow.queues.causes import Cause
from asyncflow.queues.commands import Ran
from asyncflow.queues.jobs import Report

#: Seconds that a driver has to close in order.
CLOSING = 30.0


@dataclass(frozen=True)
class Driver:
    """A job that runs a script.

    Attributes
    ----------
    name : str
        Of the job.
    time : float
        Seconds that it may run.
    log : str
        The file of its output.
    nodes, cores : int
        How many nodes, and cores of each; None where the queue's default will do.
    memory : int or None
        Bytes of each node.
    queue, account : str or None
        Where it goes, and who pays.
    grace : float
        Seconds that what runs is to get before the end.
    goes_on : bool
        Whether one such job follows the other, with the same log.
    """

    name: str
    time: float
    log: str
    nodes: int = 1
    cores: int | None = None
    memory: int | None = None
    queue: str | None = None
    account: str | None = None
    grace: float = 30.0
    goes_on: bool = False

    @property
    def warning(self) -> int:
        """Seconds before the end of its time at which it is told to close."""
        return round(min(self.grace + CLOSING, self.time / 4))

    @property
    def fitting_grace(self) -> float:
        """Seconds of `grace` that fit into `warning`: closing takes some of it."""
        return min(self.grace, max(self.warning / 2, self.warning - CLOSING))


class QueueSystem(ABC):
    """What one queueing system is asked, and how it answers; nothing here runs anything.

    Attributes
    ----------
    job_class : str
        The job class of dask-jobqueue.
    submit : list of str
        The command that takes a job script.
    directive : str
        What directives of a job script begin with.
    """

    job_class: ClassVar[str]
    submit: ClassVar[list[str]]
    directive: ClassVar[str]

    #: What a command says when its server is too busy, or away for a moment.
    busy: ClassVar[re.Pattern[str]]

    #: What cancelling says of jobs that have ended already.
    gone: ClassVar[re.Pattern[str]]

    #: Where the id stands in what `submit` says: its group ``job_id``.
    job_id: ClassVar[re.Pattern[str]]

    #: Variables of a job's environment: its id, its name, and where it was submitted.
    own_variables: ClassVar[tuple[str, str, str]]

    #: Names of the variables that are true in one job only: a job that is submitted from it must not inherit them.
    inner: ClassVar[re.Pattern[str]]

    #: What words of the queue, or of its books, say of why a job ended; the first that fits.
    causes: ClassVar[Mapping[str, Cause]]

    #: The same for what the queueing system writes into a job's log.
    logged: ClassVar[Mapping[str, Cause]]

    @abstractmethod
    def walltime(self, seconds: float) -> Any:
        """`seconds` as the job class takes it."""

    @abstractmethod
    def query(self, run: str, ids: Sequence[str]) -> list[str]:
        """The one question about all jobs of `run`, whose ids are known, ended ones included."""

    @abstractmethod
    def reports(self, ran: Ran) -> dict[str, Report] | None:
        """What the answer says of each job; None where it is no answer."""

    @abstractmethod
    def cancel(self, ids: Sequence[str]) -> list[str]:
        """The command that ends `ids`, politely first."""

    def books(self, ids: Sequence[str]) -> list[list[str]]:
        """Commands, the best first, that tell how jobs ended which the queue has forgotten or put back; none here."""
        del ids
        return []

    def booked(self, ran: Ran) -> dict[str, str] | None:
        """The last word on each job in what one of them says, as `causes` has it; None where that is no answer."""
        del ran
        return None

    def cancel_queued(self, ids: Sequence[str]) -> list[str]:
        """The command that ends those of `ids` that have not begun; where there is none, all of them."""
        return self.cancel(ids)

    def own_script(self, job_id: str) -> list[str]:
        """A command that prints the script of the running job; nothing where there is none."""
        del job_id
        return []

    @abstractmethod
    def find(self, run: str) -> list[str]:
        """A command that prints the ids of unfinished jobs of `run`, one a line."""

    @abstractmethod
    def own(self) -> list[str]:
        """A command that lists all unfinished jobs of this user."""

    @abstractmethod
    def names(self, ran: Ran) -> dict[str, str] | None:
        """The names of the jobs in that list, by id; None where it is no answer."""

    def queues(self) -> list[str]:
        """A command that prints the names of queues, one a line; nothing where there is none."""
        return []

    @abstractmethod
    def driver_directives(self, driver: "Driver") -> list[str]:
        """Directives of a job that runs `driver`."""

    def before_limit(self, driver: "Driver") -> list[str]:
        """Words before the command of `driver` that send it SIGTERM before its time is over."""
        return ["timeout", "--preserve-status", "--signal=TERM", f"{driver.time - driver.warning:.0f}"]

    @abstractmethod
    def follow(self, job_id: str) -> list[str]:
        """Commands, for the user, that show what becomes of a job."""

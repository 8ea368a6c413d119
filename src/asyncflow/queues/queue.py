"""The queue as one run uses it: submissions at a measured pace, one question for all jobs, cancelling in batches."""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

from asyncflow.errors import SubmitError
from asyncflow.queues.commands import Ran, run
from asyncflow.queues.janitor import Janitor
from asyncflow.queues.jobs import Report
from asyncflow.queues.system import QueueSystem

logger = logging.getLogger("asyncflow")

#: Jobs named in one command: argument lists have a limit, and so has the patience of controllers.
BATCH = 100

#: Seconds until the first question after something has changed, and the factor by which the wait grows.
SOON = 1.0
GROWTH = 1.5

#: The longest wait, in seconds, for a controller that does not answer.
LONGEST = 300.0


class Queue:
    """One run's view of a queueing system.

    Parameters
    ----------
    system : QueueSystem
        Which.
    run_name : str
        The name that all jobs carry.
    janitor : Janitor
        Told of each job before anything else is done with it.
    poll_interval, submit_interval : float
        Seconds between questions, at most, and between submissions, at least.
    """

    def __init__(
        self, system: QueueSystem, run_name: str, janitor: Janitor, poll_interval: float, submit_interval: float
    ) -> None:
        self._system = system
        self._run = run_name
        self._janitor = janitor
        self._longest = poll_interval
        self._interval = min(SOON, poll_interval)
        self._next_poll = math.inf  # until there is a job
        self._submit_interval = submit_interval
        self._next_submit = 0.0
        self._is_silent = False
        self._submissions: set[asyncio.Future[str]] = set()
        self._alive: dict[str, None] = {}
        self._is_doubtful = False
        self._without_books: set[int] = set()

    @property
    def next_poll(self) -> float:
        """When it is to be asked again (`time.monotonic`)."""
        return self._next_poll

    async def submit(self, job: Any) -> str:
        """Submit a job of dask-jobqueue; its id.

        Raises
        ------
        SubmitError
            When the queueing system refuses it.
        """
        await asyncio.sleep(max(0.0, self._next_submit - monotonic()))
        self._next_submit = monotonic() + self._submit_interval
        # Not broken off with whoever waits for it: a job of which nobody has the id could not be cancelled.
        submission = asyncio.ensure_future(self._submit(job))
        self._submissions.add(submission)
        submission.add_done_callback(self._submissions.discard)
        return await asyncio.shield(submission)

    async def cancel_all(self) -> bool:
        """End all jobs of the run, those included whose submission is under way; whether that was understood."""
        if self._submissions:
            await asyncio.wait(self._submissions)
        ids = dict.fromkeys(self._alive)
        if self._is_doubtful:  # one that was accepted without our hearing of it is there by name
            found = await run(self._system.find(self._run))
            ids.update(dict.fromkeys(found.stdout.split() if found.returncode == 0 else ()))
        return await self.cancel(ids)

    def strays(self, reports: Mapping[str, Report]) -> list[str]:
        """Jobs of the run of which nobody has the id; no submission is to be under way."""
        return [job_id for job_id, report in reports.items() if job_id not in self._alive and not report.has_ended]

    async def _submit(self, job: Any) -> str:
        self._janitor.submitting()
        try:
            await job.start()
        except SubmitError as error:
            # A controller that was too slow to answer may have accepted it all the same.
            self._is_doubtful = self._is_doubtful or self.is_busy(error)
            if not self.is_busy(error):
                self._janitor.refused()
            raise
        except ValueError as error:  # dask-jobqueue found no id in what the command printed
            self._is_doubtful = True
            command = " ".join(self._system.submit)
            raise SubmitError(f"{command} did not tell the id of the job ({error}); see what it prints") from error
        job_id = str(job.job_id)
        self._alive[job_id] = None
        self._janitor.submitted(job_id)
        self.look_soon()
        return job_id

    def is_busy(self, error: SubmitError) -> bool:
        """Whether it refused only because it has too much to do."""
        return bool(self._system.busy.search(error.stderr))

    def look_soon(self) -> None:
        """Something has changed: ask soon, then less and less often; but let a controller that is silent recover."""
        if not self._is_silent:
            self._interval = min(SOON, self._longest)
            self._next_poll = min(self._next_poll, monotonic() + self._interval)

    async def ask(self, ids: Iterable[str]) -> Mapping[str, Report] | None:
        """What it says of all jobs of the run; None where it does not answer, and is asked less often for a while."""
        known = list(ids)
        ran = await run(self._system.query(self._run, known))
        reports = self._system.reports(ran)
        if reports is None:
            self._interval = min(2 * max(self._interval, SOON), LONGEST)
            self._complain(ran)
        else:
            self._interval = min(GROWTH * self._interval, self._longest)
            self._is_silent = False
        self._next_poll = monotonic() + self._interval
        return reports

    async def look_up(self, ids: Sequence[str]) -> Mapping[str, str]:
        """How those jobs ended according to the queueing system's books, for as many as are there; one question."""
        for number, command in enumerate(self._system.books(ids)):
            if number in self._without_books:
                continue
            if (found := self._system.booked(ran := await run(command))) is not None:
                return found
            logger.debug("the queueing system has no such books (%s)", ran)
            self._without_books.add(number)
        return {}

    async def cancel(self, ids: Iterable[str], *, queued: bool = False) -> bool:
        """End those jobs; whether that was understood.

        Parameters
        ----------
        queued : bool
            Only those that have not begun, where the queueing system can tell them apart at that moment.
        """
        waiting = list(ids)
        done = await cancel(self._system, waiting, queued=queued)
        if waiting:
            self.look_soon()
        return done

    def ended(self, job_id: str) -> None:
        """That job is over."""
        self._alive.pop(job_id, None)
        self._janitor.ended(job_id)

    def _complain(self, ran: Ran) -> None:
        if not self._is_silent:
            logger.warning("the queue does not answer, and is asked again later (%s)", ran)
        self._is_silent = True


async def cancel(system: QueueSystem, ids: Sequence[str], *, queued: bool = False) -> bool:
    """End those jobs, or only those of them that have not begun; whether that was understood."""
    done = True
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        ran = await run(system.cancel_queued(some) if queued else system.cancel(some))
        said = [line for line in ran.stderr.splitlines() if line.strip()]
        if ran.returncode != 0 and not (said and all(system.gone.search(line) for line in said)):
            logger.warning("jobs were not cancelled (%s)", ran)
            done = False
    return done

"""Calls on a `concurrent.futures` executor of the user's: threads or processes of this machine."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

from asyncflow.arguments import fill
from asyncflow.backends.base import ExecutionBackend
from asyncflow.backends.ready import ReadyQueue, Work
from asyncflow.call import RemoteFailure, RetryLater, attempt, failure_of, open_call
from asyncflow.carrier import within
from asyncflow.errors import WorkerLostError, with_cause
from asyncflow.failures import carried
from asyncflow.keep import Ticket
from asyncflow.measure import Measure
from asyncflow.node import Node, Outcome
from asyncflow.options import TaskOptions
from asyncflow.pickles import dump_whole
from asyncflow.recipe import Kind, Recipe
from asyncflow.site import Site
from asyncflow.states import TaskState
from asyncflow.stop import Stop

logger = logging.getLogger("asyncflow")


class ConcurrentExecutionBackend(ExecutionBackend):
    """Runs calls on an executor that the user owns.

    The backend submits to the executor, and leaves it open: it belongs to whoever made it. Values stay in this process;
    dependents of a thread pool start in the very thread that finished their last input.

    Parameters
    ----------
    executor : ThreadPoolExecutor or ProcessPoolExecutor
        Where bodies run. Functions and arguments for processes are pickled; threads get the objects themselves.
    name : str, optional
        ``"threads"`` or ``"processes"`` by default.

    Raises
    ------
    TypeError
        For anything that is not one of the two executors.
    """

    def __init__(self, executor: Executor, name: str | None = None) -> None:
        if not isinstance(executor, (ThreadPoolExecutor, ProcessPoolExecutor)):
            raise TypeError(f"executor must be a ThreadPoolExecutor or a ProcessPoolExecutor, got {executor!r}")
        self._by_process = isinstance(executor, ProcessPoolExecutor)
        super().__init__(name or ("processes" if self._by_process else "threads"))
        self._executor: Executor | None = executor
        self._helpers: ThreadPoolExecutor | None = None  # of a process pool: for what has processes of its own anyway
        self._cores: int = getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        self._queue = ReadyQueue(self._cores)
        self._site = Site(self._cores)
        self._lock = threading.Lock()
        self._timers: set[threading.Timer] = set()

    async def start(self) -> None:
        """Nothing to open: the executor is there."""
        kind = "ProcessPool" if self._by_process else "ThreadPool"
        logger.info("%s execution backend started successfully", kind)

    def refusal(self, options: TaskOptions) -> str | None:
        """Cores are the executor's workers; other resources it has none."""
        if options.cores > self._cores:
            return f"asks for {options.cores} cores, and backend {self.name!r} has {self._cores} workers"
        if options.resources:
            return f"asks for {dict(options.resources)}, and backend {self.name!r} has no such resources"
        return None

    def prepare(self, node: Node) -> None:
        """For a process pool, check at the call that function and arguments can travel."""
        if self._goes_by_process(node) and node.pickle is not None:
            node.packed = node.pickle.data(), dump_whole(node.recipe.function, node.args, node.kwargs)
        else:
            node.packed = node.args, node.kwargs

    def prepare_again(self, node: Node) -> None:
        """Of what is packed, the recipe may be another one."""
        if self._goes_by_process(node) and node.pickle is not None:
            node.packed = node.pickle.data(), node.packed[1]

    def submit(self, nodes: Sequence[Node]) -> None:
        """Queue the calls whose inputs are there, remember the others."""
        self._queue.add(nodes)
        self._launch()

    def listen(self) -> None:
        """Measure what begins from now on."""
        self._site.is_heard = True

    def cancel(self, nodes: Sequence[Node]) -> None:
        """Never begin what is queued; stop processes and coroutines that run; drop the rest's results."""
        for node in nodes:
            work: Work | None = node.remote
            if work is not None:
                work.dropped = True
                work.stop.set()

    async def close(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - bounds the whole, threads included
        """Wait for bodies that still run, at most `timeout` seconds, and let go of the executor."""
        self._stop_all()
        if not await self._idle(timeout):
            logger.warning("%d bodies still run on backend %r after %g s", self._queue.running(), self.name, timeout)
        self._executor = None
        await asyncio.to_thread(self._close_site)

    def abandon(self) -> None:
        """Stop what can be stopped."""
        self._stop_all()
        self._executor = None
        self._close_site()

    def _stop_all(self) -> None:
        active = self._queue.clear()
        with self._lock:
            timers, self._timers = self._timers, set()
        for timer in timers:
            timer.cancel()
        for work in active:
            work.dropped = True
            work.stop.set()

    def _close_site(self) -> None:
        self._site.close()
        if self._helpers is not None:
            self._helpers.shutdown(wait=True)

    def _goes_by_process(self, node: Node) -> bool:
        # What gets a process of its own anyway is started from here, where it can be killed.
        return self._by_process and node.kind is Kind.FUNCTION and not node.recipe.isolated

    async def _idle(self, timeout: float) -> bool:  # noqa: ASYNC109 - bounds the whole, threads included
        loop = asyncio.get_running_loop()
        idle = asyncio.Event()
        if not self._queue.when_idle(partial(loop.call_soon_threadsafe, idle.set)):
            return True
        try:
            await asyncio.wait_for(idle.wait(), timeout)
        except TimeoutError:
            return False
        return True

    # The queue; what follows runs in any thread

    def _launch(self) -> None:
        """Start as many calls as there are free cores."""
        while True:
            work = self._queue.take()
            if work is None:
                return
            try:
                self._start(work)
            except RuntimeError as error:  # shut down by its owner, or broken
                reason = f"the executor of backend {self.name!r} takes no more work: {error}"
                self._complete(work, Outcome(TaskState.FAILED, error=with_cause(WorkerLostError(reason), error)))

    def _start(self, work: Work) -> None:
        if self._executor is None:
            raise RuntimeError("the backend is closed")
        if not self._by_process:
            self._executor.submit(self._run_here, [work])
        elif not self._goes_by_process(work.node):
            if self._helpers is None:
                self._helpers = ThreadPoolExecutor(self._cores, thread_name_prefix="asyncflow-commands")
            self._helpers.submit(self._run_here, [work])
        else:
            self._run_there(work)

    def _run_here(self, first: list[Work]) -> None:
        """Run calls in this thread for as long as there are any."""
        work: Work | None = first.pop()  # the executor keeps its arguments to the end, and with them values
        while work is not None:
            node = work.node
            recipe = node.recipe
            where = f"{self.name}: {threading.current_thread().name}"
            now = time.time()
            self.post([(node, Outcome(TaskState.RUNNING, measure=Measure(now, now, worker=where)))])
            try:
                args, kwargs = work.arguments
                args, kwargs = fill(args, kwargs, [each.value for each in work.inputs])
                value = within(
                    node.carrier,
                    attempt,
                    recipe,
                    node.key,
                    args,
                    kwargs,
                    self._site,
                    work.stop,
                    work.failed_before,
                    work.ticket,
                )
            except RetryLater as later:
                self._retry(work, later)
            except BaseException as error:
                measure = self._measure(node, where)
                failure = carried(error, recipe.name)
                self._complete(work, Outcome(TaskState.FAILED, error=failure, origin=node.key, measure=measure))
            else:
                measure = self._measure(node, where)
                self._complete(work, Outcome(TaskState.DONE, value, has_value=True, measure=measure))
            del node, recipe
            if self._by_process:  # the next may be a function, which belongs in a process
                self._launch()
                return
            work = self._queue.take()

    def _measure(self, node: Node, where: str) -> Measure | None:
        return _at(self._site.take_measure(node.key), where)

    def _run_there(self, work: Work) -> None:
        node = work.node
        recipe, arguments = work.arguments
        values = [each.value for each in work.inputs]
        assert self._executor is not None
        run = _run_in_process if node.carrier is None else partial(within, node.carrier, _run_in_process)
        future = self._executor.submit(
            run,
            recipe,
            arguments,
            values,
            node.key,
            work.failed_before,
            work.ticket,
            self._site.is_heard,
        )
        self.post([(node, Outcome(TaskState.RUNNING))])
        future.add_done_callback(partial(self._came_back, work))

    def _came_back(self, work: Work, future: "Future[Any]") -> None:
        node = work.node
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            value, measure = future.result()
            self._complete(work, Outcome(TaskState.DONE, value, has_value=True, measure=self._there(measure)))
        elif isinstance(error, RetryLater):
            self._retry(work, error)
        elif isinstance(error, (BrokenExecutor, asyncio.CancelledError)):
            text = f"a process of backend {self.name!r} died while task {node.name!r} ran or waited: {error}"
            lost = with_cause(WorkerLostError(text), error)
            self._complete(work, Outcome(TaskState.FAILED, error=lost, origin=node.key))
        else:
            measure = self._there(error.measure) if isinstance(error, RemoteFailure) else None
            self._complete(work, Outcome(TaskState.FAILED, error=error, origin=node.key, measure=measure))
        self._launch()

    def _there(self, measure: Measure | None) -> Measure | None:
        return _at(measure, f"{self.name}: {measure.worker}") if measure is not None else None

    def _retry(self, work: Work, later: RetryLater) -> None:
        """Queue the next attempt, after its delay; the wait holds no worker."""
        self.post([(work.node, Outcome(TaskState.PENDING, later.facts(), measure=later.measure))])
        work.failed_before += 1
        self._queue.give_back(work)

        def again() -> None:
            with self._lock:
                self._timers.discard(timer)
            self._queue.add_again(work)
            self._launch()

        timer = threading.Timer(later.delay, again)
        timer.daemon = True
        with self._lock:
            self._timers.add(timer)
        work.stop.add(timer.cancel)
        timer.start()

    def _complete(self, work: Work, outcome: Outcome) -> None:
        if outcome.state is TaskState.DONE:
            self._queue.succeed(work, outcome.value)
        self._queue.give_back(work)
        self.post([(work.node, outcome)])
        if self._queue.has_more():
            self._launch()


def _run_in_process(
    recipe: bytes,
    arguments: bytes,
    values: list[Any],
    key: str,
    failed_before: int,
    ticket: Ticket | None,
    is_heard: bool,
) -> tuple[Any, Measure | None]:
    opened: Recipe | None = None
    site = Site(cores=os.cpu_count() or 1)
    site.is_heard = is_heard
    where = f"pid {os.getpid()}"
    try:
        opened, args, kwargs = open_call(recipe, arguments, values)
        value = attempt(opened, key, args, kwargs, site, Stop(), failed_before, ticket)
        return value, _at(site.take_measure(key), where)
    except RetryLater as later:
        failure: Exception = RetryLater(later.delay, later.attempt, later.reason, _at(later.measure, where))
    except BaseException as error:
        name = opened.name if opened is not None else key
        failure = failure_of(error, key, name, _at(site.take_measure(key), where))
    finally:
        site.close()
    raise failure  # out here, or the original would go along as its context, and may be unfit to travel


def _at(measure: Measure | None, worker: str) -> Measure | None:
    return measure._replace(worker=worker) if measure is not None else None

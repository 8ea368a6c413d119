"""Why a call is where it is: one answer, from what its journal tells. Plain functions, facts in, answer out."""

from collections.abc import Callable
from itertools import takewhile
from statistics import median

from asyncflow.recipe import Kind
from asyncflow.runs.answers import Answer, Reason, Scene
from asyncflow.runs.facts import Call, CallState
from asyncflow.runs.history import History
from asyncflow.runs.listing import RunState
from asyncflow.runs.outcome import attempts, outcome
from asyncflow.runs.supply import Supply, supply, unmet
from asyncflow.runs.words import asked, many, moment, place, queue_of, some, span, waiting_for

_Step = Callable[[History, Call, Scene], Answer | None]


def why(history: History, call: Call, scene: Scene) -> Answer:
    """Why `call` is where it is."""
    if call.is_over:
        return outcome(history, call, scene)
    if not scene.is_live or history.ended is not None:
        return _cut_off(history, call, scene)
    return _unfinished(history, call, scene)


def _unfinished(history: History, call: Call, scene: Scene) -> Answer:
    for step in _STEPS:
        if (answer := step(history, call, scene)) is not None:
            answer.details += attempts(history, call)
            return answer
    return _from_supply(history, call, scene)


def _cut_off(history: History, call: Call, scene: Scene) -> Answer:
    how = f"its driver, {scene.driver}, died" if scene.state is RunState.KILLED else "the run ended"
    if call.started is not None:
        text = f"it was running on {place(history, call.worker)} since {moment(call.started)} when {how}"
    elif missing := unmet(history, call):
        text = f"it never began: it waited for {_named(missing)}, and {how}"
    else:
        text = f"it never began: it waited for its turn when {how}"
    last = [("last sign of the run", moment(history.last))]
    more = f"; go on with asyncflow run --resume {scene.directory.name}"
    return Answer(call, Reason.CUT_OFF, text + more, details=[*last, *attempts(history, call)])


# What may keep a call, in the order in which it comes about


def _running(history: History, call: Call, scene: Scene) -> Answer | None:
    if call.state is not CallState.RUNNING or call.started is None:
        return None
    text = f"it has been running for {span(scene.now - call.started)} on {place(history, call.worker)}"
    if call.task_type == Kind.BLOCK:
        return _block(history, call, scene, text)
    took = [each.duration for each in history.of_name(call.name) if each.state is CallState.DONE and each.duration]
    if took:
        text += (
            f"; {many(len(took), 'other')} of its name took {span(median(took))} (median), {span(max(took))} at most"
        )
    return Answer(call, Reason.RUNNING, text)


def _block(history: History, call: Call, scene: Scene, text: str) -> Answer:
    members = [each for each in history.calls.values() if each.block == call.id]
    left = [each for each in members if not each.is_over]
    if not left or root_of(history, call) is call:
        ended = f"; the {len(members)} calls that it has made have ended" if members else ""
        return Answer(call, Reason.RUNNING, text + ended)
    root = root_of(history, left[0])
    text += f", and {len(left)} of the {len(members)} calls that it has made have not ended; "
    return Answer(call, Reason.RUNNING, text + _because(history, root, scene), root.id)


def _inputs(history: History, call: Call, scene: Scene) -> Answer | None:
    missing = unmet(history, call)
    if not missing:
        return None
    root = root_of(history, call)
    inputs = f"{len(missing)} of its {many(len(call.depends_on), 'input')}"
    text = f"it waits for {inputs}: {_named(missing)}; {_because(history, root, scene)}"
    return Answer(call, Reason.INPUTS, text, root.id)


def root_of(history: History, call: Call) -> Call:
    """The call that an unfinished one hangs on: the first that waits for no other, or that can never be."""
    seen: set[str] = set()
    while call.id not in seen and not call.is_over:
        seen.add(call.id)
        missing = unmet(history, call)
        if not missing and call.task_type == Kind.BLOCK:
            missing = [each for each in history.calls.values() if each.block == call.id and not each.is_over]
        # One that has failed will never be, and one that runs is nearest to its end.
        missing.sort(key=lambda each: (not each.is_over, each.state is not CallState.RUNNING))
        call = missing[0] if missing else call
    return call


def _retry(history: History, call: Call, scene: Scene) -> Answer | None:
    last = call.attempts[-1] if call.attempts else None
    if last is None or last.how != "retried" or last.ended + last.delay <= scene.now:
        return None
    left = span(last.ended + last.delay - scene.now)
    return Answer(
        call, Reason.RETRY, f"attempt {len(call.attempts)} failed ({last.why}), and the next begins in {left}"
    )


def _driver(history: History, call: Call, scene: Scene) -> Answer | None:
    limit = history.max_in_flight
    if call.task_type == Kind.BLOCK:
        return Answer(call, Reason.TURN, "it is a block and has all it needs: it is about to begin, on the driver")
    earlier = takewhile(lambda each: each is not call, history.calls.values())
    there = sum(not each.is_over and each.task_type != Kind.BLOCK and _is_sent(history, each) for each in earlier)
    if not limit or there < limit:
        return None
    before = there - limit
    text = (
        f"it waits on the driver: max_in_flight ({limit}) calls are at the backends, and {queue_of(before)} before it"
    )
    return Answer(call, Reason.DRIVER, text)


def _is_sent(history: History, call: Call) -> bool:
    """Whether it could be sent: what it waits for, if anything, goes to the same backend, as an edge."""
    return all(each.backend == call.backend and each.task_type != Kind.BLOCK for each in unmet(history, call))


_STEPS: tuple[_Step, ...] = (_running, _inputs, _retry, _driver)


# Of a call that nothing but a worker is missing for


def _from_supply(history: History, call: Call, scene: Scene) -> Answer:
    found = supply(history, call)
    if not found.pools and not found.workers:
        answer = _without_workers(history, call, found)
    elif not found.workers or (call.queued is not None and not found.pools):
        answer = _nobody(history, call, scene, found)
    elif call.held is not None:
        length = span(call.expected)
        text = (
            f"it waits for a job that lasts: it is expected to take {length}, and no worker that is there has so long"
        )
        answer = Answer(call, Reason.WALLTIME, f"{text} left; {_jobs(found, scene)}")
    else:
        answer = _among_workers(call, found, scene)
    answer.details += [("asks for", asked(call)), *attempts(history, call)]
    return answer


def _without_workers(history: History, call: Call, found: Supply) -> Answer:
    if found.lack:
        pools = some((f"{pool.name} ({many(pool.cores, 'core')})" for pool in history.pools.values()), 10)
        return Answer(call, Reason.MISFIT, f"no pool has what it asks for: it {found.lack}; the pools are {pools}")
    running = sum(each.state is CallState.RUNNING and each.backend == call.backend for each in history.calls.values())
    if call.queued is not None or not running:
        where = f"backend {call.backend!r}" if call.backend else "its backend"
        return Answer(call, Reason.NO_WORKER, f"{where} has no worker that is known, and nothing runs there")
    text = f"it waits for its turn on backend {call.backend!r}, where {many(running, 'call')} run"
    return Answer(call, Reason.BUSY, f"{text}, and {queue_of(found.before)} before it")


def _nobody(history: History, call: Call, scene: Scene, found: Supply) -> Answer:
    """No worker that is there can run it."""
    if not found.pools:
        have = some((f"{each.name or each.address} ({many(each.slots, 'slot')})" for each in found.workers), 5)
        return Answer(
            call, Reason.MISFIT, f"no connected worker has what it asks for ({asked(call)}); there are {have}"
        )
    names = " or ".join(repr(pool.name) for pool in found.pools)
    stopped = [pool for pool in found.pools if pool.stopped]
    if found.starting:
        job = found.starting[0]
        since = span(scene.now - (job.started or scene.now))
        on = f" on {job.nodes}" if job.nodes else ""
        text = (
            f"job {job.id} of pool {job.pool!r} has been running{on} for {since}, and its worker has not connected yet"
        )
        return Answer(call, Reason.STARTING, text)
    if found.pending:
        return Answer(call, Reason.PENDING, f"no worker of pool {names} is there yet: {_jobs(found, scene)}")
    if stopped:
        return Answer(call, Reason.STOPPED, f"pool {stopped[0].name!r} submits no more jobs: {stopped[0].stopped}")
    if found.working:
        text = f"the workers of {many(len(found.working), 'job')} of pool {names} are gone"
        return Answer(call, Reason.NO_WORKER, f"{text}, and the queueing system has not said why yet")
    what = "job" if any(pool.most is not None for pool in found.pools) else "worker"
    return Answer(call, Reason.NO_WORKER, f"pool {names} has no {what} yet")


def _among_workers(call: Call, found: Supply, scene: Scene) -> Answer:
    if found.busy < found.slots:
        free = f"{found.slots - found.busy} of {many(found.slots, 'slot')} are free"
        text = f"it is about to begin: {free}, and {queue_of(found.before)} before it"
        return Answer(call, Reason.TURN, text)
    names = " or ".join(repr(pool.name) for pool in found.pools)
    busy = f"all {many(found.slots, 'slot')} of {many(len(found.workers), 'worker')} are busy"
    busy += f", and {queue_of(found.before)} before it"
    if found.is_at_limit and not (found.pending or found.starting):
        jobs = many(sum(pool.most or 0 for pool in found.pools), "job")
        return Answer(call, Reason.LIMIT, f"pool {names} is at its limit of {jobs}, {busy}")
    more = f"; {_jobs(found, scene)}" if found.pending or found.starting else ""
    return Answer(call, Reason.BUSY, f"{busy}{more}")


def _jobs(found: Supply, scene: Scene) -> str:
    """What is to come."""
    told = []
    if found.pending:
        reasons = waiting_for(found.reasons) or "the queueing system does not say why"
        oldest = span(scene.now - min(job.submitted for job in found.pending))
        are = "waits" if len(found.pending) == 1 else "wait"
        told.append(f"{many(len(found.pending), 'job')} {are} in the queue for {oldest} ({reasons})")
    if found.starting:
        told.append(f"{many(len(found.starting), 'job')} run whose workers have not connected yet")
    return ", ".join(told) or "no other job is on its way"


# Other calls in a word or two


def _because(history: History, root: Call, scene: Scene) -> str:
    if root.is_over:
        return f"and that can never be: {root.id} {_ended(root)}"
    if unmet(history, root):  # a circle, which only a damaged journal tells of
        return f"{root.id} waits as well"
    text = _unfinished(history, root, scene).text
    return f"{root.id} {text[3:]}" if text.startswith("it ") else f"{root.id}: {text}"


def _named(calls: list[Call]) -> str:
    return some(f"{each.id} ({each.state})" for each in calls)


def _ended(call: Call) -> str:
    return "was cancelled" if call.state is CallState.CANCELLED else f"failed: {call.error}"

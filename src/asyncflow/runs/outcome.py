"""What came of a call that is over: how often it was tried, where it ran, why it failed, and where to read on."""

import glob
from contextlib import suppress
from pathlib import Path

from asyncflow.errors import RunDirectoryError
from asyncflow.runs.answers import Answer, Reason, Scene
from asyncflow.runs.facts import Call, CallState
from asyncflow.runs.history import History
from asyncflow.runs.results import store_of
from asyncflow.runs.words import ending, moment, place, some, span
from asyncflow.units import show_size
from asyncflow.workdir import directory_name

_HOW = {"retried": "failed", "lost": "lost its worker", "corrupt": "found its kept result damaged"}


def outcome(history: History, call: Call, scene: Scene) -> Answer:
    """What came of `call`."""
    if call.state is CallState.FAILED:
        answer = _failed(history, call)
    elif call.state is CallState.CANCELLED:
        answer = _cancelled(history, call)
    elif call.state is CallState.FOUND:
        answer = Answer(call, Reason.FOUND, "it is done: an earlier session has kept its result")
    else:
        answer = Answer(call, Reason.DONE, f"it is done: {_ran(history, call)}")
    origin = (history.call(answer.root) if answer.root else None) or call
    answer.details += [
        *attempts(history, origin),
        *_facts(origin),
        *_job(history, origin),
        *_files(call, origin, scene),
    ]
    return answer


def attempts(history: History, call: Call) -> list[tuple[str, str]]:
    """How each attempt before the last ended."""
    told = []
    for number, each in enumerate(call.attempts, 1):
        took = f" after {span(each.ended - each.started)}" if each.started is not None else ""
        where = f" on {place(history, each.worker)}" if each.worker else ""
        why = f": {each.why}" if each.why else ""
        told.append((f"attempt {number}", f"{_HOW.get(each.how, each.how)}{took}{where}{why}"))
    return told


def way(history: History, call: Call) -> list[Call]:
    """From `call` to the call that failed by itself, or was cancelled itself, because of which it came to its end."""
    found = {call.id: call}
    last: Call | None = call
    while last is not None and not last.failed_itself:
        inputs = (history.call(key) for key in last.depends_on)
        last = next((each for each in inputs if each and each.state is call.state and each.id not in found), None)
        if last is not None:
            found[last.id] = last
    return list(found.values())


def _failed(history: History, call: Call) -> Answer:
    path = way(history, call)
    origin = path[-1]
    if origin is call:
        return Answer(call, Reason.FAILED, f"it failed: {call.error}; {_ran(history, call)}")
    through = f" (by way of {some([each.id for each in path[1:-1]], 5)})" if len(path) > 2 else ""
    text = f"it never ran, for {origin.id}, which it depends on{through}, failed: {origin.error}; {origin.id}: "
    return Answer(call, Reason.UPSTREAM, text + _ran(history, origin), origin.id)


def _cancelled(history: History, call: Call) -> Answer:
    path = way(history, call)
    if path[-1] is not call:
        text = f"it was cancelled with {path[-1].id}, which it depends on"
        return Answer(call, Reason.CANCELLED, text, path[-1].id)
    ended = f"{_ran(history, call)}" if call.started is not None else "it never began"
    return Answer(call, Reason.CANCELLED, f"it was cancelled at {moment(call.ended or 0.0)}; {ended}")


def _ran(history: History, call: Call) -> str:
    if call.duration is None:
        return "nothing is told of where it ran"
    tried = f", in attempt {len(call.attempts) + 1}" if call.attempts else ""
    return f"it ran for {span(call.duration)} on {place(history, call.worker)}{tried}"


def _facts(call: Call) -> list[tuple[str, str]]:
    facts = [
        ("began", call.started and moment(call.started)),
        ("ended", call.ended and moment(call.ended)),
        ("processor time", call.cpu and span(call.cpu)),
        ("peak memory", call.peak_memory and show_size(call.peak_memory)),
        ("size of its value", call.size and show_size(call.size)),
    ]
    return [(what, str(said)) for what, said in facts if said]


def _job(history: History, call: Call) -> list[tuple[str, str]]:
    job = history.job_of(call.worker)
    if job is None:
        return []
    told = [("job", f"{job.id} of pool {job.pool}, which {ending(job)}")]
    return [*told, ("log of the job", job.log)] if job.log else told


def _files(call: Call, origin: Call, scene: Scene) -> list[tuple[str, str]]:
    told = [("output", str(path)) for path in output_of(scene.directory, origin)]
    if call.result and call.state in {CallState.DONE, CallState.FOUND}:
        with suppress(RunDirectoryError):
            told.append(("result", store_of(scene.directory).path(call.result)))
    return told


def output_of(directory: Path, call: Call) -> list[Path]:
    """The directories that its last attempt had to itself, or where its output was captured."""
    with suppress(OSError):
        name, tasks = directory_name(call.id), directory / "tasks"
        return sorted(path for path in (tasks / name, *tasks.glob(f"{glob.escape(name)}-*")) if path.is_dir())
    return []

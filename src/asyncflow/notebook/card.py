"""One call as HTML: its state and, where it failed, the way to the cause."""

import traceback
from collections.abc import Sequence

from asyncflow.failures import told
from asyncflow.notebook.markup import COLOURS, escaped, shortened
from asyncflow.states import TaskState

_MOST = 2000  # characters of an error
_STEPS = 12  # of the way to the cause


def call_html(
    name: str, key: str, state: TaskState, workflow_id: str | None, error: BaseException | None, way: Sequence[str]
) -> str:
    """What is known of a call; `way` are the names from what it depends on down to the cause."""
    badge = (
        f'<span style="background:{COLOURS[state]};color:{"#222" if state is TaskState.PENDING else "#fff"};'
        f'padding:1px 7px;border-radius:8px;font-size:85%">{state}</span>'
    )
    workflow = f' <span style="color:#777">in {escaped(workflow_id)}</span>' if workflow_id else ""
    head = f"<div><b>{escaped(shortened(name, 80))}</b> {badge} <code>{escaped(key)}</code>{workflow}</div>"
    failure = _failure(name, error, way) if state is TaskState.FAILED and error is not None else ""
    return f'<div class="asyncflow-call" style="line-height:1.6">{head}{failure}</div>'


def _failure(name: str, error: BaseException, way: Sequence[str]) -> str:
    cause = getattr(error, "root_cause", None) or error
    lines = []
    if way:
        lines.append(f"Way to the cause: {_path(name, way)}")
    elif cause is not error:  # of a call inside a block, whose text is the way
        lines.append(f"{escaped(shortened(told(error), _MOST))}; caused by")
    lines.append(f'<code style="white-space:pre-wrap">{escaped(shortened(told(cause), _MOST))}</code>')
    if where := place_of(cause):
        lines.append(f"at <code>{escaped(where)}</code>")
    return "".join(f"<div>{line}</div>" for line in lines)


def _path(name: str, way: Sequence[str]) -> str:
    steps = [name, *way]
    if len(steps) > _STEPS:
        steps = [*steps[: _STEPS - 2], "…", steps[-1]]
    return " ← ".join(f"<code>{escaped(shortened(step, 80))}</code>" for step in steps)


def place_of(error: BaseException) -> str:
    """Where `error` was raised, as its traceback has it; empty where it has none."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return ""
    frame, line = frames[-1]
    file, name = frame.f_code.co_filename, frame.f_code.co_name
    # A function of a script or cell travels by value, and its code does not know its file any more.
    return f"line {line} in {name}" if file.startswith("<") else f"{file}:{line} in {name}"

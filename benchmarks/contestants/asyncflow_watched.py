"""asyncflow with somebody who listens to all events, and progress drawn on a terminal."""

import os
import pty
import threading
from contextlib import contextmanager

import bodies

from asyncflow.views.display import display_on
from asyncflow.views.progress import Progress
from contestants import _engine
from contestants.asyncflow_dask import create


@contextmanager
def opened():
    outside, inside = pty.openpty()
    reader = threading.Thread(target=_read, args=(outside,), daemon=True)
    reader.start()
    heard = []
    with os.fdopen(inside, "w", buffering=1) as terminal, Progress(display_on(terminal)) as progress:

        async def watched():
            flow = await create()
            flow.events.subscribe(lambda event: heard.append(event.kind) if len(heard) < 100 else None)
            progress.watch(flow._dispatch.events)  # noqa: SLF001 - on a terminal of its own
            return flow

        with _engine.opened(watched, bodies) as engine:
            yield engine
    assert heard


def _read(file):
    try:
        while os.read(file, 65_536):
            pass
    except OSError:  # nobody writes any more
        os.close(file)

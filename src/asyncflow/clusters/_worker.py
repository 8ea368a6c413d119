"""The program of an embedded worker: ``python -m asyncflow.clusters._worker``, its settings on standard input.

The first line is JSON; it may hold the run's private key, which is why it is neither an argument nor a file. After it
standard input stays open for as long as the driver lives: its end, however the driver ended, ends the worker.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from asyncflow.clusters._stderr import Tee

#: Seconds for closing in order once the driver has gone.
_CLOSE = 3.0


async def _run(spec: dict[str, Any], tail: Callable[[], str]) -> None:
    from distributed import Nanny, Security

    from asyncflow.queues.witness import Witness

    logging.getLogger("distributed").setLevel(logging.WARNING)  # importing it has just set INFO
    security = Security(**spec["security"]) if spec["security"] else None
    loop = asyncio.get_running_loop()
    orphaned = asyncio.Event()
    threading.Thread(target=_watch_driver, args=(loop, orphaned), name="watch-driver", daemon=True).start()
    nanny = Nanny(security=security, protocol="tls" if security else "tcp", **spec["options"])
    await nanny.plugin_add(Witness(tail), Witness.name)
    await nanny
    ended = asyncio.ensure_future(nanny.finished())
    gone = asyncio.ensure_future(orphaned.wait())
    await asyncio.wait([ended, gone], return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        await nanny.close(timeout=_CLOSE, reason="driver-gone")
    gone.cancel()


def _watch_driver(loop: asyncio.AbstractEventLoop, orphaned: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(orphaned.set)
    threading.Timer(2 * _CLOSE, os.killpg, [0, signal.SIGKILL]).start()  # whatever happens, it ends


def main() -> None:
    """Read the settings, run the worker, end when it or the driver ends."""
    spec = json.loads(sys.stdin.buffer.readline())
    with Tee() as tee:
        asyncio.run(_run(spec, tee.tail))


if __name__ == "__main__":
    main()

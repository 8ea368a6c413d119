"""Pictures of the pages, made of real runs: ``python tests/pictures.py docs/images``."""

import asyncio
import io
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from asyncflow import WorkflowEngine
from asyncflow.views.bars import picture
from asyncflow.views.tally import Tally
from gates import Gate, until

_CLUSTER = {
    "cluster": {
        "kind": "local",
        "processes": False,
        "n_workers": 4,
        "threads_per_worker": 2,
        "dashboard_address": None,
        "memory_limit": 0,
    }
}


def progress(path):
    """What ``asyncflow run`` shows in the middle of a run."""
    snapshot = asyncio.run(_middle())
    console = Console(file=io.StringIO(), record=True, width=100, force_terminal=True, highlight=False)
    console.print(picture(snapshot, 20))
    path.write_text(console.export_svg(title="asyncflow run campaign.py", unique_id="progress"))


async def _middle():
    """A campaign of which the first 200 simulations have ended."""
    with tempfile.TemporaryDirectory() as directory:
        goes_on = Gate(Path(directory) / "goes_on")
        async with WorkflowEngine.create(_CLUSTER) as flow:

            @flow.function_task(retries=1)
            def simulate(seed):
                import time

                time.sleep(0.01)
                if seed in {40, 90, 150}:
                    raise ValueError(f"seed {seed} does not converge")
                if seed >= 200:
                    goes_on.wait()
                return seed

            @flow.function_task
            def relax(energy):
                return energy

            @flow.block
            async def campaign():
                for seeds in (range(200), range(200, 300)):
                    await asyncio.gather(*(relax(simulate(seed)) for seed in seeds), return_exceptions=True)

            tally = Tally()
            tally.watch(flow._dispatch.events)
            run = campaign()
            await until(lambda: _is_in_the_middle(tally.snapshot()))
            snapshot = tally.snapshot()
            tally.leave()
            goes_on.open()
            with suppress(Exception):
                await run
    return snapshot


def _is_in_the_middle(snapshot):
    ended = {row.name: (row.ended, row.running) for row in snapshot.tasks}
    return ended.get("simulate") == (200, 8) and ended["relax"][0] == 200


if __name__ == "__main__":
    progress(Path(sys.argv[1]) / "progress.svg")

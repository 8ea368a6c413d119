"""Three kept tasks on a cluster that outlives its drivers; bodies that begin in session 1 wait for a gate."""

import asyncio
import sys
from pathlib import Path

from asyncflow import WorkflowEngine


async def main(work_dir, address, place):
    """Begin the run or go on with it."""
    config = {"cluster": {"kind": "address", "address": address, "security": "none"}}
    async with WorkflowEngine.create(config, work_dir=work_dir, resume="campaign") as flow:

        @flow.function_task(checkpoint=True, version="1")
        def slow(number):
            from gates import Gate, Notes

            session = Path(place, "session").read_text()
            notes = Notes(Path(place, "log"))
            notes.add(f"{number} begins in {session}")
            if session == "1":
                Gate(Path(place, "gate")).wait()
            notes.add(f"{number} ends in {session}")
            return f"of {session}"

        sys.stdout.write(" ".join(await asyncio.gather(*map(slow, range(3)))) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

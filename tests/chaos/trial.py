"""One graph in one place under its faults: ``python -m chaos.trial SEED PLACE SIZE LIMIT DIRECTORY``.

A process of its own, so that what it leaves behind can be told. It writes ``report.json`` into the directory.
"""

import asyncio
import faulthandler
import json
import sys
import time
from collections import Counter
from pathlib import Path

from asyncflow import WorkflowEngine
from chaos import dag as graphs
from chaos import reference
from chaos.campaign import Campaign
from chaos.crowd import Crowd
from chaos.faults import OF_DEEDS, Fault
from chaos.injector import Injector, plan
from chaos.judge import Judge
from chaos.losses import Losses
from chaos.places import PLACES, is_ours
from chaos.records import Records

#: Seconds beyond the limit after which the program tells where it hangs, and ends.
GRACE = 120


def main(seed, place, size, limit, directory):
    """Run it, and write what came of it."""
    faulthandler.dump_traceback_later(limit + GRACE, exit=True)
    where = PLACES[place](directory)
    try:
        where.open()
        report = asyncio.run(_play(seed, where, size, limit))
    finally:
        where.close()
    Path(directory, "report.json").write_text(json.dumps(report))


async def _play(seed, place, size, limit):
    dag = graphs.make(seed, size)
    judge = Judge(dag, reference.run(dag))
    records = Records(place.directory / "notes")
    begun = time.monotonic()
    with Losses() as losses:
        async with WorkflowEngine.create(place.config()) as flow:
            campaign = Campaign(flow, dag, records.path, place.gluttony)
            thrown = plan(seed, place.faults, len(dag.bodies()))
            injector = Injector(seed, thrown, place, records, campaign.is_unfinished)
            crowd = Crowd(flow)
            results, problems = await _under_fire(campaign, crowd, injector, limit)
            if not results:
                await flow.shutdown()
            records.read()
            alive = {worker for worker in records.workers() if is_ours(worker)}
    faults, running = _count(dag, records, injector.strikes)
    if results:
        judge.compare(results)
        judge.look(records, alive, losses.names)
        problems += [f"no body ran any more when to {fault}" for _, fault in injector.left]
        problems += [f"nothing there to {fault}" for fault in missing(place, faults)]
    return {
        "steps": len(dag.steps),
        "right_values": judge.right_values,
        "right_errors": judge.right_errors,
        "uncalled": judge.uncalled,
        "together": crowd.together,
        "faults": faults,
        "running": running,
        "seconds": time.monotonic() - begun,
        "problems": problems + judge.problems,
    }


async def _under_fire(campaign, crowd, injector, limit):
    """What each step ended with, nothing where that took too long; and what went wrong besides."""
    results, problems = {}, []
    injecting, crowding = asyncio.create_task(injector.run()), asyncio.create_task(crowd.run())
    try:
        async with asyncio.timeout(limit):
            await campaign.run()
            crowding.cancel()
            await crowding
            results = await campaign.fetch()
    except TimeoutError:
        problems.append(f"not ended after {limit:g} s: {', '.join(campaign.unfinished())}")
    crowding.cancel()
    injecting.cancel()
    error, _ = await asyncio.gather(injecting, crowding, return_exceptions=True)
    if isinstance(error, Exception):
        problems.append(f"the injector broke: {error!r}")
    return results, problems + crowd.problems[:5]


def _count(dag, records, strikes):
    """Faults by kind, and how many struck a body that had begun: those of bodies do, by nature."""
    own = Counter(OF_DEEDS[step.deed] for step in dag.bodies() if step.deed in OF_DEEDS and records.begun(step.number))
    faults = own + Counter(strike.fault for strike in strikes)
    return faults, own.total() + sum(bool(strike.running) for strike in strikes)


def missing(place, faults):
    """The kinds that can strike here and did not."""
    wanted = {*place.faults, *(OF_DEEDS[deed] for deed in graphs.Deed if deed in OF_DEEDS)}
    return [fault for fault in Fault if fault in wanted and not faults.get(fault)]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])

"""Two thousand calls, some of which fail; what the pages show of a run on Slurm."""

import asyncio
import random
import sys
import time

from asyncflow import WorkflowEngine

CALLS = 2000


def simulate(seed):
    sys.stdout.write(f"seed {seed}\n")
    time.sleep(random.Random(seed).uniform(0.005, 0.04))
    if seed % 250 == 40:
        raise ValueError(f"seed {seed} does not converge")
    return seed / 7


def relax(energy):
    return ["printf", "%.2f", str(energy)]


def compare(energies):
    time.sleep(0.05)
    return max(energies)


async def main():
    async with WorkflowEngine.create() as flow:
        simulation = flow.function_task(retries=1, capture_stdio=True)(simulate)
        command = flow.executable_task(relax)
        comparison = flow.function_task(cores=2)(compare)
        seeds = CALLS - 160 - 16
        energies = [simulation(seed) for seed in range(seeds)]
        texts = [command(energies[place]) for place in range(0, 160 * 11, 11)]
        best = [comparison(energies[place * 114 : place * 114 + 40]) for place in range(16)]
        ended = await asyncio.gather(*energies, *texts, *best, return_exceptions=True)
        failed = sum(isinstance(each, Exception) for each in ended)
        sys.stdout.write(f"{failed} of {len(ended)} failed\n")


asyncio.run(main())

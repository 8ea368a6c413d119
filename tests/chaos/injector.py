"""Throws faults at workers that run something: the seed says when and at whom, the records say what ran."""

import asyncio
import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass, field

import psutil

from chaos.faults import SHARES, Fault
from chaos.places import cancel_job, is_ours

_BETWEEN = 0.01  # seconds between looks at the records
_LONGEST = 2.0  # seconds that a worker is stopped, or a disk full, where nothing else begins meanwhile


@dataclass(frozen=True)
class Strike:
    """One fault that was thrown, and the steps whose bodies had begun on its victim and not ended."""

    fault: Fault
    worker: int
    running: frozenset[int]


@dataclass
class _Ache:
    """Something that lasts until so many bodies have begun, or until it is late."""

    heal: object
    begins: int
    deadline: float = field(default_factory=lambda: time.monotonic() + _LONGEST)


def plan(seed, faults, size):
    """When to throw what: pairs of the number of bodies begun and the fault, in that order."""
    chance = random.Random(f"faults {seed}")
    kinds = [fault for fault in faults for _ in range(max(1, round(SHARES[fault] * size / 500)))]
    chance.shuffle(kinds)
    first, last = 0.08, 0.7  # of all bodies; what comes later might find nothing that runs
    return sorted(zip((int(size * chance.uniform(first, last)) for _ in kinds), kinds, strict=True))


class Injector:
    """Throws the faults of a plan.

    Parameters
    ----------
    seed : int
        Decides whom.
    plan : list of (int, Fault)
        Decides when.
    place : Place
        Where the workers are.
    records : Records
        Of the bodies.
    is_unfinished : callable
        Whether the call of a step, by number, has not ended.
    """

    def __init__(self, seed, plan, place, records, is_unfinished):
        self.left = list(plan)
        self.strikes = []
        self._chance = random.Random(f"victims {seed}")
        self._place = place
        self._records = records
        self._is_unfinished = is_unfinished
        self._aches = []
        self._ending = set()  # workers that will not live much longer

    async def run(self):
        """Throw all, and heal what lasts; cancelling it heals the rest."""
        try:
            while self.left or self._aches:
                self._records.read()
                self._heal()
                if self.left and self._records.begins >= self.left[0][0]:
                    # Quick, and on this loop: nothing but the workers moves between the look and the strike.
                    strike = self._strike(self.left[0][1])
                    if strike is not None:
                        self.strikes.append(strike)
                        self.left.pop(0)
                await asyncio.sleep(_BETWEEN)
        finally:
            self._heal(everything=True)

    def _heal(self, *, everything=False):
        now = time.monotonic()
        due = [each for each in self._aches if everything or self._records.begins >= each.begins or now > each.deadline]
        for ache in due:
            self._aches.remove(ache)
            ache.heal()

    def _strike(self, fault):
        """Throw it at a worker that runs something; None where none does."""
        workers = sorted(self._records.workers() - self._ending)
        victims = [each for each in workers if self._running(each) and is_ours(each)]
        self._chance.shuffle(victims)
        for worker in victims:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError, psutil.NoSuchProcess):  # it has just ended
                if running := self._strike_at(worker, fault):
                    return Strike(fault, worker, frozenset(running))
        return None

    def _strike_at(self, worker, fault):
        """Throw it there; the steps that ran, and none if it was too late, and nothing was thrown."""
        os.kill(worker, signal.SIGSTOP)  # what it runs now, it runs when the fault strikes
        stays = False
        try:
            self._records.read()
            if running := self._running(worker):
                self._throw(fault, worker)
                stays = fault is Fault.STOP_WORKER
        finally:
            if not stays:
                _go_on(worker)
        return running

    def _running(self, worker):
        return {number for number in self._records.running(worker) if self._is_unfinished(number)}

    def _throw(self, fault, worker):
        if fault in {Fault.KILL_WORKER, Fault.KILL_NANNY, Fault.CANCEL_JOB}:
            self._ending.add(worker)
        if fault is Fault.KILL_WORKER:
            os.kill(worker, signal.SIGKILL)
        elif fault is Fault.KILL_NANNY:
            nanny = psutil.Process(worker).ppid()
            if not is_ours(nanny):
                raise ProcessLookupError(f"the nanny of {worker} is gone")
            os.kill(nanny, signal.SIGKILL)
        elif fault is Fault.CANCEL_JOB:
            cancel_job(worker)
        elif fault is Fault.STOP_WORKER:
            self._ache(lambda: _go_on(worker))
        elif fault is Fault.FILL_DISK:
            disk = self._place.disk_of(worker)
            disk.fill()
            self._ache(disk.free)

    def _ache(self, heal):
        self._aches.append(_Ache(heal, self._records.begins + self._chance.randint(10, 40)))


def _go_on(worker):
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)

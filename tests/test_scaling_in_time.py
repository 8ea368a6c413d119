"""How the number of a pool's jobs follows a demand that changes, in a queue that takes its time."""

import math
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncflow.queues.scaling import YOUNG, Decision, JobFacts, PoolFacts, decide, wanted

IDLE = 60.0
STEP = 5.0


@dataclass
class SimulatedJob:
    """A job in a queue of the test's own."""

    id: str
    starts: float
    ends: float
    began: float | None = None
    idle_since: float | None = None


class Simulation:
    """A pool of jobs that begin when a machine gets to it, live for so long, and take what work there is."""

    def __init__(self, minimum, maximum, max_queued, delays, lifetimes, lead):
        self.limits = {"minimum": minimum, "maximum": maximum, "max_queued": max_queued, "lead": lead}
        self.delays, self.lifetimes = delays, lifetimes
        self.now = 0.0
        self.jobs = []
        self.surplus_since = None
        self.submitted = self.given_back = self.replaced = self.rises = self.last_wanted = 0

    def step(self, demand):
        """The next look: what has become of the jobs, the decision, and that it is carried out."""
        self.now += STEP
        self._live(demand)
        facts = self._facts(demand)
        self.rises += max(0, wanted(facts) - self.last_wanted)
        self.last_wanted = wanted(facts)
        decision = decide(facts)
        for gone in [job for job in self.jobs if job.id in decision.give_back]:
            assert gone.began is None or self.now - gone.began >= YOUNG
            assert gone.began is None or self.now - gone.idle_since >= IDLE
            self.jobs.remove(gone)
            self.given_back += 1
        for _ in range(decision.submit):
            number = self.submitted
            starts = self.now + self.delays[number % len(self.delays)]
            lifetime = self.lifetimes[number % len(self.lifetimes)]
            self.jobs.append(SimulatedJob(str(number), starts, starts + lifetime))
            self.submitted += 1
        return decision

    def _live(self, demand):
        for job in self.jobs:
            if job.began is None and self.now >= job.starts:
                job.began = self.now
        self.jobs = [job for job in self.jobs if self.now < job.ends]
        for place, job in enumerate(job for job in self.jobs if job.began is not None):
            if place < demand:
                job.idle_since = None
            elif job.idle_since is None:
                job.idle_since = self.now

    def _facts(self, demand):
        jobs = []
        for job in self.jobs:
            if job.began is None:
                jobs.append(JobFacts(job.id))
                continue
            spare = 0.0 if job.idle_since is None else self.now - job.idle_since
            jobs.append(JobFacts(job.id, age=self.now - job.began, idle=spare, remaining=job.ends - self.now))
        facts = PoolFacts(demand, idle_timeout=IDLE, jobs=jobs, **self.limits)
        self.replaced += sum(job.remaining <= facts.lead < job.remaining + STEP for job in facts.jobs)
        if wanted(facts) >= len(jobs):
            self.surplus_since = None
        elif self.surplus_since is None:
            self.surplus_since = self.now
        return replace(facts, surplus=0.0 if self.surplus_since is None else self.now - self.surplus_since)


steps = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8)), min_size=1, max_size=5)
for_ever = st.just([math.inf])
delays = st.lists(st.integers(0, 200).map(float), min_size=1, max_size=5)


@st.composite
def simulations(draw, lifetimes=for_ever, lead=0.0):
    """A pool at the beginning of a run."""
    minimum, maximum = sorted((draw(st.integers(0, 6)), draw(st.integers(1, 6))))
    return Simulation(minimum, maximum, draw(st.integers(1, 6)), draw(delays), draw(lifetimes), lead)


@settings(deadline=None)
@given(simulations(), steps)
def test_jobs_are_not_submitted_and_given_back_for_ever(simulation, demand):
    """Where demand steps up and down, each job submitted answers a rise of it; where it stays, so do the jobs."""
    for count, level in demand:
        for _ in range(count):
            simulation.step(level)
            assert simulation.submitted <= simulation.rises
    for _ in range(480):  # forty minutes of the last demand: even six delays one by one, and what is idle has gone
        simulation.step(level)
    for _ in range(60):
        assert simulation.step(level) == Decision()
    assert len(simulation.jobs) == simulation.last_wanted


@settings(deadline=None)
@given(simulations(st.lists(st.integers(100, 400).map(float), min_size=1, max_size=3), lead=20.0), steps)
def test_jobs_with_a_walltime_are_replaced_once(simulation, demand):
    """Each job submitted answers a rise of demand, or one job that is about to leave."""
    for count, level in demand:
        for _ in range(count):
            simulation.step(level)
            assert simulation.submitted <= simulation.rises + simulation.replaced
            assert sum(job.began is None for job in simulation.jobs) <= simulation.limits["max_queued"]


def test_a_successor_is_there_before_its_predecessor_leaves():
    """With a lead longer than the wait in the queue, work never stands still for want of a job."""
    simulation = Simulation(0, 1, 1, delays=[30.0], lifetimes=[300.0], lead=60.0)
    for _ in range(8):
        simulation.step(1)
    for _ in range(400):
        simulation.step(1)
        assert any(job.began is not None for job in simulation.jobs)
    assert simulation.given_back == 0

"""Functions that broken pipelines name, rightly and wrongly."""

from dataclasses import dataclass

LIMIT = 3


@dataclass
class Simulation:
    seed: int
    energy: float


def double(number: int) -> int:
    return 2 * number


def simulate(seed: int) -> Simulation:
    return Simulation(seed, 1.5 * seed)


def total(values: list) -> float:
    return sum(values)

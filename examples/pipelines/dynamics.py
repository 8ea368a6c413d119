"""Functions of campaign.yaml: particles in the double well x**4 - 2 x**2, pushed about by a bath."""

import math
import random
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TypedDict


@dataclass
class State:
    """Where the particles are, and what is known of their energy."""

    temperature: float
    positions: list[float]
    energies: list[float] = field(default_factory=list)
    rounds: int = 0
    converged: bool = False


class Row(TypedDict):
    """What is known at one temperature."""

    temperature: float
    energy: float
    error: float
    rounds: int


def start(temperature: float, walkers: int) -> State:
    """Particles on both sides."""
    return State(temperature, [(-1) ** number * 1.0 for number in range(walkers)])


def simulate(state: State, steps: int, tolerance: float) -> State:
    """Move all particles on; how well their mean energy is known by then."""
    chance = random.Random(f"{state.temperature} {state.rounds}")
    step = 0.01
    push = math.sqrt(2 * state.temperature * step)
    positions = list(state.positions)
    for _ in range(steps):
        positions = [x - step * (4 * x**3 - 4 * x) + push * chance.gauss(0, 1) for x in positions]
    energies = [*state.energies, fmean(x**4 - 2 * x**2 for x in positions)]
    converged = len(energies) > 2 and stdev(energies) / math.sqrt(len(energies)) < tolerance
    return State(state.temperature, positions, energies, state.rounds + 1, converged)


def table(states: list) -> list[Row]:
    """One row for each temperature, the hottest last."""
    rows = [
        Row(
            temperature=state.temperature,
            energy=round(fmean(state.energies), 4),
            error=round(stdev(state.energies) / math.sqrt(len(state.energies)), 4) if len(state.energies) > 1 else 0.0,
            rounds=state.rounds,
        )
        for state in states
    ]
    return sorted(rows, key=lambda row: row["temperature"])

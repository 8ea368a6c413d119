"""Functions of sweep.yaml: pi, by random points."""

import random
from dataclasses import dataclass


@dataclass
class Estimate:
    """One estimate, and how many points it is made of."""

    value: float
    points: int
    count: int = 1


def estimate(seed: int, samples: int, scale: int) -> Estimate:
    """Four times the share of points that lie within the circle."""
    chance = random.Random(f"{seed} {scale}")
    points = samples * scale
    inside = sum(chance.random() ** 2 + chance.random() ** 2 < 1 for _ in range(points))
    return Estimate(4 * inside / points, points)


def combine(estimates: list) -> Estimate:
    """The mean, in which each estimate counts as much as it has points."""
    points = sum(each.points for each in estimates)
    return Estimate(sum(each.value * each.points for each in estimates) / points, points, len(estimates))

"""The queueing systems that kinds submit to."""

from asyncflow import clusters
from asyncflow.queues.system import QueueSystem


def systems() -> dict[str, QueueSystem]:
    """Each by its kind, sorted."""
    found = {kind: getattr(clusters.load(kind), "SYSTEM", None) for kind in clusters.kinds()}
    return {kind: system for kind, system in found.items() if isinstance(system, QueueSystem)}

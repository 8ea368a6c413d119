"""What several commands do with a configuration: read it or exit, and find the queueing system of its kind."""

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncflow.config import Settings
    from asyncflow.queues.system import QueueSystem
    from asyncflow.queues.template import PoolPlan

#: What click exits with for bad usage.
BAD_USAGE = 2


class Queued(NamedTuple):
    """A configuration whose workers are jobs."""

    kind: str
    system: "QueueSystem"
    config: Any
    plans: "Sequence[PoolPlan]"


def read(file: str) -> "Settings":
    """The settings of `file`; all its problems and exit status 2 where it has some."""
    from asyncflow.config import load_settings
    from asyncflow.errors import ConfigError

    try:
        return load_settings(file)
    except ConfigError as error:
        refuse(str(error))


def queued(settings: "Settings") -> Queued | None:
    """What `settings` says of jobs; None where its kind submits none."""
    from asyncflow import clusters
    from asyncflow.clusters._systems import systems

    system = systems().get(settings.kind)
    if system is None:
        return None
    plans = clusters.load(settings.kind).plans(settings.cluster)
    return Queued(settings.kind, system, settings.cluster, plans)


def refuse(text: str) -> NoReturn:
    """Say what is wrong, and exit with 2."""
    click.echo(text, err=True)
    raise SystemExit(BAD_USAGE) from None


class _Unit(click.ParamType):  # type: ignore[type-arg]
    """Text that a function of `asyncflow.units` turns into a number."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from asyncflow import units

        try:
            number: float = {"duration": units.seconds, "size": units.size}[self.name](value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if number <= 0:
            self.fail(f"{value!r} is not more than nothing", param, ctx)
        return number


DURATION = _Unit("duration")
SIZE = _Unit("size")

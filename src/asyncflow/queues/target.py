"""A scheduler to connect to."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asyncflow.errors import StartError
from asyncflow.events import Events

if TYPE_CHECKING:
    from distributed import Security


@dataclass(frozen=True)
class Target:
    """Where a scheduler listens and how to speak to it.

    Attributes
    ----------
    address : str
        For instance ``tls://10.0.0.1:8786``.
    security : distributed.Security or None
        None where nothing is encrypted.
    is_ours : bool
        Whether the engine opened it, and so may shape it.
    has_dashboard : bool
        Whether a dashboard answers somewhere.
    timeout : float
        Seconds to wait for an answer.
    dashboard_link : str or None
        Its address, where Dask would guess another: it listens on this machine only, and the scheduler elsewhere.
    near : str
        Where it listens for who is in its own process, on the same loop; empty where nobody is.
    """

    address: str
    security: "Security | None" = None
    is_ours: bool = False
    has_dashboard: bool = True
    timeout: float = 30.0
    dashboard_link: str | None = None
    near: str = ""


def foreign_target(owned: Any, security: "Security | None" = None) -> Target:
    """The scheduler of a client or cluster object, or at an address, that the user owns.

    Raises
    ------
    StartError
        When the object is not connected yet.
    """
    if isinstance(owned, str):
        return Target(owned, security)
    scheduler = getattr(owned, "scheduler", None)
    address = getattr(owned, "scheduler_address", None) or getattr(scheduler, "address", None)
    if not isinstance(address, str) or "://" not in address:  # "<Not Connected>" of a cluster that was not started
        raise StartError(f"{owned!r} has no scheduler yet; await it, or start it, before handing it over")
    return Target(address, security or getattr(owned, "security", None))


class Cluster(ABC):
    """A cluster that a kind opened; lives on Dask's thread.

    Attributes
    ----------
    target : Target
        Its scheduler.
    """

    target: Target

    @cached_property
    def events(self) -> Events:
        """What happens to its pools and jobs, told on Dask's thread."""
        return Events()

    async def start(self) -> None:
        """Open it; where that fails or is broken off, what was opened by then is closed.

        Raises
        ------
        StartError
            When it cannot be opened, or no worker comes in time.
        """
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    @abstractmethod
    async def _start(self) -> None:
        """Open it, set `target`, and wait for workers."""

    @abstractmethod
    async def close(self) -> None:
        """Close all that was opened, however much that is."""


class Joined(Cluster):
    """A scheduler that runs already: nothing to close."""

    def __init__(self, target: Target) -> None:
        self.target = target

    async def _start(self) -> None:
        """It runs."""

    async def close(self) -> None:
        """It is somebody else's."""

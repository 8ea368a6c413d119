"""How many calls are on their way at once: the others wait on the driver, in the order they became ready."""

from collections import deque
from collections.abc import Callable, Container, Iterable

from asyncflow.node import Node
from asyncflow.recipe import Kind
from asyncflow.waiting import Waiters


class Flight:
    """Lets calls pass while fewer than `limit` are at the backends.

    Upstream calls become ready before their dependents, so what is on its way never waits for what is held back.

    Parameters
    ----------
    limit : int
        How many may be there.
    land : callable
        Given a call that has ended while others wait: `admit` is to be called at the end of its loop's turn.
    """

    def __init__(self, limit: int, land: Callable[[Node], object]) -> None:
        self._limit = limit
        self._refill = limit - limit // 10  # one by one, calls that could travel together would not
        self._land = land
        self._is_grounded = False
        self._waiters = Waiters()
        self._flying: set[str] = set()
        self._waiting: deque[Node] = deque()

    def admit(self, nodes: Iterable[Node]) -> list[Node]:
        """Those of `nodes`, and of those that waited, that may pass now; of blocks all, for they wait for others."""
        passing: list[Node] = []
        waiting, flying = self._waiting, self._flying
        for node in nodes:
            (passing if node.kind is Kind.BLOCK else waiting).append(node)
        while waiting and len(flying) < self._limit and not self._is_grounded:
            node = waiting.popleft()
            if not node.is_final:
                flying.add(node.key)
                passing.append(node)
        return passing

    def landed(self, node: Node) -> None:
        """`node` has ended, or is no longer at its backend."""
        self._flying.discard(node.key)
        if self._waiting and len(self._flying) <= self._refill and not self._is_grounded:
            self._land(node)
        if not self._flying:
            self._waiters.wake()

    def withdraw(self, keys: Container[str]) -> None:
        """These, whatever they wait for, will be admitted again."""
        if self._waiting:
            self._waiting = deque(node for node in self._waiting if node.key not in keys)

    def __contains__(self, node: Node) -> bool:
        """Whether it is at its backend."""
        return node.key in self._flying

    def __len__(self) -> int:
        """How many are."""
        return len(self._flying)

    def ground(self, *, is_over: bool = False) -> None:
        """Let nothing pass any more, or with `is_over` let calls pass as before."""
        self._is_grounded = not is_over

    async def quiet(self) -> None:
        """Wait until none is at its backend."""
        while self._flying:
            await self._waiters.wait()

"""The books of one engine: which calls are unfinished, and which failures nobody has seen."""

import itertools
import logging
import uuid

from asyncflow.accounts import Accounts
from asyncflow.events import Events
from asyncflow.failures import told
from asyncflow.node import Node
from asyncflow.sketch import Picture, Sketch
from asyncflow.states import TaskState
from asyncflow.waiting import Waiters

logger = logging.getLogger("asyncflow")

_MAX_LINE = 10_000  # characters of an error in the log
_MAX_UNSEEN = 1000  # enough to read; a campaign of a million failures must not fill memory


class Ledger:
    """Numbers calls, knows the unfinished ones, and remembers failures until somebody asks for them.

    Attributes
    ----------
    events : Events
        Where calls that begin and end are told.
    accounts : Accounts
        Of what they took.
    sketch : Sketch
        What has been called, and how it ended, in numbers.
    stem : str
        What the keys of all calls have in common.
    """

    def __init__(self, events: Events) -> None:
        self.events = events
        self.accounts = Accounts(events, self.is_open)
        self.sketch = Sketch()
        # Not the engine's id: users choose that, and on a scheduler that two engines share equal keys are one task.
        self.stem = uuid.uuid4().hex[:10]
        self._numbers = itertools.count(1)
        self._unfinished: dict[str, Node] = {}
        self._unseen: dict[str, str] = {}
        self._unseen_dropped = 0
        self._waiters = Waiters()

    def new_key(self, name: str) -> tuple[int, str]:
        """The number and key of the next call: Dask shows what stands before the part with digits as its name."""
        number = next(self._numbers)
        return number, f"{name}-{self.stem}{number:06d}"

    def open(self, node: Node) -> None:
        """`node` is a new call."""
        self._unfinished[node.key] = node

    def rename(self, node: Node) -> None:
        """Give the unfinished `node` a new key, under which it is sent again."""
        del self._unfinished[node.key]
        self.accounts.forget(node.key)
        _, node.key = self.new_key(node.name)
        self._unfinished[node.key] = node

    def close(self, node: Node, state: TaskState) -> None:
        """`node` has come to its final `state`."""
        self._unfinished.pop(node.key, None)
        self.sketch.ended(node, state)
        if self.events.is_heard:
            self.accounts.close(node, state)
        else:
            self.accounts.forget(node.key)
        node.finish(state)
        if not self._unfinished:
            self._waiters.wake()

    def unfinished(self) -> list[Node]:
        """Calls that have not come to an end, in the order they were made."""
        return list(self._unfinished.values())

    def picture(self) -> Picture:
        """What has been called so far, and where it stands; from any thread."""
        return self.sketch.picture(self.unfinished())

    def is_open(self, key: str) -> bool:
        """Whether the call with that key is unfinished."""
        return key in self._unfinished

    def members(self, block: Node) -> list[Node]:
        """Unfinished calls made inside `block`, at this depth."""
        return [node for node in self._unfinished.values() if node.block is block]

    async def drained(self) -> None:
        """Wait until no call is unfinished."""
        while self._unfinished:
            await self._waiters.wait()

    def failed(self, node: Node, error: BaseException) -> None:
        """`node` failed; unless somebody awaits it or a dependent, its cause is worth a line at shutdown."""
        if node.cause == node.key:
            self.sketch.failed(node, error)
        if node.awaited:
            self.seen(node)
        elif node.cause != node.key:
            return
        elif len(self._unseen) < _MAX_UNSEEN:
            self._unseen[node.key] = f"task {node.name!r} failed and nobody awaited it: {told(error)[:_MAX_LINE]}"
        else:
            self._unseen_dropped += 1

    def seen(self, node: Node) -> None:
        """Somebody asked for the failure of `node`, which tells its cause."""
        self._unseen.pop(node.cause, None)

    def report(self) -> None:
        """Log every failure that nobody asked for, once."""
        unseen, self._unseen = self._unseen, {}
        for line in unseen.values():
            logger.error(line)
        if self._unseen_dropped:
            logger.error("%d more tasks failed and nobody awaited them", self._unseen_dropped)


def task_name(key: str) -> str:
    """The name of the task whose call has `key`."""
    return key.rpartition("-")[0] or key

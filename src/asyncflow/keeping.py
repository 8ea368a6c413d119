"""The run of one engine, begun when something asks for it, and what is known of the results it keeps."""

import asyncio
import concurrent.futures
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from asyncflow.accounts import about
from asyncflow.arguments import Ref, found, replace
from asyncflow.errors import CheckpointError
from asyncflow.events import Events, SessionEnding, TaskKeyed
from asyncflow.files import DIGESTS, InputFile, files_in
from asyncflow.identity import FunctionIdentity, Identity, call_identity, explain, option_parts
from asyncflow.keep import Ticket
from asyncflow.node import Node
from asyncflow.runs import Run
from asyncflow.store import ResultStore

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Keeping:
    """Begins the run, tells calls apart, and knows which results an earlier session has kept.

    Parameters
    ----------
    begin : callable
        Makes or opens the run; blocks.
    is_dry : bool
        Whether nothing runs, so that nothing is kept, and no run is begun.

    Attributes
    ----------
    run : Run or None
        None until something asks for it.
    is_wanted : bool
        Whether any task keeps results, so that each call must be known for what it is.
    """

    def __init__(self, begin: Callable[[], Run], *, is_dry: bool = False) -> None:
        self.run: Run | None = None
        self._is_dry = is_dry
        self.is_wanted = False
        self._begin = begin
        self.events = Events()  #: what the run's journal hears, and whoever else wants to
        self._begun: concurrent.futures.Future[None] | None = None
        self._store: ResultStore | None = None
        self._kept: frozenset[str] = frozenset()
        self._done = 0
        self._reason = ""

    def begin(self) -> None:
        """Begin the run, take the results over from whoever had them, and list them; blocks.

        Raises
        ------
        RunDirectoryError
            When it cannot be had.
        """
        run = self._begin()
        try:
            store = ResultStore(run.store_url)
            store.claim(run.token)
            self._kept = frozenset(store.keys()) if run.resumed else frozenset()
        except BaseException:
            run.close()
            raise
        self._store, self.run = store, run
        self.events.listen(run.note)

    def close(self) -> None:
        """Give the run up; blocks while the journal is written."""
        if self.run is not None:
            self.run.journal.ending["kept"] = self._done
            if self._reason:
                self.run.journal.ending["reason"] = self._reason
            self.run.close()

    def done(self, node: Node) -> None:
        """`node` has ended well: if its result is kept, and was not before, the session has got on."""
        if node.ticket is not None and not node.ticket.only_read:
            self._done += 1

    def ends(self, reason: str, grace: float) -> None:
        """The session ends for `reason`, in `grace` seconds at the latest; the journal says so now and at its end."""
        self._reason = reason
        self.events.tell(SessionEnding(grace=grace))

    def before(
        self, node: Node, code: FunctionIdentity | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Arguments] | None:
        """What must be awaited before a call with these can be registered, for its arguments; None where nothing.

        That is whatever reads from disks: the run begun, sources and declared files looked into.
        """
        if self._is_dry:
            return None
        asks = self.run is None and _asks(node)
        files: list[InputFile] = []
        if self.is_wanted and code is not None:
            node.code, node.known_by = code.known(), code
            files = [file for file in files_in(args, kwargs) if file.digest is None]
            asks = asks or node.code is None or bool(files)
        return self._prepare(node, code, args, kwargs, files) if asks else None

    async def _prepare(
        self,
        node: Node,
        code: FunctionIdentity | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        files: list[InputFile],
    ) -> Arguments:
        if self.run is None and _asks(node):
            await self._begin_once()
        if self.is_wanted and code is not None and node.code is None:
            node.code = await asyncio.to_thread(_parts, code)
        if not files:
            return args, kwargs
        read = await asyncio.to_thread(lambda: {file: _with_content(file) for file in files})
        known: Arguments = replace((args, kwargs), lambda value: isinstance(value, InputFile), lambda f: read.get(f, f))
        return known

    async def _begin_once(self) -> None:
        begun = self._begun
        if begun is None:
            begun = self._begun = concurrent.futures.Future()
            asyncio.get_running_loop().run_in_executor(None, self._begin_for, begun)
        await asyncio.shield(asyncio.wrap_future(begun))

    def _begin_for(self, begun: "concurrent.futures.Future[None]") -> None:
        try:
            self.begin()
        except BaseException as error:
            self._begun = None  # the next call may find the disk in a better state
            begun.set_exception(error)
        else:
            begun.set_result(None)

    def identify(self, node: Node) -> None:
        """Find out what the call is; where its result is kept, under which key.

        Raises
        ------
        CheckpointError
            When the result is to be kept and the call cannot be told from others.
        """
        assert node.code is not None
        try:
            node.identity = self._identity(node)
        except CheckpointError as error:
            if node.options.checkpoint:
                raise
            node.identity = error  # whoever depends on it and is to be kept will say so
        if node.options.checkpoint:
            assert isinstance(node.identity, Identity)
            assert self.run is not None
            assert self._store is not None
            key, parts = node.identity
            facts = {"name": node.name, "parts": parts, "session": self.run.session}
            if node.recipe.is_file:
                facts["captures"] = True
            node.ticket = Ticket(self._store.url, self.run.token, key, facts)
            if self.events.is_heard:
                self.events.tell(TaskKeyed(**about(node), result=key, parts=parts))

    async def recognise(self, node: Node) -> None:
        """See that `node` still is what its ticket says: arguments and globals may have changed since the call.

        Raises
        ------
        CheckpointError
            When it is not, so that its result cannot be made any more.
        """
        assert node.known_by is not None
        assert node.ticket is not None
        node.code = node.known_by.known() or await asyncio.to_thread(_parts, node.known_by)
        changed = explain(self._identity(node).parts, node.ticket.facts["parts"])
        if changed:
            raise CheckpointError(
                f"the kept result of task {node.name!r} is damaged and cannot be made again, for since the call "
                f"{'; '.join(changed)}; call it again, and leave alone what you have passed to a call",
                changed[0],
            )

    def _identity(self, node: Node) -> Identity:
        assert node.code is not None
        if isinstance(node.code, CheckpointError):
            raise node.code
        upstream = []
        for each in node.upstream:
            if isinstance(each.identity, Identity):
                upstream.append(each.identity.key)
            elif isinstance(each.identity, CheckpointError):
                text = (
                    f"task {node.name!r} cannot be checkpointed, as what it depends on cannot be told: {each.identity}"
                )
                raise CheckpointError(text, each.identity.part) from each.identity
            else:
                raise CheckpointError(
                    f"task {node.name!r} cannot be checkpointed: {each.name!r}, which it depends on, was called before "
                    "any task had checkpoint=True; decorate tasks before the first call, or give checkpoint=True to "
                    "create()",
                    each.name,
                )
        used = {ref.index for ref in found((node.args, node.kwargs), _is_ref)} if upstream else set()
        after = [key for index, key in enumerate(upstream) if index not in used]
        options = option_parts(node.options, node.kind)
        return call_identity(node.code, options, node.recipe.function, node.args, node.kwargs, upstream, after)

    def has(self, node: Node) -> bool:
        """Whether an earlier session has kept the result of `node`, as far as the list tells."""
        return node.ticket is not None and node.ticket.key in self._kept


def _asks(node: Node) -> bool:
    """Whether something of `node` goes to the run directory."""
    return bool(node.options.checkpoint or node.options.workdir or node.options.capture_stdio)


def _is_ref(value: Any) -> bool:
    return type(value) is Ref


def _with_content(file: InputFile) -> InputFile:
    size, digest = DIGESTS.content_of(file.path)
    return dataclasses.replace(file, size=size, digest=digest)


def _parts(code: FunctionIdentity) -> dict[str, str] | CheckpointError:
    try:
        return code.parts()
    except CheckpointError as error:
        return error

"""Tasks: decorated functions, commands and prompts; calling one returns a future at once."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Self

from asyncflow.body import is_inside
from asyncflow.call import Inline
from asyncflow.dispatch import Dispatch
from asyncflow.futures import TaskFuture
from asyncflow.identity import FunctionIdentity
from asyncflow.options import TaskOptions, parse_options
from asyncflow.pickles import FunctionPickle
from asyncflow.recipe import Kind, Recipe
from asyncflow.scopes import current_scope

_CALL_TIME = ("task_description", "workflow_id")


class Task:
    """A decorated function.

    Calling it registers the call and returns a `TaskFuture` at once. Inside the body of another task it is the plain
    function again and runs right there, for a `Task` pickles as what it was made of.

    Attributes
    ----------
    name : str
        What keys, dashboards and errors call it.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        function: Callable[..., Any],
        kind: Kind,
        options: TaskOptions,
        root: str,
        engine: object,
    ) -> None:
        if not callable(function):
            raise TypeError(f"a {kind} task is made of a function, got {function!r}")
        functools.update_wrapper(self, function)
        self.name = options.name or str(getattr(function, "__name__", type(function).__name__))
        self._dispatch = dispatch
        self._engine = engine  # kept, not used: an engine closes when nobody can call its tasks any more
        self._admitted = False
        self._function = function
        self._kind = kind
        self._options = options
        self._root = root
        self._recipe = Recipe.of(function, kind, self.name, options, root)
        self._pickle = FunctionPickle(function, lambda: self._recipe)
        self._code = FunctionIdentity(function, options.version, self.name)
        dispatch.keeping.is_wanted |= options.checkpoint
        self._call_time = _call_time_options(function)

    @property
    def __asyncflow_function__(self) -> Callable[..., Any]:
        """What it was made of, for those who ask whether a pickle of it is still true."""
        return self._function

    def options(self, **given: Any) -> Self:
        """The same task with these options laid over its own.

        Raises
        ------
        OptionError
            For a misspelt option or an impossible value.
        """
        merged = parse_options(given, self._kind, self._options)
        return type(self)(self._dispatch, self._function, self._kind, merged, self._root, self._engine)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Register a call; futures among the arguments are dependencies and arrive as their values.

        Returns
        -------
        TaskFuture
            Inside the body of another task: what the function returns.

        Raises
        ------
        EngineClosedError
            After shutdown.
        NoEventLoopError
            Where no event loop runs.
        RefusedError
            When no declared pool can ever run it.
        OptionError
            For a bad ``task_description=``.
        """
        if is_inside():
            return self._inline()(*args, **kwargs)
        if kwargs and self._call_time and not kwargs.keys().isdisjoint(self._call_time):
            return self._with_call_time(args, kwargs)
        self._dispatch.check_open(self.name)
        if not self._admitted:
            self._dispatch.admit(self.name, self._options)
            self._admitted = True
        scope = current_scope(self._dispatch.uid)
        workflow_id = self._options.workflow_id or scope.workflow_id
        return self._dispatch.call(
            self._recipe, self._pickle, self._options, args, kwargs, scope.block, workflow_id, self._code
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the plain function (a command as what runs it on the spot)."""
        return _same, (self._inline(),)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A decorated method is bound as a method is."""
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        """Kind and name."""
        return f"<{self._kind} task {self.name!r}>"

    def _inline(self) -> Callable[..., Any]:
        return self._function if self._kind is Kind.FUNCTION else Inline(self._recipe)

    def _with_call_time(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskFuture:
        """Take what the peers give at the call, and call what that makes of the task."""
        given: dict[str, Any] = {}
        for name in self._call_time & kwargs.keys():
            value = kwargs.pop(name)
            if name == "workflow_id":
                given["workflow_id"] = value
            elif isinstance(value, Mapping):
                given = {**value, **given}
            else:
                raise TypeError(f"task_description takes a mapping of options, got {value!r}")
        future: TaskFuture = self.options(**given)(*args, **kwargs)
        return future


def _same(value: Any) -> Any:
    return value


def _call_time_options(function: Callable[..., Any]) -> frozenset[str]:
    """Keywords that are options at a call: those the function has no parameter of that name for."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        parameters = {}  # type: ignore[assignment]
    return frozenset(_CALL_TIME) - frozenset(parameters)
